"""How long does Durable hold the host's event loop?

1,000 runs of 50 events stand in the database. A worker enters, takes them all, replays them
and brings them to their end, beside a heartbeat in the same loop that wants to be woken
each millisecond: how late it was woken is what a request of the host would have waited.
``pure_*`` is the same heartbeat with nothing beside it, on the same machine.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import click

from bench import told
from bench.measured import medians, spread
from durable import Context, Durable, activity, workflow

BEAT_SECONDS = 0.001
QUIET_SECONDS = 2.0

gate = asyncio.Event()
reached: list[int] = []  # runs that stand before their last step


@activity(name="hostloop_step")
async def step(x: int) -> int:
    return x + 1


@activity(name="hostloop_last")
async def last(x: int) -> int:
    reached.append(x)
    await gate.wait()
    return x


@workflow(name="hostloop_long")
async def long(ctx: Context, n: int) -> int:
    value = 0
    for _ in range(n):
        value = await ctx.activity(step, value)
    return await ctx.activity(last, value)


class Heartbeat:
    """Notes how late each wake-up came, in seconds."""

    def __init__(self) -> None:
        self.late: list[float] = []
        self._beating = asyncio.create_task(self._beat())

    async def _beat(self) -> None:
        while True:
            asked = time.perf_counter()
            await asyncio.sleep(BEAT_SECONDS)
            self.late.append(time.perf_counter() - asked - BEAT_SECONDS)

    def stop(self, name: str) -> dict[str, float]:
        self._beating.cancel()
        late = sorted(self.late)
        parts = {"p50": 0.5, "p99": 0.99, "max": 1.0}
        return {
            f"{name}{part}_ms": round(late[min(int(len(late) * share), len(late) - 1)] * 1e3, 2)
            for part, share in parts.items()
        }


async def prepare(dsn: str, runs: int, n: int) -> list[str]:
    """Runs that stand before their last step, handed back."""
    gate.clear()
    reached.clear()
    async with Durable(dsn, serve=[long], runs_max=runs, activities_max=runs, grace=0.1) as app:
        handles = await asyncio.gather(*(app.start(long, n) for _ in range(runs)))
        while len(reached) < runs:
            await asyncio.sleep(0.05)
    return [each.id for each in handles]


async def once(dsn: str, runs: int, n: int) -> dict[str, float]:
    ids = await prepare(dsn, runs, n)
    gate.set()
    quiet = Heartbeat()
    await asyncio.sleep(QUIET_SECONDS)
    report = quiet.stop("pure_")
    beside = Heartbeat()
    begun = time.perf_counter()
    async with Durable(dsn, serve=[long], runs_max=runs, activities_max=runs) as app:
        results = await asyncio.gather(*(app.handle(each, long).result() for each in ids))
        took = time.perf_counter() - begun
    assert results == [n] * runs
    return {
        "recovered_in_s": took,
        "beats": len(beside.late),
        **beside.stop(""),
        **report,
    }


async def measure(dsn: str, runs: int, n: int, repeat: int) -> dict[str, Any]:
    rounds = [await once(dsn, runs, n) for _ in range(repeat)]
    return {
        "answers": "milliseconds that the host's loop was held while runs recovered",
        "runs": runs,
        "events_per_run": n + 2,
        **medians(rounds),
        "spread": spread(rounds, "p99_ms", "max_ms", "recovered_in_s"),
    }


@click.command(help=__doc__)
@told.database_option
@click.option("--runs", default=1_000, show_default=True)
@click.option("--events", "n", default=50, show_default=True)
@click.option("--repeat", default=3, show_default=True)
@told.json_option
def main(dsn: str | None, runs: int, n: int, repeat: int, as_json: bool) -> None:
    told.tell(told.answered(lambda url: measure(url, runs, n, repeat), dsn), as_json)
