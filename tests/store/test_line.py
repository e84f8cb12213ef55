"""A line: one connection, one caller at a time, and what happens when it breaks."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio

from durable._store.postgres import connecting
from durable._store.postgres.connecting import Sessions, connect, explained, shown
from durable._store.postgres.line import Line
from durable._store.postgres.store import Store
from durable._store.protocol import Unavailable
from durable.errors import ConfigurationError, InvalidCall, StoreUnavailable

from .stage import Stage


@pytest_asyncio.fixture
async def line(dsn: str) -> AsyncIterator[Line]:
    line = Line(Sessions(dsn, "test"), lock_timeout=30)
    yield line
    await line.close()


@pytest_asyncio.fixture
async def observer(dsn: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


HOLD = "select pg_advisory_xact_lock(1)"


async def held(observer: asyncpg.Connection[Any], line: Line) -> asyncio.Task[Any]:
    """A call of the line that waits for a lock; returns once it does."""
    await observer.execute("select pg_advisory_lock(1)")
    call = asyncio.create_task(line.fetchval(HOLD))
    waiting = "select count(*) from pg_stat_activity where wait_event = 'advisory'"
    while not await observer.fetchval(waiting):
        await asyncio.sleep(0)
    return call


async def test_calls_are_answered_one_after_another(line: Line) -> None:
    calls = [line.fetchval("select $1::int", number) for number in range(50)]
    assert await asyncio.gather(*calls) == list(range(50))


async def test_a_caller_who_gives_up_does_not_interrupt_the_statement(
    line: Line, observer: asyncpg.Connection[Any]
) -> None:
    call = await held(observer, line)
    session = line.session

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await observer.execute("select pg_advisory_unlock(1)")

    assert await line.fetchval("select 7") == 7
    assert line.session is session


async def test_a_call_that_nobody_waits_for_any_more_is_not_begun(
    line: Line, observer: asyncpg.Connection[Any]
) -> None:
    first = await held(observer, line)
    second = asyncio.create_task(line.fetchval("select nextval('durable.run_key')"))
    await asyncio.sleep(0)
    second.cancel()
    await observer.execute("select pg_advisory_unlock(1)")
    await first

    assert await line.fetchval("select nextval('durable.run_key')") == 1


async def test_a_call_that_takes_too_long_costs_the_connection(
    line: Line, observer: asyncpg.Connection[Any]
) -> None:
    await observer.execute("select pg_advisory_lock(1)")

    with pytest.raises(Unavailable, match=r"no answer within 0.1 s"):
        await line.fetchval(HOLD, within=0.1)

    assert line.session is None
    assert await line.fetchval("select 7") == 7


async def test_the_servers_refusals_pass_through_and_keep_the_connection(line: Line) -> None:
    await line.fetchval("select 1")
    session = line.session
    with pytest.raises(asyncpg.DivisionByZeroError):
        await line.fetchval("select 1/0")
    with pytest.raises(asyncpg.exceptions.DataError):
        await line.fetchval("select $1::int", "seven")
    assert await line.fetchval("select 7") == 7
    assert line.session is session


async def test_a_session_that_is_ended_means_unavailable_and_then_another_one(
    line: Line, observer: asyncpg.Connection[Any]
) -> None:
    call = await held(observer, line)
    assert line.session is not None
    await observer.fetchval("select pg_terminate_backend($1)", line.session.pid)

    with pytest.raises(Unavailable, match="the connection was lost"):
        await call

    assert await line.fetchval("select 7") == 7


async def test_a_store_that_is_closed_refuses_calls_in_words(line: Line) -> None:
    await line.fetchval("select 1")
    await line.close()
    with pytest.raises(Unavailable, match="closed"):
        await line.fetchval("select 1")


async def test_closing_is_bounded_although_a_call_hangs(
    line: Line, observer: asyncpg.Connection[Any]
) -> None:
    call = await held(observer, line)
    waiting = asyncio.create_task(line.fetchval("select 1"))
    await asyncio.sleep(0)

    async with asyncio.timeout(10):
        await line.close()

    for each in (call, waiting):
        with pytest.raises(Unavailable):
            await each


async def test_another_event_loop_is_refused_in_words(line: Line) -> None:
    await line.fetchval("select 1")
    caught: list[BaseException] = []

    def elsewhere() -> None:
        try:
            asyncio.run(line.fetchval("select 1"))
        except InvalidCall as error:
            caught.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    await asyncio.to_thread(thread.join)
    assert "another event loop" in str(caught[0])


async def test_a_forked_child_is_refused_in_words(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    await line.fetchval("select 1")
    parent = os.getpid()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: parent + 1)
        with pytest.raises(InvalidCall, match="forked"):
            await line.fetchval("select 1")


async def test_our_sessions_are_set_as_the_protocols_need(
    dsn: str, observer: asyncpg.Connection[Any]
) -> None:
    database = urlsplit(dsn).path[1:]
    await observer.execute(
        f"alter database {database} set default_transaction_isolation = 'serializable'"
    )
    line = Line(Sessions(dsn, "shop"), lock_timeout=0.08)

    async def shown(name: str) -> str:
        value: str = await line.fetchval(f"show {name}")
        return value

    assert await shown("transaction_isolation") == "read committed"
    assert await shown("application_name") == "durable:shop"
    assert await shown("lock_timeout") == "80ms"
    assert await shown("jit") == "off"
    assert await shown("idle_in_transaction_session_timeout") == "10s"
    await line.close()


# Connecting


async def test_a_host_that_is_down_is_told_in_words() -> None:
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        await Store.open("postgresql://u:secret@127.0.0.1:1/db", name="test")


async def test_an_unknown_database_is_told_in_words(dsn: str) -> None:
    with pytest.raises(ConfigurationError, match="has no such database"):
        await Store.open(urlsplit(dsn)._replace(path="/nowhere").geturl(), name="test")


@pytest.mark.parametrize("url", ["not a url", "mysql://host/db", "postgresql://host:port/db"])
async def test_a_bad_url_is_told_in_words(url: str) -> None:
    with pytest.raises(ConfigurationError, match="It looks like"):
        await Store.open(url, name="test")


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (asyncpg.InvalidPasswordError("x"), ConfigurationError, "password"),
        (asyncpg.InvalidAuthorizationSpecificationError("x"), ConfigurationError, "user"),
        (asyncpg.InvalidCatalogNameError("x"), ConfigurationError, "no such database"),
        (asyncpg.ReadOnlySQLTransactionError("x"), ConfigurationError, "primary"),
        (asyncpg.CannotConnectNowError("x"), StoreUnavailable, "does not take connections"),
        (asyncpg.TooManyConnectionsError("x"), StoreUnavailable, "does not take connections"),
        (TimeoutError(), StoreUnavailable, "no answer within 5 s"),
        (ConnectionRefusedError("refused"), StoreUnavailable, "refused"),
    ],
)
def test_what_a_failure_to_connect_means(
    error: BaseException, kind: type[Exception], said: str
) -> None:
    told = explained(error, "postgresql://u:secret@host:5432/db")
    assert type(told) is kind
    assert said in str(told)
    assert "secret" not in str(told)


def test_passwords_are_not_shown() -> None:
    assert shown("postgresql://u:secret@host:1/db?password=secret") == "postgresql://u@host:1/db"
    assert "secret" not in shown("postgresql://u:secret@host:bad/db")


async def test_a_replica_and_an_old_postgres_are_refused(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(connecting, "POSTGRES_MIN", 99)
        with pytest.raises(ConfigurationError, match="Durable needs 99"):
            await connect(dsn, application="test", lock_timeout=1)
    settings = connecting._SETTINGS.replace("pg_is_in_recovery()", "true")
    monkeypatch.setattr(connecting, "_SETTINGS", settings)
    with pytest.raises(ConfigurationError, match="read-only replica"):
        await connect(dsn, application="test", lock_timeout=1)


async def test_a_session_that_is_ended_while_it_is_prepared_is_no_fault_of_the_url(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = "*/ select pg_terminate_backend(pg_backend_pid()),"
    settings = connecting._SETTINGS.replace("*/\nselect", ends, 1)
    monkeypatch.setattr(connecting, "_SETTINGS", settings)
    with pytest.raises(StoreUnavailable, match="administrator command"):
        await connect(dsn, application="test", lock_timeout=1)


async def test_a_session_behind_a_pooler_that_is_ended_in_a_call_says_so(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call is a transaction there, and a closed connection takes no rollback."""
    monkeypatch.setattr(connecting, "_DIRECT", "select where {pid} = 0")
    session = await connect(dsn, application="test", lock_timeout=1)
    assert session.pooled
    with pytest.raises(asyncpg.PostgresError, match="administrator command"):
        await session.use(lambda c: c.fetchrow("select pg_terminate_backend(pg_backend_pid())"))


async def test_the_catalogs_are_not_asked_about_arrays_that_every_postgres_has(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is said about them is what they would say."""
    asked = list[Any]()
    ask = asyncpg.Connection._introspect_types  # type: ignore[attr-defined]

    async def heard(self: Any, typeoids: Any, *how: Any) -> Any:
        asked.append(set(typeoids))
        return await ask(self, typeoids, *how)

    monkeypatch.setattr(asyncpg.Connection, "_introspect_types", heard)
    session = await connect(dsn, application="test", lock_timeout=1)
    kinds = ("bool", "bytea", "int", "bigint", "timestamptz", "interval", "uuid")
    values = "true, '\\x00'::bytea, 1, 2::bigint, now(), interval '1 s', gen_random_uuid()"
    arrays = ", ".join(f"array[{each}]" for each in [*values.split(", "), "row(1, 2)"])
    given: Any = await session.connection.fetchrow(f"select {arrays}")
    for each, kind in zip(given, kinds, strict=False):
        assert await session.connection.fetchval(f"select $1::{kind}[]", each) == each
    assert asked == []
    plain = await asyncpg.connect(dsn)
    theirs: Any = await plain.fetchrow(f"select {arrays}")
    assert [type(each[0]) for each in given] == [type(each[0]) for each in theirs]
    assert len(asked) == 1, "the plain one asks"
    await session.connection.fetchrow("select null::box[], null::bigint[]")
    assert len(asked) == 2, "what is not known is asked for"
    await plain.close()
    await session.close()


async def test_a_connection_that_is_lost_between_two_questions_is_no_fault_of_the_url(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closes(connection: asyncpg.Connection[Any]) -> None:
        connection.terminate()

    monkeypatch.setattr(connecting, "_keep_alive", closes)
    with pytest.raises(StoreUnavailable, match="closed"):
        await connect(dsn, application="test", lock_timeout=1)


async def test_a_database_that_comes_back_is_found_again(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*args: Any, **kwargs: Any) -> Any:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr("durable._store.postgres.line.connect", away)
        for _ in range(3):
            with pytest.raises(Unavailable, match="away"):
                await line.fetchval("select 7")
    assert await line.fetchval("select 7") == 7


async def test_a_store_tells_takeovers_which_sessions_are_its_own(stage: Stage) -> None:
    heartbeat, worker = await stage.beating()
    await stage.born(worker, "a")
    await heartbeat.beat(worker)

    ours = await stage.value(
        "select count(*) from durable.worker w, unnest(backend_pids, backend_starts) b(pid, at) "
        "join pg_stat_activity s on s.pid = b.pid and s.backend_start = b.at "
        "where s.application_name = 'durable:test'"
    )

    assert ours == 3  # calls, commits, heartbeat
