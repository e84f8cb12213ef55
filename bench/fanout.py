"""How fast is one run that asks for a thousand activities at once?

A bare ``asyncio.gather`` in one workflow. Its thousand results share few commits: what counts is
how much is done for each within the loop of one run. (10,000 children: ``bench children``.)
"""

from __future__ import annotations

import asyncio
from typing import Any

import click

from bench import limits, told
from bench.measured import Meter, medians, spread
from bench.served import step
from durable import Context, Durable, workflow


@workflow(name="bench_fanout")
async def fanout(ctx: Context, width: int) -> int:
    return sum(await asyncio.gather(*(ctx.activity(step, n) for n in range(width))))


async def once(dsn: str, width: int) -> dict[str, float]:
    async with Durable(dsn, serve=[fanout], activities_max=width) as app:
        await app.run(fanout, 50)  # warm
        async with Meter(dsn) as cost:
            total = await app.run(fanout, width)
    assert total == width * (width + 1) // 2
    return {
        "seconds": cost.seconds,
        "steps_per_s": width / cost.seconds,
        **cost.each(width, "step"),
    }


async def measure(dsn: str, width: int, repeat: int) -> dict[str, Any]:
    rounds = []
    for _ in range(repeat):
        await limits.settle(dsn)
        rounds.append(await once(dsn, width))
    return {
        "answers": "steps per second of one run that gathers many",
        "width": width,
        **medians(rounds),
        "spread": spread(rounds, "seconds", "steps_per_s"),
    }


@click.command(help=__doc__)
@told.database_option
@click.option("--width", default=1_000, show_default=True, help="activities of one gather")
@click.option("--repeat", default=9, show_default=True)
@told.json_option
def main(dsn: str | None, width: int, repeat: int, as_json: bool) -> None:
    told.tell(told.answered(lambda url: measure(url, width, repeat), dsn), as_json)
