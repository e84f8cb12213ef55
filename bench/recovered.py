"""The worker processes of ``bench recovery``: ``python -m bench.recovered DSN HOST TRACE``.

Each attempt leaves a line in the file TRACE. HOST is the machine that the worker claims to be on:
another one's death is not seen by looking for its process.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time

from durable import Context, Worker, activity, workflow
from durable._runtime import process
from durable.cli.worker import quiet_collector

PACE_SECONDS = 0.5  # of each run, from one step to the next

trace = -1


@activity(name="recovery_step")
async def step(run: str, n: int) -> int:
    os.write(trace, f"{run} {n}\n".encode())
    await asyncio.sleep(PACE_SECONDS)
    return n + 1


@workflow(name="recovery_goes_on")
async def goes_on(ctx: Context, steps: int) -> int:
    n = 0
    while n < steps:
        n = await ctx.activity(step, ctx.id, n)
    return n


@activity(name="recovery_blocks")
async def blocks(seconds: float) -> None:
    time.sleep(seconds)  # noqa: ASYNC251 - what the bench asks about


@workflow(name="recovery_blocker")
async def blocker(ctx: Context, seconds: float) -> None:
    await ctx.activity(blocks, seconds)


async def work(dsn: str, host: str) -> None:
    process._host = lambda: host
    async with Worker(
        dsn, serve=[goes_on, blocker], runs_max=2_000, activities_max=2_000
    ) as worker:
        print("ready", flush=True)
        await worker.until_stopped()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    quiet_collector()
    trace = os.open(sys.argv[3], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    asyncio.run(work(sys.argv[1], sys.argv[2]))
