"""What do runs that sleep cost, and do they wake on time?

Runs are started in bulk, fall asleep for days, and are asleep when each is a parked row. Then
the worker idles; then all are made due at one moment, and each notes how late it was. Without
``--dsn`` it starts a throw-away embedded Postgres with default durability.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import click

from bench import told
from bench.measured import resident
from durable import Context, Durable, Start, workflow
from durable._store.postgres.line import Line

IDLE_SECONDS = 5.0


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
        gc.collect()
        before, begun = resident(), time.perf_counter()
        # Long enough that all are asleep before the first is due.
        due = datetime.now(UTC) + timedelta(seconds=sleep)
        # What is asked about is the worker's memory, not that of a caller with so many handles.
        started_ids = [
            each.handle.id
            for each in await app.start_many(Start(sleeper, due) for _ in range(runs))
        ]
        started = time.perf_counter() - begun
        asleep = "select count(*) from durable.run where status = 'waiting'"
        while await watcher.fetchval(asleep) < runs:
            await asyncio.sleep(0.01)
            if datetime.now(UTC) > due:
                raise click.ClickException(f"not asleep within {sleep:g} s: use a longer --sleep")
        parked = time.perf_counter() - begun
        gc.collect()
        own = sys.getsizeof(started_ids) + sum(map(sys.getsizeof, started_ids))
        memory = resident() - before - own

        Line.call = counted  # type: ignore[method-assign, assignment]
        idle = min(IDLE_SECONDS, (due - datetime.now(UTC)).total_seconds() / 2)
        await asyncio.sleep(idle)
        statements = sent[0] / idle
        Line.call = call  # type: ignore[method-assign]

        late = sorted(
            await asyncio.gather(*(app.handle(id, sleeper).result() for id in started_ids))
        )
        woken = time.time() - due.timestamp()
    await watcher.close()
    assert late[0] >= 0, "a sleeper woke before its time"
    return {
        "answers": "what runs that sleep cost, and how late they wake when all are due at once",
        "runs": runs,
        "started_per_s": round(runs / started),
        "put_to_sleep_per_s": round(runs / parked),
        "bytes_of_worker_per_sleeper": round(memory / runs),
        "statements_per_s_asleep": round(statements, 2),
        "late_p50_s": round(late[len(late) // 2], 3),
        "late_p99_s": round(late[int(len(late) * 0.99)], 3),
        "late_max_s": round(late[-1], 3),
        "woken_and_done_per_s": round(runs / woken),
    }


@click.command(help=__doc__)
@told.database_option
@click.option("--runs", default=10_000, show_default=True)
@click.option("--sleep", default=30.0, show_default=True, help="seconds until all are due")
@told.json_option
def main(dsn: str | None, runs: int, sleep: float, as_json: bool) -> None:
    told.tell(told.answered(lambda url: measure(url, runs, sleep), dsn), as_json)
