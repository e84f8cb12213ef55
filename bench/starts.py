"""How many one-step runs a second are started, run and finished, from submission to result?

``same``: by the process that also works on them. ``other``: by a client whose runs a worker process
takes; each start is a call of its own, a thousand callers at a time. ``bulk``: the same by
``start_many``. ``many``: by ``start_many`` of the process that works. A run of one step
is five rows, all of them its own: no job of a queue is compared.
"""

from __future__ import annotations

import asyncio
from typing import Any

import click

from bench import limits, told
from bench.measured import Meter, medians, spread
from bench.processes import workers
from bench.served import one_step
from durable import Client, Durable, Start, Started

WORDS = ("many_", "other_", "bulk_")
AT_ONCE = 1_000  # callers that wait for a result, as in a busy service


async def callers(app: Client, runs: int) -> None:
    """Each caller begins the next run when it has the result of the last."""
    left = iter(range(runs))

    async def call() -> None:
        for n in left:
            assert await app.run(one_step, n) == n + 1

    await asyncio.gather(*(call() for _ in range(min(AT_ONCE, runs))))


async def same(dsn: str, runs: int) -> dict[str, float]:
    async with Durable(dsn, serve=[one_step], activities_max=AT_ONCE) as app:
        await callers(app, 50)  # warm
        async with Meter(dsn) as cost:
            await callers(app, runs)
    return {"runs_per_s": runs / cost.seconds, **cost.each(runs, "run")}


async def other(dsn: str, runs: int, pids: list[int]) -> dict[str, float]:
    async with Client(dsn) as client:
        await callers(client, 50)
        async with Meter(dsn, beside=pids) as cost:
            await callers(client, runs)
    return {"other_runs_per_s": runs / cost.seconds, **named("other", cost.each(runs, "run"))}


async def many(dsn: str, runs: int) -> dict[str, float]:
    async with Durable(dsn, serve=[one_step], activities_max=AT_ONCE) as app:
        await callers(app, 50)
        async with Meter(dsn) as cost:
            await start_many(app, runs)
    return {"many_runs_per_s": runs / cost.seconds, **named("many", cost.each(runs, "run"))}


async def start_many(client: Client, runs: int) -> None:
    started = await client.start_many(Start(one_step, n) for n in range(runs))
    results = await asyncio.gather(*(result(each) for each in started))
    assert results == list(range(1, runs + 1))


async def bulk(dsn: str, runs: int, pids: list[int]) -> dict[str, float]:
    async with Client(dsn) as client, Meter(dsn, beside=pids) as cost:
        await start_many(client, runs)
    return {"bulk_runs_per_s": runs / cost.seconds, **named("bulk", cost.each(runs, "run"))}


async def result(started: Started[int]) -> int:
    assert started.handle is not None, started.error
    return await started.handle.result()


def named(word: str, figures: dict[str, float]) -> dict[str, float]:
    return {f"{word}_{key}": value for key, value in figures.items()}


async def measure(dsn: str, runs: int, repeat: int) -> dict[str, Any]:
    rounds = []
    for _ in range(repeat):
        await limits.settle(dsn)
        found = await same(dsn, runs)
        await limits.settle(dsn)
        found |= await many(dsn, runs)
        async with workers(dsn, 1) as pids:
            await limits.settle(dsn)
            found |= await other(dsn, runs, [*pids])
            await limits.settle(dsn)
            found |= await bulk(dsn, runs, [*pids])
        rounds.append(found)
    return {
        "answers": "one-step runs per second from submission to result",
        "runs": runs,
        **medians(rounds),
        "spread": spread(rounds, *(f"{each}runs_per_s" for each in ("", *WORDS))),
    }


@click.command(help=__doc__)
@told.database_option
@click.option("--runs", default=10_000, show_default=True)
@click.option("--repeat", default=3, show_default=True)
@told.json_option
def main(dsn: str | None, runs: int, repeat: int, as_json: bool) -> None:
    told.tell(told.answered(lambda url: measure(url, runs, repeat), dsn), as_json)
