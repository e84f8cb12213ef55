"""How long does one caller wait, with nobody else about?

``start_p50_ms``: from the start of a one-step run to its result, in the process that works on it;
``other_start_*``: by a client, of a worker in another process. ``step_ms``: one step after the
other in one run. ``commit_ms`` is what the same Postgres takes for a commit of one row, measured
between the others; ``start_commits`` and ``step_commits`` are the same in commits' time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import asyncpg
import click

from bench import limits, told
from bench.measured import Meter, medians, share, spread
from bench.processes import workers
from bench.served import one_step, steps
from durable import Client, Durable


async def commits(dsn: str, count: int) -> float:
    """Milliseconds of a commit of one row on one connection, at the median."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(limits.TABLE)
        _, times = await limits.single([connection], max(count * 0.0005, 0.1))
        await connection.execute("drop schema bench cascade")
    finally:
        await connection.close()
    return share(times, 0.5) * 1e3


async def starts(app: Client, dsn: str, count: int) -> dict[str, float]:
    times = []
    for n in range(10):
        await app.run(one_step, n)  # warm
    async with Meter(dsn) as cost:
        for n in range(count):
            begun = time.perf_counter()
            await app.run(one_step, n)
            times.append(time.perf_counter() - begun)
    found = {f"start_p{part}_ms": share(times, part / 100) * 1e3 for part in (50, 99)}
    return found | waits(cost.each(count, "start"))


async def in_order(app: Client, dsn: str, count: int) -> dict[str, float]:
    """Of each of so many steps of one run."""
    await app.run(steps, 10)
    async with Meter(dsn) as cost:
        await app.run(steps, count)
    return {"step_ms": cost.seconds / count * 1e3, **waits(cost.each(count, "step"))}


def waits(figures: Mapping[str, float]) -> dict[str, float]:
    """What a lone caller waits for: all else is told by the benchmarks of many."""
    return {key: value for key, value in figures.items() if key.startswith(("round", "commits"))}


async def once(dsn: str, count: int) -> dict[str, float]:
    found = {"commit_ms": await commits(dsn, count)}
    async with Durable(dsn, serve=[one_step, steps]) as app:
        found |= await starts(app, dsn, count)
        found |= await in_order(app, dsn, count)
    async with workers(dsn, 1), Client(dsn) as client:
        other = await starts(client, dsn, count) | await in_order(client, dsn, count)
        found |= {f"other_{key}": value for key, value in other.items()}
    again = await commits(dsn, count)
    found["commit_ms"] = (found["commit_ms"] + again) / 2
    found["start_commits"] = found["start_p50_ms"] / found["commit_ms"]
    found["step_commits"] = found["step_ms"] / found["commit_ms"]
    return found


async def measure(dsn: str, count: int, repeat: int) -> dict[str, Any]:
    rounds = []
    for _ in range(repeat):
        await limits.settle(dsn)
        rounds.append(await once(dsn, count))
    return {
        "answers": "milliseconds that a lone caller waits for a run, and a run for a step",
        "calls": count,
        **medians(rounds),
        "spread": spread(rounds, "start_p50_ms", "other_start_p50_ms", "step_ms", "commit_ms"),
    }


@click.command(help=__doc__)
@told.database_option
@click.option("--calls", "count", default=1_000, show_default=True)
@click.option("--repeat", default=3, show_default=True)
@told.json_option
def main(dsn: str | None, count: int, repeat: int, as_json: bool) -> None:
    told.tell(told.answered(lambda url: measure(url, count, repeat), dsn), as_json)
