"""A run that has ended is gone with its last reference."""

from __future__ import annotations

import asyncio
import gc

from durable import Context, Durable, activity, workflow


@activity
async def leaves_nothing(x: int) -> int:
    return x


@workflow
async def leaves_no_circles(ctx: Context, n: int) -> int:
    a, _ = await asyncio.gather(ctx.activity(leaves_nothing, n), ctx.sleep(0))
    await ctx.sleep(0)
    return a


async def test_a_run_leaves_nothing_to_the_garbage_collector(dsn: str) -> None:
    async with Durable(dsn, serve=[leaves_no_circles]) as app:

        async def garbage_of(runs: int) -> int:
            gc.collect()
            await asyncio.gather(*(app.run(leaves_no_circles, n) for n in range(runs)))
            return gc.collect()

        gc.disable()
        try:
            await garbage_of(20)  # what is made once
            assert await garbage_of(100) < 100
        finally:
            gc.enable()
