"""How many durable steps a second does one worker process commit?

1,000 runs at once, ten trivial activities each, fsync on. The same run measures what the
same Postgres does without us (``limits.py``), so that the ratios mean something on a noisy
machine. Without ``--dsn`` it starts a throw-away embedded Postgres with default durability.
"""

from __future__ import annotations

import asyncio
import json
import resource
import statistics
import time
from typing import Any

import click

from bench import limits
from durable import Context, Durable, activity, workflow
from durable.cli.worker import quiet_collector
from durable.embedded import EmbeddedPostgres


@activity
async def step(x: int) -> int:
    return x + 1


@workflow
async def steps(ctx: Context, n: int) -> int:
    value = 0
    for _ in range(n):
        value = await ctx.activity(step, value)
    return value


async def once(dsn: str, runs: int, n: int) -> dict[str, float]:
    async with Durable(dsn, serve=[steps], runs_max=runs, activities_max=runs) as app:
        await asyncio.gather(*(app.run(steps, 1) for _ in range(50)))  # warm
        before = resource.getrusage(resource.RUSAGE_SELF)
        begun = time.perf_counter()
        results = await asyncio.gather(*(app.run(steps, n) for _ in range(runs)))
        took = time.perf_counter() - begun
        after = resource.getrusage(resource.RUSAGE_SELF)
    assert results == [n] * runs
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"steps_per_s": runs * n / took, "python_us_per_step": cpu / (runs * n) * 1e6}


async def measure(dsn: str, runs: int, n: int, repeat: int) -> dict[str, Any]:
    rounds = []
    for _ in range(repeat):
        await limits.settle(dsn)
        rates = await limits.measure(dsn, 2.0)
        await limits.settle(dsn)
        rates |= await once(dsn, runs, n)
        rounds.append(rates)
    median = {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}
    spread = [round(each["steps_per_s"]) for each in rounds]
    return {
        "answers": "durable steps committed per second by one worker process",
        "runs": runs,
        "steps_per_run": n,
        **{key: round(value, 1) for key, value in median.items()},
        "vs_single_commit": round(median["steps_per_s"] / median["single_commit_per_s"], 2),
        "vs_raw": round(median["steps_per_s"] / median["raw_rows_per_s"], 2),
        "rounds": spread,
    }


@click.command(help=__doc__)
@click.option("--dsn", default=None, help="a Postgres of yours; fsync should be on")
@click.option("--runs", default=1_000, show_default=True)
@click.option("--steps", "n", default=10, show_default=True)
@click.option("--repeat", default=5, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="one line of JSON")
def main(dsn: str | None, runs: int, n: int, repeat: int, as_json: bool) -> None:
    quiet_collector()  # as `durable worker` does
    if dsn is not None:
        report = asyncio.run(measure(dsn, runs, n, repeat))
    else:
        with EmbeddedPostgres(settings={"jit": "off"}) as server:
            report = asyncio.run(measure(server.url(), runs, n, repeat))
    if as_json:
        click.echo(json.dumps(report))
    else:
        for key, value in report.items():
            click.echo(f"{key:>22}  {value}")
