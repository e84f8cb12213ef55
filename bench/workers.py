"""How many steps a second do 1, 2 and 4 worker processes commit together?

Each is a ``durable worker``; runs of ten trivial activities are started in bulk by this process,
and the clock stops at the last result. Python's time is that of all of them, and of this process.
"""

from __future__ import annotations

import asyncio
from typing import Any

import click

from bench import limits, told
from bench.measured import Meter, medians, spread
from bench.processes import workers
from bench.served import steps
from bench.starts import result
from durable import Client, Start


async def once(dsn: str, count: int, runs: int, n: int) -> dict[str, float]:
    async with workers(dsn, count) as pids, Client(dsn) as client:
        await asyncio.gather(*(client.run(steps, 1) for _ in range(20 * count)))  # warm
        await limits.settle(dsn)
        async with Meter(dsn, beside=pids) as cost:
            started = await client.start_many(Start(steps, n) for _ in range(runs))
            results = await asyncio.gather(*(result(each) for each in started))
    assert results == [n] * runs
    figures = {"steps_per_s": runs * n / cost.seconds, **cost.each(runs * n, "step")}
    return {f"workers_{count}_{key}": value for key, value in figures.items()}


async def measure(
    dsn: str, counts: tuple[int, ...], runs: int, n: int, repeat: int
) -> dict[str, Any]:
    rounds = []
    async with workers(dsn, 1):
        pass  # whoever comes first makes the schema
    for _ in range(repeat):
        found: dict[str, float] = {}
        for count in counts:
            found |= await once(dsn, count, runs, n)
        rounds.append(found)
    return {
        "answers": "steps per second of several worker processes",
        "runs": runs,
        "steps_per_run": n,
        **medians(rounds),
        "spread": spread(rounds, *(f"workers_{count}_steps_per_s" for count in counts)),
    }


@click.command(help=__doc__)
@told.database_option
@click.option("--workers", "counts", multiple=True, default=(1, 2, 4), show_default=True,
              help="processes; may be given again")  # fmt: skip
@click.option("--runs", default=4_000, show_default=True)
@click.option("--steps", "n", default=10, show_default=True)
@click.option("--repeat", default=3, show_default=True)
@told.json_option
def main(
    dsn: str | None, counts: tuple[int, ...], runs: int, n: int, repeat: int, as_json: bool
) -> None:
    told.tell(told.answered(lambda url: measure(url, counts, runs, n, repeat), dsn), as_json)
