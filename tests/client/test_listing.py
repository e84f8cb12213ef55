"""Lists with filters, in pages; and the removal of what has closed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from durable import Client, Description, Durable, RunTerminated, Start, Status
from durable._client import listing
from durable._core.statuses import OPEN
from durable._store.postgres.line import Line
from durable.errors import InvalidCall, RunNotFound

from .flows import double, fails, named, waits

DAY = timedelta(days=1)
FIRST = datetime(2026, 1, 1, tzinfo=UTC)

# One run an hour, of these in turn: every status that a list may be asked for.
FILL = """
with made as (
    insert into durable.run (run, id, workflow, queue, status, due_at, seed, created_at, closed_at,
        report, worker)
    select nextval('durable.run_key'), 'r/' || n, (array['order', 'refund', 'ship%_'])[n % 3 + 1],
        (array['default', 'slow'])[n % 2 + 1], s.status,
        case when s.status = 'pending' then at end, decode(repeat('00', 16), 'hex'), at,
        case when s.status in ('completed', 'failed') then at + interval '30 min' end,
        case when s.status = 'stuck' then 'why' end, null
    from generate_series(1, $1::int) n
    cross join lateral (select timestamptz '2026-01-01Z' + n * interval '1 hour' as at) t
    cross join lateral (select case when n % 1000 = 0 then 'failed' when n % 1000 = 1 then 'pending'
        when n % 1000 = 2 then 'stuck' else 'completed' end as status) s
    returning run
)
insert into durable.input (run, args, digest) select run, '\\x0190', 'd' from made
"""


async def filled(database: asyncpg.Connection[Any], count: int) -> None:
    await database.execute(FILL.replace("$1", str(count)))
    await database.execute("analyze durable.run")


FILTERS: list[tuple[dict[str, Any], Callable[[Description], bool]]] = [
    ({}, lambda _: True),
    ({"status": "failed"}, lambda run: run.status == "failed"),
    ({"status": ["failed", Status.STUCK, "pending"]},
     lambda run: run.status in ("failed", "stuck", "pending")),
    ({"status": ("completed", "failed"), "workflow": "refund"},
     lambda run: (run.workflow, run.status in ("completed", "failed")) == ("refund", True)),
    ({"status": []}, lambda run: False),
    ({"status": Status.COMPLETED}, lambda run: run.status == "completed"),
    ({"workflow": "refund"}, lambda run: run.workflow == "refund"),
    ({"workflow": "ship%_", "queue": "slow"},
     lambda run: (run.workflow, run.queue) == ("ship%_", "slow")),
    ({"queue": "slow", "status": "pending"}, lambda r: (r.queue, r.status) == ("slow", "pending")),
    ({"id_prefix": "r/10"}, lambda run: run.id.startswith("r/10")),
    ({"id_prefix": "r_"}, lambda run: False),
    ({"created_since": FIRST + 10 * DAY, "created_until": FIRST + 11 * DAY},
     lambda run: FIRST + 10 * DAY <= run.created_at < FIRST + 11 * DAY),
    ({"closed_since": FIRST + 40 * DAY},
     lambda run: bool(run.closed_at and run.closed_at >= FIRST + 40 * DAY)),
    ({"closed_until": FIRST + DAY, "workflow": "order"},
     lambda r: bool(r.closed_at and r.closed_at < FIRST + DAY and r.workflow == "order")),
]  # fmt: skip


async def test_every_filter_finds_what_it_says_in_both_orders_and_any_page(
    client: Client, database: asyncpg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(database, 1100)
    await database.execute("update durable.run set created_at = '2026-01-20Z' where run % 7 = 0")
    everything = {run.id: run async for run in client.list()}
    assert len(everything) == 1100
    monkeypatch.setattr(listing, "PAGE", 37)

    for filters, fits in FILTERS:
        wanted = {id for id, run in everything.items() if fits(run)}
        newest = await client.list(**filters)
        oldest = [run async for run in client.list(**filters, order="oldest")]
        assert {run.id for run in newest} == wanted, filters
        keys = [(run.created_at, run.run) for run in oldest]
        assert keys == sorted(keys)
        assert oldest == newest[::-1]
        some = await client.list(**filters, limit=40)
        assert some == newest[:40]


async def test_common_filters_read_little_of_a_large_table(
    client: Client, database: asyncpg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Buffers that a page touches, of a table of 60,000 runs; few of them have failed."""
    await filled(database, 60_000)
    await database.execute("vacuum durable.run")
    fetch, touched = Line.fetch, []

    async def explained(line: Line, query: str, *args: Any, **given: Any) -> list[Any]:
        plan = await fetch(line, f"explain (analyze, buffers, format json) {query}", *args)
        text = plan[0][0]
        assert "Seq Scan on run" not in text and '"Relation Name": "run"' in text
        assert '"Seq Scan"' not in text.split('"Relation Name": "run"')[0]
        touched.append(sum(int(n) for n in _numbers(text)))
        return await fetch(line, query, *args, **given)

    monkeypatch.setattr(Line, "fetch", explained)
    for filters in (
        {}, {"status": "failed"}, {"status": sorted(OPEN)},
        {"status": "stuck", "workflow": "order"}, {"workflow": "refund"},
        {"status": "completed"}, {"id_prefix": "r/5999"}, {"queue": "slow"},
        {"closed_since": datetime(2032, 10, 1, tzinfo=UTC)},
        {"created_since": FIRST + 100 * DAY, "created_until": FIRST + 101 * DAY},
    ):  # fmt: skip
        for order in ("newest", "oldest"):
            del touched[:]
            assert await client.list(**filters, order=order, limit=10)
            assert max(touched) < 2_500, (filters, order)
    del touched[:]
    assert await client.store.listing.selected(sorted(OPEN), None, None)
    assert max(touched) < 2_500


def _numbers(text: str) -> list[str]:
    """Blocks of the plan's top node, which counts those below."""
    lines = [line for line in text.splitlines() if "Shared Hit Blocks" in line]
    reads = [line for line in text.splitlines() if "Shared Read Blocks" in line]
    return [line.split(":")[1].strip(" ,") for line in (*lines[:1], *reads[:1])]


@pytest.mark.parametrize(
    "bad",
    [{"status": "done"}, {"status": ["failed", "done"]}, {"status": 5}, {"status": ""},
     {"created_since": datetime(2026, 1, 1)},
     {"closed_until": "2026"}, {"order": "best"}],
)  # fmt: skip
async def test_a_filter_that_cannot_be_is_refused(client: Client, bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidCall):
        await client.list(**bad)


@pytest.mark.parametrize("text", ["'; drop schema durable cascade --", "%", "_", "\\", "a\\%"])
async def test_a_filter_is_a_value_and_never_sql(client: Client, text: str) -> None:
    await client.start(named, id="plain")
    await client.start("elsewhere", id=text + "/1", queue=text)
    assert [run.id async for run in client.list(id_prefix=text)] == [text + "/1"]
    assert [run.id async for run in client.list(queue=text)] == [text + "/1"]
    assert await client.list(workflow=text) == []


# Deletion

ROWS = ("run", "input", "result", "journal", "inbox", "outcome", "attempt")


async def rows(database: asyncpg.Connection[Any]) -> dict[str, int]:
    return {
        table: await database.fetchval(f"select count(*) from durable.{table}") for table in ROWS
    }


async def test_closed_runs_go_with_all_their_rows_and_open_ones_stay(
    app: Durable, database: asyncpg.Connection[Any]
) -> None:
    for n in range(5):
        await app.run(double, n, id=f"done-{n}")
    failed = await app.start(fails, id="failed")
    stopped = await app.start(waits, id="stopped")
    await stopped.cancel()
    await asyncio.gather(failed.result(), stopped.result(), return_exceptions=True)
    await app.start(waits, id="open")
    await database.execute(
        "insert into durable.outcome (run, op, name) select run, 1, 'x' from durable.run"
    )
    before = await rows(database)
    assert before["inbox"] == 1

    assert await app.delete(older_than=DAY) == 0
    assert await app.delete(older_than=0, status="completed", dry_run=True) == 5
    assert await rows(database) == before
    assert await app.delete(older_than=0, status=["failed"]) == 1
    assert await app.delete(older_than=0, workflow="double") == 5
    assert await app.delete(older_than=0) == 1

    left = await rows(database)
    assert left["run"] == left["input"] == left["outcome"] == 1
    assert left["result"] == left["inbox"] == 0
    assert [run.id async for run in app.list()] == ["open"]
    with pytest.raises(RunNotFound):
        await stopped.result()


async def test_an_id_is_free_again_after_its_run_was_deleted(app: Durable) -> None:
    first = await app.start(double, 1, id="a")
    await first.result()
    await app.delete(older_than=0)

    assert await app.run(double, 2, id="a", if_exists="reject") == 4
    with pytest.raises(RunNotFound):
        await first.result()


async def test_a_waiter_of_a_run_that_is_deleted_is_told(app: Durable, dsn: str) -> None:
    async with Client(dsn) as other:
        handle = await other.start("elsewhere", id="a")
        waiter = asyncio.create_task(handle.result())
        await asyncio.sleep(0)
        await other.start("elsewhere", id="a", if_exists="replace")
        await other.delete(older_than=0)
        with pytest.raises((RunNotFound, RunTerminated)):
            await waiter


async def test_a_run_that_somebody_has_locked_is_left_for_the_next_time(
    client: Client, database: asyncpg.Connection[Any], dsn: str
) -> None:
    await filled(database, 20)
    stranger = await asyncpg.connect(dsn)
    try:
        transaction = stranger.transaction()
        await transaction.start()
        await stranger.execute("select from durable.run where id = 'r/7' for no key update")
        closed = await database.fetchval(
            "select count(*) from durable.run where closed_at is not null"
        )

        assert await client.delete(older_than=DAY) == closed - 1
        await transaction.rollback()
        assert await client.delete(older_than=DAY) == 1
    finally:
        await stranger.close()


async def test_many_go_in_batches_bounded_in_runs_and_events(
    client: Client, database: asyncpg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(database, 4_500)
    await database.execute(
        "insert into durable.journal (run, position, kind, at, key) "
        "select run, n, 'timer', now(), decode(repeat('00', 16), 'hex') "
        "from durable.run, generate_series(0, 9) n"
    )
    monkeypatch.setattr("durable._store.postgres.listing.DELETE_EVENTS", 5_000)
    fetchrow, batches = Line.fetchrow, []

    async def counted(line: Line, query: str, *args: Any, **given: Any) -> Any:
        row = await fetchrow(line, query, *args, **given)
        if "delete_closed" in query:
            batches.append(row["deleted"])
        return row

    monkeypatch.setattr(Line, "fetchrow", counted)
    total = await client.delete(older_than=DAY, status=("completed", "failed"))

    assert total == sum(batches) == 4_500 - 5 - 5
    assert set(batches[:-2]) == {500}
    left = await database.fetchval("select count(*) from durable.journal")
    assert left == 10 * 10


async def test_what_cannot_be_an_age_is_refused(client: Client) -> None:
    for bad in (-1, float("nan"), float("inf"), "30d", datetime.now(UTC)):
        with pytest.raises(InvalidCall):
            await client.delete(older_than=bad)  # type: ignore[arg-type]
    with pytest.raises(InvalidCall):
        await client.delete(older_than=1, status="done")
    assert await client.delete(older_than=timedelta(days=10**6)) == 0


async def test_thousands_started_and_listed_by_prefix(client: Client) -> None:
    await client.start_many(Start(double, n, id=f"batch-1/{n}") for n in range(1_000))
    assert len(await client.list(id_prefix="batch-1/")) == 1_000
    assert len(await client.list(id_prefix="batch-1/99")) == 11
