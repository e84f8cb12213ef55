"""How fast are recorded events fed to the code again?

100 runs of 100 steps wait for a signal, and their worker leaves. ``replay_events_per_s``: their
histories, in memory, are fed to the code: what a replay is, without a database. ``restart_s``: the
signals are sent, and a fresh worker claims the runs, reads them, replays them and brings them to
their end; ``database_events_per_s`` is what it has read and fed meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import asyncpg
import click

from bench import limits, told
from bench.measured import Meter, medians, spread
from bench.served import go_on, steps_then_signal
from durable import Client, Durable
from durable.testing import History, replay


async def prepare(dsn: str, runs: int, n: int) -> list[str]:
    """Runs that wait for their signal, handed back."""
    connection = await asyncpg.connect(dsn)
    try:
        async with Durable(dsn, serve=[steps_then_signal], runs_max=runs) as app:
            before = await connection.fetchval("select count(*) from durable.journal")
            handles = [await app.start(steps_then_signal, n) for _ in range(runs)]
            wanted = before + runs * (n + 1)
            while await connection.fetchval("select count(*) from durable.journal") < wanted:
                await asyncio.sleep(0.02)
    finally:
        await connection.close()
    return [each.id for each in handles]


def fed(histories: list[History]) -> float:
    """Seconds that it takes to feed them all."""
    begun = time.perf_counter()
    for each in histories:
        replay(each)
    return time.perf_counter() - begun


async def once(dsn: str, runs: int, n: int) -> dict[str, float]:
    ids = await prepare(dsn, runs, n)
    async with Client(dsn) as client:
        histories = [each async for each in History.all(client, workflow="bench_steps_then_signal")]
        for each in ids:
            await client.handle(each, steps_then_signal).signal(go_on, 1)
    events = runs * (n + 1)
    assert sum(len(each.events) for each in histories) == events
    memory = fed(histories)
    served = [steps_then_signal]
    async with Meter(dsn) as cost, Durable(dsn, serve=served, runs_max=runs) as app:
        handles = [app.handle(each, steps_then_signal) for each in ids]
        results = await asyncio.gather(*(each.result() for each in handles))
        restart = time.perf_counter() - cost.began
    assert results == [n + 1] * runs
    return {
        "replay_events_per_s": events / memory,
        "restart_s": restart,
        "database_events_per_s": events / restart,
        **cost.each(events, "event"),
    }


async def measure(dsn: str, runs: int, n: int, repeat: int) -> dict[str, Any]:
    rounds = []
    for _ in range(repeat):
        await limits.settle(dsn)
        rounds.append(await once(dsn, runs, n))
    return {
        "answers": "recorded events that are fed to the code again per second",
        "runs": runs,
        "steps_per_run": n,
        **medians(rounds),
        "spread": spread(rounds, "replay_events_per_s", "restart_s", "database_events_per_s"),
    }


@click.command(help=__doc__)
@told.database_option
@click.option("--runs", default=100, show_default=True)
@click.option("--steps", "n", default=100, show_default=True)
@click.option("--repeat", default=5, show_default=True)
@told.json_option
def main(dsn: str | None, runs: int, n: int, repeat: int, as_json: bool) -> None:
    told.tell(told.answered(lambda url: measure(url, runs, n, repeat), dsn), as_json)
