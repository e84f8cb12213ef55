"""Starts and messages in the caller's own transaction: asyncpg, psycopg and SQLAlchemy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from durable import Client, Context, Durable, RunCancelled, Signal, Start, workflow
from durable.errors import InvalidCall, RunNotFound

LIBRARIES = ["asyncpg", "pool", "psycopg", "session", "connection", "session over psycopg"]

told = Signal[str]("told_in_a_transaction")


@workflow
async def hears_once(ctx: Context) -> str:
    return await ctx.receive(told)


def sqlalchemy_url(dsn: str, driver: str) -> str:
    """SQLAlchemy wants a host, where the socket's directory is no host but a parameter."""
    return dsn.replace("postgresql://postgres@/", f"postgresql+{driver}://postgres@/").replace(
        "postgresql://", f"postgresql+{driver}://"
    )


@asynccontextmanager
async def transaction(dsn: str, library: str) -> AsyncIterator[Any]:
    """A connection, or session, in a transaction that ends with the block."""
    async with AsyncExitStack() as stack:
        if library == "asyncpg":
            connection = await asyncpg.connect(dsn)
            stack.push_async_callback(connection.close)
            await stack.enter_async_context(connection.transaction())
            yield connection
        elif library == "pool":
            pool = await stack.enter_async_context(asyncpg.create_pool(dsn, min_size=1, max_size=1))
            lent = await stack.enter_async_context(pool.acquire())
            await stack.enter_async_context(lent.transaction())
            yield lent
        elif library == "psycopg":
            yield await stack.enter_async_context(await psycopg.AsyncConnection.connect(dsn))
        else:
            driver = "psycopg" if "psycopg" in library else "asyncpg"
            engine = create_async_engine(sqlalchemy_url(dsn, driver))
            stack.push_async_callback(engine.dispose)
            if library == "connection":
                yield await stack.enter_async_context(engine.begin())
            else:
                session = await stack.enter_async_context(AsyncSession(engine))
                await stack.enter_async_context(session.begin())
                yield session


@pytest.mark.parametrize("library", LIBRARIES)
async def test_what_joins_is_there_when_the_transaction_commits(dsn: str, library: str) -> None:
    async with Durable(dsn) as app:
        waiting = await app.start(hears_once, id="waiting")
        async with transaction(dsn, library) as connection:
            started = await app.start(hears_once, id="started", connection=connection)
            many = await app.start_many(
                [Start(hears_once, id="many-1"), Start(hears_once)], connection=connection
            )
            assert [each.created for each in many] == [True, True]
            await waiting.signal(told, "here", connection=connection)
            await started.signal(told, "there", connection=connection)
            assert await app.handle("many-1").cancel(connection=connection)
            async with Client(dsn) as other:
                assert [each.id for each in await other.list()] == ["waiting"]
        assert await waiting.result() == "here"
        assert await started.result() == "there"
        with pytest.raises(RunCancelled):
            await app.handle("many-1").result()


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_roll_back_leaves_nothing(dsn: str, library: str) -> None:
    async with Client(dsn) as client:
        with pytest.raises(ZeroDivisionError):
            async with transaction(dsn, library) as connection:
                await client.start("hears_once", id="x", connection=connection)
                raise ZeroDivisionError
        with pytest.raises(RunNotFound):
            await client.handle("x").status()


@asynccontextmanager
async def in_no_transaction(dsn: str, library: str) -> AsyncIterator[Any]:
    async with AsyncExitStack() as stack:
        if library == "asyncpg":
            connection = await asyncpg.connect(dsn)
            stack.push_async_callback(connection.close)
            yield connection
        elif library == "psycopg":
            yield await stack.enter_async_context(
                await psycopg.AsyncConnection.connect(dsn, autocommit=True)
            )
        elif library == "session":
            url = sqlalchemy_url(dsn, "asyncpg")
            engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
            stack.push_async_callback(engine.dispose)
            yield await stack.enter_async_context(AsyncSession(engine))
        elif library == "closed":
            connection = await asyncpg.connect(dsn)
            await connection.close()
            yield connection
        elif library == "plain psycopg":
            yield stack.enter_context(psycopg.connect(dsn))
        elif library == "a pool":
            yield await stack.enter_async_context(asyncpg.create_pool(dsn, min_size=1))
        elif library == "plain sqlalchemy":
            synchronous = create_engine(sqlalchemy_url(dsn, "psycopg"))
            stack.callback(synchronous.dispose)
            yield stack.enter_context(synchronous.begin())
        else:
            yield "postgresql://"


@pytest.mark.parametrize(
    ("library", "why"),
    [
        ("asyncpg", "autocommit"),
        ("psycopg", "autocommit"),
        ("session", "autocommit"),
        ("closed", "closed"),
        ("plain psycopg", "is no connection of asyncpg or of psycopg"),
        ("a pool", "is no connection of asyncpg or of psycopg"),
        ("plain sqlalchemy", "AsyncSession"),
        ("a text", "no connection"),
    ],
)
async def test_a_connection_that_is_in_no_transaction_is_refused(
    dsn: str, library: str, why: str
) -> None:
    async with Client(dsn) as client, in_no_transaction(dsn, library) as connection:
        with pytest.raises(InvalidCall, match=why):
            await client.start("hears_once", id="x", connection=connection)
        with pytest.raises(InvalidCall, match=why):
            await client.handle("x").signal(told, "", connection=connection)
        with pytest.raises(RunNotFound):
            await client.handle("x").status()


tokens: list[str] = []


@workflow
async def waits_for_approval(ctx: Context) -> bool:
    approved = ctx.promise(bool)
    tokens.append(approved.token)
    return await approved


@pytest.mark.parametrize("library", ["psycopg", "session", "connection"])
async def test_an_answer_to_a_promise_joins_too(dsn: str, library: str) -> None:
    tokens.clear()
    async with Durable(dsn) as app:
        handle = await app.start(waits_for_approval)
        while not tokens:
            await asyncio.sleep(0.005)
        with pytest.raises(ZeroDivisionError):
            async with transaction(dsn, library) as connection:
                assert await app.resolve(tokens[0], False, connection=connection)
                raise ZeroDivisionError
        async with transaction(dsn, library) as connection:
            assert await app.resolve(tokens[0], True, connection=connection)
        assert await handle.result()


async def test_sqlalchemy_s_own_work_and_the_start_are_one(dsn: str) -> None:
    async with Client(dsn) as client:
        async with transaction(dsn, "session") as session:
            await session.execute(text("create table bought (sku text)"))
            await client.start("hears_once", id="bought", connection=session)
            await session.execute(text("insert into bought values ('socks')"))
            with pytest.raises(RunNotFound):
                await client.handle("bought").status()
        assert (await client.handle("bought").describe()).id == "bought"
