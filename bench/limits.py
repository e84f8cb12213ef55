"""What the same Postgres does without Durable: the yardsticks of ``steps``.

- ``single_commit_per_s``: one row per transaction, 50 connections.
- ``raw_rows_per_s``: 500 journal-like rows per statement, one connection.
"""

from __future__ import annotations

import asyncio
import os
import time
from datetime import UTC, datetime

import asyncpg

CONNECTIONS = 50
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
    """Both rates, each measured for ``seconds``, in a schema of their own."""
    connections = [await asyncpg.connect(dsn) for _ in range(CONNECTIONS)]
    try:
        await connections[0].execute(TABLE)
        single = await _single(connections, seconds)
        await connections[0].execute(TABLE)
        raw = await _raw(connections[0], seconds)
        await connections[0].execute("drop schema bench cascade")
    finally:
        for connection in connections:
            await connection.close()
    return {"single_commit_per_s": single, "raw_rows_per_s": raw}


async def _single(connections: list[asyncpg.Connection], seconds: float) -> float:
    end = time.perf_counter() + seconds
    begun = time.perf_counter()
    key, small = os.urandom(16), b"\x01\x91\x01"

    async def insert(run: int, connection: asyncpg.Connection) -> int:
        statement = await connection.prepare(ONE)
        count = 0
        while time.perf_counter() < end:
            await statement.fetch(run, count, small, small, datetime.now(UTC), key[:8], key)
            count += 1
        return count

    counts = await asyncio.gather(*(insert(i, each) for i, each in enumerate(connections)))
    return sum(counts) / (time.perf_counter() - begun)


async def _raw(connection: asyncpg.Connection, seconds: float) -> float:
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
