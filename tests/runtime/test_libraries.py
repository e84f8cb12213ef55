"""``ctx.transaction`` in each library: exactly once, in the isolation that is asked for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import asyncpg
import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from durable import Client, Context, Durable, Retry, RunTerminated, activity, workflow
from durable._authoring.definitions import transaction_of
from durable.errors import DefinitionError

from .takeovers import rows, worker_of

if TYPE_CHECKING:
    import sqlalchemy.ext.asyncio as for_types_alone

pytestmark = pytest.mark.once  # what is rehearsed of transactions is in test_transactions.py

LIBRARIES = ["asyncpg", "psycopg", "session", "connection"]
gates: dict[str, asyncio.Event] = {}
tries: list[str] = []


class Base(DeclarativeBase): ...


class Booked(Base):
    __tablename__ = "booked"
    name: Mapped[str] = mapped_column(primary_key=True)
    level: Mapped[str]


@pytest.fixture(autouse=True)
async def _world(dsn: str) -> None:
    gates.clear()
    tries.clear()
    await rows(dsn, "create table booked (name text primary key, level text)")


def gate(name: str) -> asyncio.Event:
    return gates.setdefault(name, asyncio.Event())


async def pass_gate(name: str) -> None:
    tries.append(name)
    gate("in").set()
    if name.startswith("held"):
        await gate("out").wait()
    if name == "fails":
        raise ValueError("no such thing")


LEVEL = "current_setting('transaction_isolation')"


@activity(retry=Retry(attempts=1))
async def with_asyncpg(conn: asyncpg.Connection[Any], name: str) -> str:
    await conn.execute(f"insert into booked values ($1, {LEVEL})", name)
    await pass_gate(name)
    return str(await conn.fetchval(f"select {LEVEL}"))


@activity(retry=Retry(attempts=1))
async def with_psycopg(conn: psycopg.AsyncConnection[Any], name: str) -> str:
    cursor = await conn.execute(f"insert into booked values (%s, {LEVEL}) returning level", (name,))
    await pass_gate(name)
    row = await cursor.fetchone()
    assert row is not None
    return str(row[0])


@activity(retry=Retry(attempts=1))
async def with_session(session: AsyncSession, name: str) -> str:
    level = await session.scalar(text(f"select {LEVEL}"))
    session.add(Booked(name=name, level=level))  # written when the session is flushed
    await pass_gate(name)
    return str(level)


@activity(retry=Retry(attempts=1))
async def with_connection(conn: AsyncConnection, name: str) -> str:
    await conn.execute(text(f"insert into booked values (:name, {LEVEL})"), {"name": name})
    await pass_gate(name)
    return str(await conn.scalar(text(f"select {LEVEL}")))


BY_NAME: dict[str, Any] = {
    "asyncpg": with_asyncpg, "psycopg": with_psycopg,
    "session": with_session, "connection": with_connection,
}  # fmt: skip


@workflow
async def books_in(ctx: Context, library: str, name: str, isolation: str | None) -> str:
    options = ctx.options(isolation=cast("Any", isolation))
    return str(await options.transaction(BY_NAME[library], name))


async def booked(dsn: str) -> list[tuple[str, str]]:
    return [
        (each["name"], each["level"]) for each in await rows(dsn, "select name, level from booked")
    ]


@pytest.mark.parametrize("library", LIBRARIES)
async def test_what_is_done_in_each_library_is_done_once_with_its_outcome(
    dsn: str, library: str
) -> None:
    async with Durable(dsn) as app:
        assert await app.run(books_in, library, "a", None) == "read committed"
        assert await app.run(books_in, library, "b", "serializable") == "serializable"
        assert await app.run(books_in, library, "c", "repeatable_read") == "repeatable read"
        assert await app.run(books_in, library, "d", None) == "read committed"
    levels = ["read committed", "serializable", "repeatable read", "read committed"]
    assert await booked(dsn) == list(zip("abcd", levels, strict=True))
    outcomes = await rows(dsn, "select count(*) from durable.outcome")
    assert [each["count"] for each in outcomes] == [4]


@pytest.mark.parametrize("library", LIBRARIES)
async def test_what_raises_has_done_nothing_in_any_library(dsn: str, library: str) -> None:
    async with Durable(dsn) as app:
        handle = await app.start(books_in, library, "fails", None)
        with pytest.raises(Exception, match="no such thing"):
            await handle.result()
        assert await app.run(books_in, library, "after", None)
    assert [name for name, _ in await booked(dsn)] == ["after"]


@pytest.mark.parametrize(
    ("library", "isolation"),
    [("asyncpg", None), *((library, "serializable") for library in LIBRARIES)],
)
async def test_a_transaction_of_a_terminated_run_does_not_happen(
    dsn: str, library: str, isolation: str | None
) -> None:
    """Also where its snapshot is older than the end of the run."""
    async with Durable(dsn, notify=False) as app, Client(dsn, notify=False) as client:
        handle = await app.start(books_in, library, "held", isolation, id="t")
        await gate("in").wait()
        assert await client.handle("t").terminate()
        gate("out").set()
        with pytest.raises(RunTerminated):
            await handle.result()
        while worker_of(app).attempts.count():
            await asyncio.sleep(0.005)
        assert await app.run(books_in, library, "after", isolation)
    assert [name for name, _ in await booked(dsn)] == ["after"]


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_lost_connection_costs_another_try_and_nothing_else(
    dsn: str, library: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Durable(dsn) as app:
        handle = await app.start(books_in, library, "held", None)
        await gate("in").wait()
        ended = await rows(
            dsn,
            "select pg_terminate_backend(pid) from pg_stat_activity where state = "
            "'idle in transaction' and datname = current_database()",
        )
        assert len(ended) == 1
        gate("out").set()
        assert await handle.result() == "read committed"
    assert [name for name, _ in await booked(dsn)] == ["held"]
    assert tries == ["held", "held"]
    assert "the connection was lost" in caplog.text and "trying again" in caplog.text


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_conflict_is_tried_again_and_told(
    dsn: str, library: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Two that read what the other writes: one of them must begin anew."""
    async with Durable(dsn) as app:
        handles = [await app.start(counts_up, library, id=f"c{n}") for n in range(2)]
        assert sorted([await each.result() for each in handles]) == [0, 1]
    assert "met another one" in caplog.text


async def pause_together() -> None:
    tries.append("in")
    if len(tries) < 2:
        await gate("both").wait()
    gate("both").set()


COUNT, ADD = "select count(*) from booked", "insert into booked values (gen_random_uuid()::text)"


async def count_asyncpg(conn: asyncpg.Connection[Any]) -> int:
    count = await conn.fetchval(COUNT)
    await pause_together()
    await conn.execute(ADD)
    return int(count)


async def count_psycopg(conn: psycopg.AsyncConnection[Any]) -> int:
    row = await (await conn.execute(COUNT)).fetchone()
    await pause_together()
    await conn.execute(ADD)
    assert row is not None
    return int(row[0])


async def count_session(session: AsyncSession) -> int:
    count = await session.scalar(text(COUNT))
    await pause_together()
    await session.execute(text(ADD))
    return int(count or 0)


async def count_connection(conn: AsyncConnection) -> int:
    count = await conn.scalar(text(COUNT))
    await pause_together()
    await conn.execute(text(ADD))
    return int(count or 0)


COUNTING: dict[str, Any] = {
    "asyncpg": count_asyncpg, "psycopg": count_psycopg,
    "session": count_session, "connection": count_connection,
}  # fmt: skip


@workflow
async def counts_up(ctx: Context, library: str) -> int:
    return int(await ctx.options(isolation="serializable").transaction(COUNTING[library]))


async def always_conflicts(conn: asyncpg.Connection[Any]) -> None:
    tries.append("conflict")
    await conn.execute("do $$ begin raise exception 'again' using errcode = '40001'; end $$")


@workflow
async def never_through(ctx: Context) -> None:
    await ctx.options(retry=Retry(attempts=1)).transaction(always_conflicts)


async def test_what_conflicts_for_ever_fails_after_a_while(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("durable._runtime.transactions._CONFLICT_PAUSE", 0.001)
    async with Durable(dsn) as app:
        handle = await app.start(never_through)
        with pytest.raises(Exception, match="again"):
            await handle.result()
    assert len(tries) == 10


async def test_what_sqlalchemy_commits_is_still_part_of_the_whole(dsn: str) -> None:
    async with Durable(dsn) as app:
        handle = await app.start(commits_in_between)
        with pytest.raises(Exception, match="after the commit"):
            await handle.result()
    assert await booked(dsn) == []


async def commits_itself(session: AsyncSession) -> None:
    session.add(Booked(name="x", level=""))
    await session.commit()
    raise ValueError("after the commit")


@workflow
async def commits_in_between(ctx: Context) -> None:
    await ctx.options(retry=Retry(attempts=1)).transaction(commits_itself)


def test_the_library_is_told_by_the_first_parameter() -> None:
    async def bare(conn, name): ...  # type: ignore[no-untyped-def]
    async def typed(session: for_types_alone.AsyncSession) -> None: ...

    spoken = {fn: transaction_of(fn).library for fn in (*BY_NAME.values(), bare, typed)}
    assert list(spoken.values()) == [
        "asyncpg", "psycopg", "sqlalchemy.session", "sqlalchemy.connection", "asyncpg",
        "sqlalchemy.session",
    ]  # fmt: skip


def test_a_connection_that_blocks_is_refused() -> None:
    async def plain(conn: psycopg.Connection[Any]) -> None: ...
    async def orm(session: Session) -> None: ...

    with pytest.raises(
        DefinitionError, match=r"plain\(\) takes a Connection of psycopg, which would"
    ):
        transaction_of(plain)
    with pytest.raises(DefinitionError, match="a Session of sqlalchemy, which"):
        transaction_of(orm)


def test_an_isolation_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="read_committed"):
        activity(isolation="snapshot")  # type: ignore[call-overload]
