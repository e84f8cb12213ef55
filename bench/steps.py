"""How many durable steps a second does one worker process commit?

1,000 runs at once, ten activities each, fsync on: trivial ones (the figures without a word before
them), ones that let the loop go round once (``yielding``: ``await asyncio.sleep(0)``), and ones
that ask another process over a socket and get their answer after a millisecond (``io``). ``--grid``
does so with 1, 100, 1,000 and 10,000 runs at once. The same run measures what the same Postgres
does without us (``limits.py``), so that the ratios mean something on a noisy machine. Without
``--dsn`` it starts a throw-away embedded Postgres with default durability.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import click

from bench import limits, told
from bench.measured import Meter, figure, medians, spread
from bench.peer import Peer
from durable import Context, Durable, activity, workflow

KINDS = ("trivial", "yielding", "io")

# Runs at once, and steps of each: enough of them for a second or so.
GRID = ((1, 500), (100, 100), (1_000, 10), (10_000, 10))

peers: list[Peer] = []  # the one to ask


@activity(name="bench_trivial")
async def step(x: int) -> int:
    return x + 1


@activity(name="bench_yielding")
async def yielding(x: int) -> int:
    await asyncio.sleep(0)
    return x + 1


@activity(name="bench_io")
async def io(x: int) -> int:
    await peers[0].ask()
    return x + 1


@workflow(name="bench_trivial_steps")
async def steps(ctx: Context, n: int) -> int:
    value = 0
    for _ in range(n):
        value = await ctx.activity(step, value)
    return value


@workflow(name="bench_yielding_steps")
async def yielding_steps(ctx: Context, n: int) -> int:
    value = 0
    for _ in range(n):
        value = await ctx.activity(yielding, value)
    return value


@workflow(name="bench_io_steps")
async def io_steps(ctx: Context, n: int) -> int:
    value = 0
    for _ in range(n):
        value = await ctx.activity(io, value)
    return value


WORKFLOWS: dict[str, Callable[[Context, int], Any]] = {
    "trivial": steps, "yielding": yielding_steps, "io": io_steps,
}  # fmt: skip


async def once(dsn: str, runs: int, n: int, kind: str = "trivial") -> dict[str, float]:
    code = WORKFLOWS[kind]
    async with Durable(dsn, serve=[code], runs_max=runs, activities_max=runs) as app:
        await asyncio.gather(*(app.run(code, 1) for _ in range(50)))  # warm
        async with Meter(dsn) as cost:
            results = await asyncio.gather(*(app.run(code, n) for _ in range(runs)))
    assert results == [n] * runs
    return {"steps_per_s": runs * n / cost.seconds, **cost.each(runs * n, "step")}


def named(kind: str, figures: dict[str, float]) -> dict[str, float]:
    """Trivial steps are those that are meant where no other word stands."""
    return figures if kind == "trivial" else {f"{kind}_{k}": v for k, v in figures.items()}


async def measure(
    dsn: str, runs: int, n: int, kinds: Sequence[str], repeat: int, seconds: float
) -> dict[str, Any]:
    rounds = []
    async with Peer() as peer:
        peers[:] = [peer]
        for _ in range(repeat):
            await limits.settle(dsn)
            rates = await limits.measure(dsn, seconds)
            for kind in kinds:
                await limits.settle(dsn)
                rates |= named(kind, await once(dsn, runs, n, kind))
            rounds.append(rates)
    median = medians(rounds)
    report: dict[str, Any] = {
        "answers": "durable steps committed per second by one worker process",
        "runs": runs,
        "steps_per_run": n,
        **median,
        "spread": spread(rounds, *(key for key in median if key.endswith("_per_s"))),
    }
    if "trivial" in kinds:
        own, single, raw = (median[f"{k}_per_s"] for k in ("steps", "single_commit", "raw_rows"))
        report |= {"vs_single_commit": round(own / single, 2), "vs_raw": round(own / raw, 2)}
        report["rounds"] = [round(each["steps_per_s"]) for each in rounds]
    return report


async def grid(dsn: str, kinds: Sequence[str], repeat: int) -> list[dict[str, Any]]:
    """All of them in each round, so that what disturbs one round disturbs all alike."""
    places = [(runs, n, kind) for runs, n in GRID for kind in kinds]
    found: dict[tuple[int, int, str], list[dict[str, float]]] = {each: [] for each in places}
    async with Peer() as peer:
        peers[:] = [peer]
        for _ in range(repeat):
            for place in places:
                await limits.settle(dsn)
                found[place].append(await once(dsn, *place))
    return [
        {"runs": runs, "steps_per_run": n, "kind": kind, **medians(rounds),
         "spread": [figure(each["steps_per_s"]) for each in rounds]}
        for (runs, n, kind), rounds in found.items()
    ]  # fmt: skip


@click.command(help=__doc__)
@told.database_option
@click.option("--runs", default=1_000, show_default=True)
@click.option("--steps", "n", default=10, show_default=True)
@click.option("--kind", "kinds", multiple=True, default=KINDS, type=click.Choice(KINDS),
              help="these activities only; may be given again")  # fmt: skip
@click.option("--repeat", default=5, show_default=True)
@click.option("--seconds", default=2.0, show_default=True, help="for each yardstick")
@click.option("--grid", "with_grid", is_flag=True, help="also 1, 100, 1,000, 10,000 runs at once")
@told.json_option
def main(
    dsn: str | None,
    runs: int,
    n: int,
    kinds: tuple[str, ...],
    repeat: int,
    seconds: float,
    with_grid: bool,
    as_json: bool,
) -> None:
    async def both(url: str) -> dict[str, Any]:
        report = await measure(url, runs, n, kinds, repeat, seconds)
        if with_grid:
            report["grid"] = await grid(url, kinds, min(repeat, 3))
        return report

    told.tell(told.answered(both, dsn), as_json)
