"""Workflows for tests with real processes. What activities do is written to a table, by a
connection of their own: the outside world, which no rollback of ours reaches."""

from __future__ import annotations

import asyncio
import os

import asyncpg

from durable import Context, Retry, activity, attempt, workflow


@activity(retry=Retry(attempts=50, delay=0.05, delay_max=0.5))
async def act(name: str) -> str:
    """Leaves a trace that it began, works a little, and returns."""
    connection = await asyncpg.connect(os.environ["WORLD"])
    try:
        await connection.execute(
            "insert into world.act (name, key, pid, at) values ($1, $2, $3, clock_timestamp())",
            name,
            attempt().idempotency_key,
            os.getpid(),
        )
    finally:
        await connection.close()
    await asyncio.sleep(0.02)
    return f"{name} done"


async def book(conn: asyncpg.Connection, name: str) -> int:
    """Exactly once, or the count is wrong."""
    await conn.execute("insert into world.booking (name) values ($1)", name)
    return int(await conn.fetchval("select count(*) from world.booking where name = $1", name))


@workflow
async def order(ctx: Context, name: str) -> list[object]:
    first = await ctx.activity(act, f"{name}/charge")
    booked = await ctx.transaction(book, name)
    both = await asyncio.gather(
        ctx.activity(act, f"{name}/pack"), ctx.activity(act, f"{name}/label")
    )
    await ctx.sleep(0.05)
    last = await ctx.activity(act, f"{name}/ship")
    return [first, booked, *both, last]


WORLD = """
create schema world;
create table world.act (n bigserial primary key, name text, key text, pid int, at timestamptz);
create table world.booking (name text);
"""
