"""How long from a signal to the result of the run that waits for it, and how many a second?

``signal_p50_ms``: one run, whose worker is this process; ``other_signal_*``: sent by a client to a
run of a worker process. ``signals_per_s``: so many runs wait, and all are signalled at once by the
process that works on them, until the last result is there.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import click

from bench import limits, told
from bench.measured import Meter, medians, share, spread
from bench.processes import workers
from bench.served import go_on, signalled
from durable import Client, Durable, Handle


async def lone(client: Client, calls: int) -> dict[str, float]:
    times = []
    for n in range(calls + 5):
        handle = await client.start(signalled)
        await waits(handle)
        begun = time.perf_counter()
        await handle.signal(go_on, n)
        assert await handle.result() == n
        times.append(time.perf_counter() - begun)
    return {f"signal_p{part}_ms": share(times[5:], part / 100) * 1e3 for part in (50, 99)}


async def waits(handle: Handle[int]) -> None:
    """Its first turn is recorded: it asks for the signal."""
    while not (await handle.describe()).events:
        await asyncio.sleep(0.002)


async def many(dsn: str, runs: int) -> dict[str, float]:
    async with Durable(dsn, serve=[signalled], runs_max=runs) as app:
        handles = await asyncio.gather(*(app.start(signalled) for _ in range(runs)))

        async def send(n: int, handle: Handle[int]) -> int:
            await handle.signal(go_on, n)
            return await handle.result()

        async with Meter(dsn) as cost:
            results = await asyncio.gather(*(send(n, each) for n, each in enumerate(handles)))
    assert results == list(range(runs))
    return {"signals_per_s": runs / cost.seconds, **cost.each(runs, "signal")}


async def once(dsn: str, runs: int, calls: int) -> dict[str, float]:
    async with Durable(dsn, serve=[signalled]) as app:
        found = await lone(app, calls)
    async with workers(dsn, 1), Client(dsn) as client:
        other = await lone(client, calls)
    found |= {f"other_{key}": value for key, value in other.items()}
    await limits.settle(dsn)
    return found | await many(dsn, runs)


async def measure(dsn: str, runs: int, calls: int, repeat: int) -> dict[str, Any]:
    rounds = []
    for _ in range(repeat):
        await limits.settle(dsn)
        rounds.append(await once(dsn, runs, calls))
    return {
        "answers": "milliseconds from a signal to the result of the run that waits for it",
        "runs": runs,
        "calls": calls,
        **medians(rounds),
        "spread": spread(rounds, "signal_p50_ms", "other_signal_p50_ms", "signals_per_s"),
    }


@click.command(help=__doc__)
@told.database_option
@click.option("--runs", default=1_000, show_default=True, help="that are signalled at once")
@click.option("--calls", default=200, show_default=True, help="one after the other")
@click.option("--repeat", default=3, show_default=True)
@told.json_option
def main(dsn: str | None, runs: int, calls: int, repeat: int, as_json: bool) -> None:
    told.tell(told.answered(lambda url: measure(url, runs, calls, repeat), dsn), as_json)
