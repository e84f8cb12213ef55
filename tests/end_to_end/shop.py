"""Workflows for tests with real processes. What activities do is written to a table, by a
connection of their own: the outside world, which no rollback of ours reaches."""

from __future__ import annotations

import asyncio
import os

import asyncpg

from durable import Context, OutcomeUnknown, Retry, activity, attempt, workflow
from durable._runtime import doubtful

doubtful.TRIAL_SECONDS = float(os.environ.get("TRIAL_SECONDS", doubtful.TRIAL_SECONDS))


@activity(retry=Retry(attempts=50, delay=0.05, delay_max=0.5))
async def act(name: str) -> str:
    """Leaves a trace that it began, works a little, and returns."""
    await leave_trace(name)
    await asyncio.sleep(0.02)
    return f"{name} done"


async def leave_trace(name: str) -> None:
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


@activity(retry=Retry(attempts=1))
async def pay(name: str) -> str:
    """Acts, and does not come to say so."""
    await leave_trace(name)
    await asyncio.sleep(3600)
    return "paid"


@activity(heartbeat_timeout=60)
async def copy(name: str) -> list[object]:
    """Half of the work by the first attempt, the rest by the second."""
    now = attempt()
    await leave_trace(name)
    if now.details is None:
        now.heartbeat({"copied": 50})
        await asyncio.sleep(3600)
    return [now.number, now.may_have_run, now.details]


@workflow
async def payment(ctx: Context, name: str) -> list[object]:
    copied = ctx.activity(copy, f"{name}/copy")
    try:
        paid = await ctx.activity(pay, f"{name}/pay")
    except OutcomeUnknown as error:
        paid = f"unknown, tried {error.attempts}"
    return [paid, *await copied]


WORLD = """
create schema world;
create table world.act (n bigserial primary key, name text, key text, pid int, at timestamptz);
create table world.booking (name text);
"""


@activity
async def ends_the_process() -> None:
    os._exit(9)


@workflow
async def poison(ctx: Context) -> None:
    await ctx.activity(ends_the_process)


@activity
async def takes_long(name: str) -> str:
    """Longer than anybody lives who works beside poison."""
    connection = await asyncpg.connect(os.environ["WORLD"])
    try:
        while not await connection.fetchval("select 1 from durable.run where status = 'stuck'"):
            await asyncio.sleep(0.05)
    finally:
        await connection.close()
    return name


@workflow
async def neighbour(ctx: Context, name: str) -> str:
    return await ctx.activity(takes_long, name)
