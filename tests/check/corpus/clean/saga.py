"""Booking, undoing, cleaning up: whatever ends a workflow, and what it does then."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from collections.abc import AsyncIterator

import asyncpg

from durable import Compensation, Context, activity, workflow


class SoldOut(Exception): ...


@activity(raises=(SoldOut,))
async def book(what: str) -> str:
    return what


@activity
async def undo(booking: str) -> None: ...


async def record(conn: asyncpg.Connection, what: str) -> None:
    await conn.execute("insert into booking values ($1)", what)


async def release(conn: asyncpg.Connection, what: str) -> None:
    await conn.execute("delete from booking where what = $1", what)


@asynccontextmanager
async def held(ctx: Context, what: str) -> AsyncIterator[str]:
    booking = await ctx.activity(book, what)
    try:
        yield booking
    finally:
        await ctx.activity(undo, booking)


@workflow
async def trip(ctx: Context, stops: list[str]) -> list[str]:
    bookings = []
    async with Compensation() as undoing:
        for stop in stops:
            booking = await ctx.activity(book, stop)
            undoing.push_async_callback(ctx.activity, undo, booking)
            undoing.push_async_callback(ctx.transaction, release, booking)
            await ctx.transaction(record, booking)
            bookings.append(booking)
    return bookings


@workflow
async def trip_by_hand(ctx: Context, stops: list[str]) -> list[str]:
    bookings: list[str] = []
    try:
        for stop in stops:
            bookings.append(await ctx.activity(book, stop))
    except SoldOut:
        for booking in reversed(bookings):
            await ctx.activity(undo, booking)
        bookings.clear()
    except BaseException:
        await ctx.activity(undo, "all")
        raise
    return bookings


@workflow
async def cancelled_with_a_last_word(ctx: Context) -> str:
    """To catch a cancellation and to end is a decision."""
    try:
        await ctx.sleep(3600)
    except asyncio.CancelledError:
        await ctx.activity(undo, "everything")
        return "cancelled, and tidied up"
    return "slept"


@workflow
async def nested(ctx: Context) -> str:
    async def store(conn: asyncpg.Connection, what: str) -> int:
        return int(await conn.fetchval("select 1"))

    failure: BaseException | None = None
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(held(ctx, "a room"))
        try:
            await ctx.transaction(store, "x")
        except BaseException as error:
            failure = error
    if failure is not None:
        raise failure
    outcomes: list[object] = []
    try:
        await ctx.sleep(1)
    except BaseException as error:
        outcomes.append(("failed", error))
        reraise(error)
    try:
        int("x")
    except:  # nothing is awaited in there
        pass
    task = asyncio.create_task(ctx_sleep(ctx))
    while not task.done():
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass
    shielded = asyncio.shield(ctx.activity(undo, "slowly"))
    try:
        await shielded
    finally:
        await ctx.activity(undo, "room")
    return "done"


def reraise(error: BaseException) -> None:
    raise error


async def ctx_sleep(ctx: Context) -> None:
    await ctx.sleep(1)
