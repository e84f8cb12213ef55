"""The schema: made, upgraded, checked, under any name."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from durable import _migrating
from durable._core.statuses import CLOSED, OPEN, Status
from durable._migrating import migrate, prepare
from durable._store.postgres import fitting, statements
from durable._store.postgres.fitting import mismatch
from durable._store.postgres.store import Store
from durable._store.protocol import Verdict
from durable.errors import ConfigurationError, SchemaMismatch, StoreUnavailable
from tests.proof.proxy import Link, Parted, Point, Proxy

from .stage import Stage, birth, completed, turn

FOLDER = Path(fitting.__file__).parent
NOUNS = sorted(path.stem for path in FOLDER.glob("*.sql"))

CATALOG = """
select 'column' as what, c.relname || '.' || a.attname as name,
    format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull || ' '
        || coalesce(pg_get_expr(d.adbin, d.adrelid), '') as definition
from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
where c.relnamespace = $1::regnamespace and c.relkind in ('r', 'v', 'S')
union all
select 'options', c.relname, coalesce(array_to_string(c.reloptions, ' '), '')
from pg_class c where c.relnamespace = $1::regnamespace
union all
select 'constraint', conname, pg_get_constraintdef(oid) from pg_constraint
where connamespace = $1::regnamespace
union all
select 'index', indexname, indexdef from pg_indexes where schemaname = $2
union all
select 'function', proname, pg_get_functiondef(oid) from pg_proc
where pronamespace = $1::regnamespace
order by 1, 2, 3"""


async def catalog(connection: asyncpg.Connection[Any], schema: str) -> list[tuple[str, ...]]:
    rows = await connection.fetch(CATALOG, f'"{schema}"', schema)
    return [tuple(row) for row in rows]


async def test_statuses_are_those_of_the_core(stage: Stage) -> None:
    definition = await stage.value(
        "select pg_get_constraintdef(oid) from pg_constraint "
        "where conrelid = 'durable.run'::regclass and conname = 'run_status_check'"
    )
    assert set(re.findall(r"'(\w+)'::text", definition)) == set(Status)


async def test_closed_statuses_are_those_of_the_core(stage: Stage) -> None:
    definition = await stage.value(
        "select pg_get_constraintdef(oid) from pg_constraint "
        "where conrelid = 'durable.run'::regclass and conname = 'closed_has_time'"
    )
    named = set(re.findall(r"'(\w+)'::text", definition))
    assert named == CLOSED
    assert named.isdisjoint(OPEN)


async def test_all_migrations_together_equal_the_schema(empty_dsn: str) -> None:
    connection = await asyncpg.connect(empty_dsn)
    await connection.execute(statements.tables("durable"))
    whole = await catalog(connection, "durable")
    await connection.execute("drop schema durable cascade")
    for step in statements.migrations("durable"):
        await connection.execute(step)

    assert await catalog(connection, "durable") == whole
    assert len(whole) > 50
    assert len(statements.migrations("durable")) == fitting.VERSION
    await connection.close()


async def check(dsn: str) -> None:
    store = await Store.open(dsn, name="test")
    await store.close()


async def test_six_processes_may_create_it_at_once(empty_dsn: str) -> None:
    await asyncio.gather(*(migrate(empty_dsn) for _ in range(6)))
    await check(empty_dsn)


async def test_migrating_again_changes_nothing(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    before = await catalog(connection, "durable")
    await migrate(dsn)
    assert await catalog(connection, "durable") == before
    await connection.close()


async def test_a_migration_does_not_wait_for_ever(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that cannot have its locks gives way, again and again, and gets through at last."""
    stranger = await asyncpg.connect(dsn)
    for module in (fitting, _migrating):
        monkeypatch.setattr(module, "VERSION", 2)
    monkeypatch.setattr(_migrating, "LOCK_SECONDS", 0.05)
    step = "alter table durable.run add column flag boolean"
    monkeypatch.setattr(statements, "migrations", lambda _: ["", step])
    transaction = stranger.transaction()
    await transaction.start()
    await stranger.execute("lock table durable.run in access share mode")
    migrating = asyncio.create_task(migrate(dsn))
    observer = await asyncpg.connect(dsn)
    seen = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
    while not await observer.fetchval(seen):
        assert not migrating.done()

    await transaction.rollback()

    await migrating
    assert await observer.fetchval("select value from durable.setting where name = 'schema_version'"
                                   ) == "2"  # fmt: skip
    await stranger.close()
    await observer.close()


async def test_an_older_schema_is_upgraded_only_when_asked(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (fitting, _migrating):
        monkeypatch.setattr(module, "VERSION", 2)
    monkeypatch.setattr(statements, "migrations", lambda _: ["", "create table durable.more ()"])

    with pytest.raises(SchemaMismatch, match="is version 1; this code needs 2"):
        await prepare(dsn, upgrade=False)
    await prepare(dsn, upgrade=True)
    await prepare(dsn, upgrade=False)
    await check(dsn)


async def test_an_empty_schema_made_by_an_administrator_is_used(empty_dsn: str) -> None:
    connection = await asyncpg.connect(empty_dsn)
    await connection.execute("create schema durable")
    await migrate(empty_dsn)
    await check(empty_dsn)
    await connection.close()


async def test_a_missing_schema_is_told_in_words(empty_dsn: str) -> None:
    with pytest.raises(SchemaMismatch, match=r"has no schema 'durable'\. Run `durable migrate`"):
        await check(empty_dsn)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ((1, 1), None),
        ((7, 1), None),  # newer, and this code may run beside it
        ((0, 0), "Run `durable migrate`"),
        ((7, 2), "Upgrade the package"),
        (None, "has no schema"),
    ],
)
def test_which_schema_fits_which_code(found: tuple[int, int] | None, said: str | None) -> None:
    error = mismatch(found, "durable")
    assert (error is None) == (said is None)
    assert said is None or said in str(error)


async def test_the_schema_may_have_any_name_and_many_may_share_a_database(empty_dsn: str) -> None:
    for schema in ("we ird", "Tenant-2", "durable"):
        await migrate(empty_dsn, schema)
        async with Stage(empty_dsn, schema) as stage:
            worker = await stage.worker()
            (key,) = await stage.store.runs.keys(1)
            started = await stage.start("a")
            claimed = await stage.store.runs.claim(worker, limit=9)
            assert [each.run for each in claimed] == [started.run]
            assert (
                await stage.commit(
                    worker, turn(key, 0, birth=birth("b")), turn(started.run, 0, close=completed())
                )
                == [Verdict.DONE] * 2
            )
            assert (await stage.send("b", "k")).state == "accepted"
            assert await stage.store.runs.retry("a") is not None
            assert (await stage.start("a", "after_close")).created
            assert await stage.store.workers.take_over(worker) == 1
            assert (await stage.store.listing.describe("b") or {})["events"] == 1


async def test_ids_of_two_schemas_do_not_wait_for_each_other(empty_dsn: str) -> None:
    connection = await asyncpg.connect(empty_dsn)
    keys = []
    for schema in ("one", "two"):
        await migrate(empty_dsn, schema)
        keys.append(await connection.fetchval(f"select {schema}.id_key('a')"))
    assert keys[0] != keys[1]
    await connection.close()


@pytest.mark.parametrize("schema", ["", 'a"b', "a'b", "x" * 64, "a\0b"])
def test_names_that_cannot_be_a_schema_are_refused(schema: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be used"):
        statements.quoted(schema)


# The house rules of SQL


@pytest.mark.parametrize("noun", NOUNS)
def test_every_statement_says_who_sends_it(noun: str) -> None:
    for name, text in statements.load(noun, "we ird").items():
        assert text.startswith(f"/* durable: {name} */")
        assert not re.search(r"\bdurable\.", text.split("*/", 1)[1])


def test_statements_and_functions_select_columns_by_name() -> None:
    texts = [path.read_text(encoding="utf-8") for path in FOLDER.rglob("*.sql")]
    assert len(texts) > 12
    for text in texts:
        assert not re.search(r"select\s+(\w+\.)?\*", text)


async def test_functions_that_must_be_stable_are(stage: Stage) -> None:
    volatility = "select provolatile from pg_proc where oid = 'durable.{}'::regproc"
    assert await stage.value(volatility.format("now")) == b"s"
    assert await stage.value(volatility.format("id_key")) == b"s"


@pytest.mark.parametrize("point", ["is_there", "versions"])
async def test_a_connection_lost_while_the_schema_is_looked_at_is_told_in_words(
    dsn: str, point: str
) -> None:
    async def cut(_: Link) -> None:
        raise Parted

    async with Proxy(dsn) as proxy:
        proxy.aim(Point(point, 1), cut)
        with pytest.raises(StoreUnavailable, match="connection was lost"):
            await prepare(proxy.dsn, upgrade=False)
        await prepare(proxy.dsn, upgrade=False)
