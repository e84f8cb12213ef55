"""All of it behind PgBouncer in transaction mode: sessions change hands, so nothing may be set,
locked, prepared or listened to for longer than a transaction."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import asyncpg
import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine

from durable import Client, Context, Durable, activity, workflow
from durable._migrating import migrate
from durable._store.postgres.connecting import connect
from durable._store.protocol import Recorded
from tests.end_to_end.processes import Workers, check_promises, count, make_world, until
from tests.store.stage import Stage

LOCKS = """
select count(*) from pg_locks where locktype = 'advisory' and database = (
    select oid from pg_database where datname = current_database())"""

LOOK = """
select current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout'),
    (select count(*) from pg_listening_channels())"""


@pytest.fixture
def workers(pooled_dsn: str, dsn: str) -> Iterator[Workers]:
    workers = Workers(pooled_dsn, world=dsn)
    yield workers
    workers.end()


@activity
async def pooled_double(x: int) -> int:
    return 2 * x


async def setting(conn: asyncpg.Connection, name: str) -> str:
    return str(await conn.fetchval("select current_setting($1)", name))


@workflow
async def pooled_run(ctx: Context, x: int) -> list[Any]:
    doubled = await asyncio.gather(*(ctx.activity(pooled_double, x + i) for i in range(3)))
    await ctx.sleep(0.01)
    names = ("idle_in_transaction_session_timeout", "transaction_isolation", "application_name")
    return [*doubled, *[await ctx.transaction(setting, name) for name in names]]


async def test_killed_and_stopped_workers_lose_and_double_nothing(workers: Workers) -> None:
    await make_world(workers.world)
    names = [f"p{i}" for i in range(24)]
    async with Client(workers.dsn) as client:
        stopped, killed = workers.start("--lease", "3"), workers.start("--lease", "3")
        await asyncio.gather(*(client.start("order", name, id=name) for name in names))

        async def some_completed(number: int = 4) -> bool:
            return await count(client, "completed") >= number

        await until(some_completed, workers)
        stopped.send_signal(signal.SIGSTOP)
        killed.kill()
        killed.wait()
        workers.start("--lease", "3")
        await until(lambda: some_completed(len(names)), workers)
        stopped.send_signal(signal.SIGCONT)

        async def reborn() -> bool:
            return len(await client.store.workers.suspects(uuid4())) == 2

        await until(reborn, workers)
    await check_promises(workers.world, names)


async def test_runs_go_through_it_and_leave_no_trace_in_its_sessions(
    pooled_dsn: str, dsn: str
) -> None:
    async with Durable(pooled_dsn) as app:
        (worker,) = await app.store.workers.suspects(uuid4())
        results = await asyncio.gather(*(app.run(pooled_run, x, id=f"r{x}") for x in range(20)))
        assert app.health().ok
    assert results[3] == [6, 8, 10, "1min", "read committed", f"durable:{worker.name}"]

    stranger = await asyncpg.connect(dsn)
    assert await stranger.fetchval(LOCKS) == 0
    await stranger.close()
    for session in await sessions(pooled_dsn):
        assert session == ("0", "0", 0)


KEEP = """
insert into kept values ({}, current_setting('idle_in_transaction_session_timeout'),
    current_setting('transaction_isolation'))"""


async def keep_by_asyncpg(conn: asyncpg.Connection, n: int) -> None:
    await conn.execute(KEEP.format("$1::int"), n)


async def keep_by_psycopg(conn: psycopg.AsyncConnection, n: int) -> None:
    for _ in range(6):  # after five of one text psycopg would prepare it
        await conn.execute("select %s::int", (n,))
    await conn.execute(KEEP.format("%s::int"), (n,))


async def keep_by_session(session: AsyncSession, n: int) -> None:
    await session.execute(text("select cast(:n as int)"), {"n": n})
    await session.execute(text(KEEP.format("cast(:n as int)")), {"n": n})


async def keep_by_connection(conn: AsyncConnection, n: int) -> None:
    await conn.execute(text(KEEP.format("cast(:n as int)")), {"n": n})


KEEPING: list[Any] = [keep_by_asyncpg, keep_by_psycopg, keep_by_session, keep_by_connection]


@workflow
async def pooled_transactions(ctx: Context, n: int) -> None:
    await ctx.options(isolation="serializable").transaction(KEEPING[n % 4], n)


async def test_transactions_of_every_library_go_through_it_once_and_set_as_ours(
    pooled_dsn: str, dsn: str
) -> None:
    direct = await asyncpg.connect(dsn)
    await direct.execute("create table kept (n int, idle text, isolation text)")
    async with Durable(pooled_dsn, transactions_max=8) as app:
        await asyncio.gather(*(app.run(pooled_transactions, n, id=f"t{n}") for n in range(32)))
    kept = [tuple(each) for each in await direct.fetch("select * from kept order by n")]
    assert kept == [(n, "1min", "serializable") for n in range(32)]
    assert await direct.fetchval("select count(*) from durable.outcome") == 32
    await direct.close()


async def test_starts_join_transactions_of_every_library_through_it(pooled_dsn: str) -> None:
    async def connected() -> asyncpg.Connection:
        return await asyncpg.connect(pooled_dsn, statement_cache_size=0)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connected)
    mine = await connected()
    other = await psycopg.AsyncConnection.connect(pooled_dsn, prepare_threshold=None)
    async with Client(pooled_dsn) as client:
        for n in range(3):
            async with mine.transaction(), other.transaction():
                await client.start("pooled_run", n, id=f"a{n}", connection=mine)
                await client.start("pooled_run", n, id=f"p{n}", connection=other)
            async with AsyncSession(engine) as session, session.begin():
                await client.start("pooled_run", n, id=f"s{n}", connection=session)
        assert (await client.count_by_status())["pending"] == 9
    await mine.close()
    await other.close()
    await engine.dispose()


async def sessions(dsn: str) -> list[tuple[str, str, int]]:
    """What strangers find in all sessions of the pool: each holds one while it looks."""
    strangers = [await asyncpg.connect(dsn, statement_cache_size=0) for _ in range(3)]
    seen = []
    for stranger in strangers:
        await stranger.execute("begin")
        seen.append(tuple(await stranger.fetchrow(LOOK) or ()))
    for stranger in strangers:
        stranger.terminate()
    return seen


async def test_nobody_hears_a_worker_behind_it_and_time_alone_judges_it(
    pooled_dsn: str, dsn: str
) -> None:
    async with Stage(pooled_dsn) as stage, Stage(dsn) as direct:
        heartbeat, worker = await stage.beating()
        assert (await heartbeat.beat(worker)).alive
        assert (await heartbeat.beat(worker)).alive  # no gap: it is the same connection
        judge = await direct.worker()
        (suspect,) = await direct.store.workers.suspects(judge)
        assert (suspect.worker, suspect.lock_is_free) == (worker, False)
        pids = "select backend_pids from durable.worker where worker = $1"
        assert await direct.value(pids, worker) == []  # there is nobody a takeover could end


async def test_a_call_gives_up_a_lock_in_time_and_the_session_is_clean(
    pooled_dsn: str, dsn: str
) -> None:
    async with Stage(dsn) as direct:
        stranger = await direct.stranger()
        store = (session := await connect(pooled_dsn, application="test", lock_timeout=0.05))
        assert session.pooled
        async with stranger.transaction():
            await stranger.execute("select pg_advisory_xact_lock(7)")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await store.use(lambda c: c.fetch("select pg_advisory_xact_lock($1)", 7))
        with pytest.raises(asyncpg.DataError):
            await store.use(lambda c: c.fetch("select $1::int", "seven"))
        assert not session.connection.is_in_transaction()
        session.connection.terminate()


async def test_a_transaction_that_was_cut_off_is_seen_over(pooled_dsn: str) -> None:
    async with Stage(pooled_dsn) as stage:
        worker = await stage.worker()
        (run,) = await stage.born(worker, "a")
        outcomes: Any = stage.store.outcomes
        outcome = Recorded("book", None, b"")
        async with outcomes.backend() as backend:
            with pytest.raises(asyncpg.InterfaceError):
                async with backend.transaction():
                    await backend.record(worker, run=run, claim=1, op=1, outcome=outcome)
                    assert not await outcomes.settle(backend)  # it could still commit
                    backend.connection.terminate()
        while not await outcomes.settle(backend):
            continue
        assert await outcomes.read(run, 1) is None


async def test_the_schema_is_made_through_it(empty_dsn: str, _pooler: Any) -> None:
    await asyncio.gather(*(migrate(_pooler.dsn(empty_dsn)) for _ in range(3)))
