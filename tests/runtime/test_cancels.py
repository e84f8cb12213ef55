"""A cancel is read once, by whoever has the run then, and after a retry."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from durable import Context, Durable, RunCancelled, RunFailed, Status, activity, workflow

mopped: list[int] = []


@activity
async def mop(room: int) -> None:
    mopped.append(room)


@workflow
async def lingers(ctx: Context) -> None:
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await ctx.sleep(days=1)


async def test_a_cancel_whose_clean_up_failed_is_fed_once_after_a_retry(dsn: str) -> None:
    broken = True
    mopped.clear()

    @workflow(name="cleans_up")
    async def cleans_up(ctx: Context) -> None:
        try:
            await ctx.sleep(3600)
        except asyncio.CancelledError:
            if broken:
                raise ValueError("the mop is missing") from None
            await ctx.activity(mop, 7)
            raise

    async with Durable(dsn, serve=[cleans_up]) as app:
        handle = await app.start(cleans_up, id="mop")
        while await handle.status() is not Status.WAITING:
            await asyncio.sleep(0.005)
        await handle.cancel()
        with pytest.raises(RunFailed, match="the mop is missing"):
            await handle.result()
        broken = False
        await handle.retry()
        with pytest.raises(RunCancelled):
            await handle.result()
        kinds = [event["kind"] for event in await app.history("mop")]
    assert kinds == ["started", "cancel", "voided", "cancel", "activity"]
    assert mopped == [7]


async def test_a_cancel_that_was_read_is_not_read_again_by_the_next_process(dsn: str) -> None:
    for times in (1, 2):
        async with Durable(dsn) as app:
            handle = await app.start(lingers, id="lingers")
            await handle.cancel()
            while (await handle.describe()).events < 1 + times:
                await asyncio.sleep(0.005)
            while await handle.status() is not Status.WAITING:
                await asyncio.sleep(0.005)
            kinds = [event["kind"] for event in await app.history("lingers")]
            assert kinds == ["started", *["cancel"] * times]
