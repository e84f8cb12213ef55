"""What does the same Postgres do without Durable? The yardsticks of all other benchmarks.

- ``single_commit_per_s``: one row per transaction, 50 connections; ``_10`` and ``_1``: so many.
- ``commit_ms``: how long one of them takes on one connection, at the median.
- ``raw_rows_per_s``: 500 journal-like rows per statement, one connection.
- ``copied_rows_per_s``: the same rows by ``copy``.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
import click

from bench import told
from bench.measured import medians, share, spread, uncounted

CONNECTIONS = (1, 10, 50)
ROWS = 500

TABLE = """
drop schema if exists bench cascade;
create schema bench;
create table bench.row (
    run bigint not null, position bigint not null, op bigint, kind text not null, name text,
    input bytea, result bytea, failure bytea, at timestamptz not null, site text, digest bytea,
    seq bigint, key bytea not null, primary key (run, position)
);
"""

ONE = """
insert into bench.row (run, position, op, kind, name, input, result, at, site, digest, key)
values ($1, $2, 1, 'activity', 'step', $3, $4, $5, 'steps.py:1', $6, $7)
"""

MANY = """
insert into bench.row (run, position, op, kind, name, input, result, at, site, digest, key)
select run, position, 1, 'activity', 'step', input, result, at, 'steps.py:1', digest, key
from unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bytea[], $5::timestamptz[],
            $6::bytea[], $7::bytea[]) as u (run, position, input, result, at, digest, key)
"""


async def settle(dsn: str) -> None:
    """Leave WAL segments to reuse. Making one takes 10 to 15 ms, and would fall into whichever part
    of a measurement happens to fill the last."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("checkpoint")
    except asyncpg.InsufficientPrivilegeError:
        pass  # a Postgres of yours: its own checkpoints do
    finally:
        await connection.close()


async def measure(dsn: str, seconds: float) -> dict[str, float]:
    """All rates, in a schema of their own; one of the two main ones takes ``seconds``, the others
    half of that."""
    connections = [await asyncpg.connect(dsn) for _ in range(max(CONNECTIONS))]
    first, rates = connections[0], {}
    try:
        for each in connections:
            await uncounted(each)
        for count in CONNECTIONS:
            await first.execute(TABLE)
            is_main = count == max(CONNECTIONS)
            used = connections[:count]
            rate, times = await single(used, seconds if is_main else seconds / 2)
            rates["single_commit_per_s" + ("" if is_main else f"_{count}")] = rate
            if count == 1:
                rates["commit_ms"] = share(times, 0.5) * 1e3
        await first.execute(TABLE)
        rates["raw_rows_per_s"] = await _raw(first, seconds)
        await first.execute(TABLE)
        rates["copied_rows_per_s"] = await _copied(first, seconds / 2)
        await first.execute("drop schema bench cascade")
    finally:
        for connection in connections:
            await connection.close()
    return rates


async def single(
    connections: Sequence[asyncpg.Connection[Any]], seconds: float
) -> tuple[float, list[float]]:
    """Commits a second, and how long each took."""
    statements = [await each.prepare(ONE) for each in connections]
    key, small = os.urandom(16), b"\x01\x91\x01"
    times: list[float] = []
    begun = time.perf_counter()
    end = begun + seconds

    async def insert(run: int, statement: Any) -> None:
        position, now = 0, begun
        while now < end:
            await statement.fetch(run, position, small, small, datetime.now(UTC), key[:8], key)
            position += 1
            before, now = now, time.perf_counter()
            times.append(now - before)

    await asyncio.gather(*(insert(i, each) for i, each in enumerate(statements)))
    return len(times) / (time.perf_counter() - begun), times


async def _raw(connection: asyncpg.Connection[Any], seconds: float) -> float:
    statement = await connection.prepare(MANY)
    begun = time.perf_counter()
    end = begun + seconds
    position = 0
    key, small = os.urandom(16), b"\x01\x91\x01"
    while time.perf_counter() < end:
        now = datetime.now(UTC)
        await statement.fetch(
            [1] * ROWS,
            list(range(position, position + ROWS)),
            [small] * ROWS,
            [small] * ROWS,
            [now] * ROWS,
            [key[:8]] * ROWS,
            [key] * ROWS,
        )
        position += ROWS
    return position / (time.perf_counter() - begun)


async def _copied(connection: asyncpg.Connection[Any], seconds: float) -> float:
    columns = ("run", "position", "op", "kind", "name", "input", "result", "at", "site", "digest",
               "key")  # fmt: skip
    begun = time.perf_counter()
    end = begun + seconds
    position = 0
    key, small = os.urandom(16), b"\x01\x91\x01"
    while time.perf_counter() < end:
        now = datetime.now(UTC)
        rest = (1, "activity", "step", small, small, now, "steps.py:1", key[:8], key)
        await connection.copy_records_to_table(
            "row",
            schema_name="bench",
            columns=columns,
            records=[(1, n, *rest) for n in range(position, position + ROWS)],
        )
        position += ROWS
    return position / (time.perf_counter() - begun)


async def rounds(dsn: str, seconds: float, repeat: int) -> dict[str, Any]:
    found = []
    for _ in range(repeat):
        await settle(dsn)
        found.append(await measure(dsn, seconds))
    return {
        "answers": "what the same Postgres does without Durable",
        **medians(found),
        "spread": spread(found, *found[0]),
    }


@click.command(help=__doc__)
@told.database_option
@click.option("--seconds", default=2.0, show_default=True, help="for each of the main rates")
@click.option("--repeat", default=5, show_default=True)
@told.json_option
def main(dsn: str | None, seconds: float, repeat: int, as_json: bool) -> None:
    told.tell(told.answered(lambda url: rounds(url, seconds, repeat), dsn), as_json)
