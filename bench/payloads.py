"""What does a value cost on its way into an activity and back?

1,000 runs at once, ten activities each: a number (``int``), a small dataclass of four fields, and
texts of a kibibyte and of 64 in and out.
"""

from __future__ import annotations

import asyncio
from typing import Any

import click

from bench import limits, told
from bench.measured import Meter, medians, spread
from bench.served import Order, orders, steps, texts
from durable import Client, Durable

KINDS = ("int", "dataclass", "kibibyte", "64_kibibytes")


async def one(app: Client, kind: str, n: int) -> Any:
    if kind == "int":
        return await app.run(steps, n)
    if kind == "dataclass":
        return await app.run(orders, Order(1, "Ada", 100), n)
    return await app.run(texts, 1 << 16 if kind == "64_kibibytes" else 1 << 10, n)


async def once(dsn: str, kind: str, runs: int, n: int) -> dict[str, float]:
    served: list[Any] = [steps, orders, texts]
    async with Durable(dsn, serve=served, runs_max=runs, activities_max=runs) as app:
        await asyncio.gather(*(one(app, kind, 1) for _ in range(20)))  # warm
        async with Meter(dsn) as cost:
            await asyncio.gather(*(one(app, kind, n) for _ in range(runs)))
    figures = {"steps_per_s": runs * n / cost.seconds, **cost.each(runs * n, "step")}
    return {f"{kind}_{key}": value for key, value in figures.items()}


async def measure(dsn: str, runs: int, n: int, repeat: int) -> dict[str, Any]:
    rounds = []
    for _ in range(repeat):
        found: dict[str, float] = {}
        for kind in KINDS:
            await limits.settle(dsn)
            # Large ones are fewer: what is asked about is a step, and not the size of the disk.
            few = max(runs // 20, 1) if kind == "64_kibibytes" else runs
            found |= await once(dsn, kind, few, n)
        rounds.append(found)
    return {
        "answers": "what a value costs on its way into an activity and back",
        "runs": runs,
        "steps_per_run": n,
        **medians(rounds),
        "spread": spread(rounds, *(f"{kind}_python_us_per_step" for kind in KINDS)),
    }


@click.command(help=__doc__)
@told.database_option
@click.option("--runs", default=1_000, show_default=True)
@click.option("--steps", "n", default=10, show_default=True)
@click.option("--repeat", default=3, show_default=True)
@told.json_option
def main(dsn: str | None, runs: int, n: int, repeat: int, as_json: bool) -> None:
    told.tell(told.answered(lambda url: measure(url, runs, n, repeat), dsn), as_json)
