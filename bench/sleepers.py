"""What do runs that sleep cost, and do they wake on time?

Runs are started in bulk, fall asleep, and are asleep when each is a parked row. Then the worker
idles; then all are due at one moment, and each notes how late it was.

Memory is asked about afterwards, of a worker that has done all this before: what it holds of
others that have been put to sleep for a month. What Python has allocated for them and not let go of
is told by tracemalloc; what the process has grown by is the allocator's as well, and may be less
than nothing.
Without ``--dsn`` it starts a throw-away embedded Postgres with default durability.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import click

from bench import told
from bench.measured import resident
from durable import Context, Durable, Start, workflow
from durable._store.postgres.line import Line

IDLE_SECONDS = 5.0

# Put to sleep to see what they leave in memory: so many, and so many with each allocation traced.
RESIDENT_MAX, TRACED = 10_000, 2_000


@workflow(name="bench_sleeper")
async def sleeper(ctx: Context, until: datetime) -> float:
    """How late it woke, in seconds."""
    await ctx.sleep_until(until)
    return (ctx.now() - until).total_seconds()


async def measure(dsn: str, runs: int, sleep: float) -> dict[str, Any]:
    sent = [0]
    call = Line.call

    async def counted(line: Line, *args: Any, **given: Any) -> Any:
        sent[0] += 1
        return await call(line, *args, **given)

    watcher = await asyncpg.connect(dsn)
    async with Durable(dsn, serve=[sleeper]) as app:
        await asyncio.gather(*(app.run(sleeper, datetime.now(UTC)) for _ in range(50)))  # warm
        begun = time.perf_counter()
        # Long enough that all are asleep before the first is due.
        due = datetime.now(UTC) + timedelta(seconds=sleep)
        started_ids = [
            each.handle.id
            for each in await app.start_many(Start(sleeper, due) for _ in range(runs))
        ]
        started = time.perf_counter() - begun
        await _asleep(watcher, runs, due)
        parked = time.perf_counter() - begun

        Line.call = counted  # type: ignore[method-assign, assignment]
        idle = min(IDLE_SECONDS, (due - datetime.now(UTC)).total_seconds() / 2)
        await asyncio.sleep(idle)
        statements = sent[0] / idle
        Line.call = call  # type: ignore[method-assign]

        late = sorted(
            await asyncio.gather(*(app.handle(id, sleeper).result() for id in started_ids))
        )
        woken = time.time() - due.timestamp()
        del started_ids
        memory = await _memory(app, watcher, min(runs, RESIDENT_MAX))
    await watcher.close()
    assert late[0] >= 0, "a sleeper woke before its time"
    return {
        "answers": "what runs that sleep cost, and how late they wake when all are due at once",
        "runs": runs,
        "started_per_s": round(runs / started),
        "put_to_sleep_per_s": round(runs / parked),
        **memory,
        "statements_per_s_asleep": round(statements, 2),
        "late_p50_s": round(late[len(late) // 2], 3),
        "late_p99_s": round(late[int(len(late) * 0.99)], 3),
        "late_max_s": round(late[-1], 3),
        "woken_and_done_per_s": round(runs / woken),
    }


async def _asleep(
    watcher: asyncpg.Connection[Any], runs: int, until: datetime | None = None
) -> None:
    asleep = "select count(*) from durable.run where status = 'waiting'"
    while await watcher.fetchval(asleep) < runs:
        await asyncio.sleep(0.01)
        if until is not None and datetime.now(UTC) > until:
            raise click.ClickException("not asleep before they are due: use a longer --sleep")


async def _memory(
    app: Durable, watcher: asyncpg.Connection[Any], runs: int
) -> dict[str, int | float]:
    asleep = 0

    async def grown(runs: int, held: Callable[[], int]) -> float:
        """Bytes for each of so many more."""
        nonlocal asleep
        gc.collect()
        before, far = held(), datetime.now(UTC) + timedelta(days=30)
        await app.start_many(Start(sleeper, far) for _ in range(runs))
        asleep += runs
        await _asleep(watcher, asleep)
        while app.health().runs:  # some have not heard yet that they are asleep
            await asyncio.sleep(0.01)
        gc.collect()
        return (held() - before) / runs

    lots = [await grown(runs, resident) for _ in range(3)]
    tracemalloc.start()
    traced = [await grown(TRACED, lambda: tracemalloc.get_traced_memory()[0]) for _ in range(3)]
    tracemalloc.stop()
    return {  # the first lots have what grows once, for all
        "bytes_of_worker_per_sleeper": round(statistics.median(traced[1:]), 1),
        "resident_bytes_per_sleeper": round(statistics.median(lots[1:])),
    }


@click.command(help=__doc__)
@told.database_option
@click.option("--runs", default=10_000, show_default=True)
@click.option("--sleep", default=30.0, show_default=True, help="seconds until all are due")
@told.json_option
def main(dsn: str | None, runs: int, sleep: float, as_json: bool) -> None:
    told.tell(told.answered(lambda url: measure(url, runs, sleep), dsn), as_json)
