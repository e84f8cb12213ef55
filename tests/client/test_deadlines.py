"""A run that is still open at its deadline is cancelled: once, with the reason, by whoever."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from durable import Client, Durable, RunCancelled, Status

from . import flows
from .conftest import until
from .flows import cleaned, double, fails, tidies_up, waits

REASON = r"its deadline of 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC has passed"


async def cancels(database: asyncpg.Connection[Any]) -> list[str]:
    rows = await database.fetch("select name from durable.journal where kind = 'cancel'")
    return [row["name"] for row in rows]


async def test_a_run_is_cancelled_when_its_deadline_passes_and_says_so(
    starter: Client, database: asyncpg.Connection[Any]
) -> None:
    begun = datetime.now(UTC)
    handle = await starter.start(tidies_up, id="late", deadline=0.2)
    assert (await handle.describe()).deadline is not None

    with pytest.raises(RunCancelled, match=REASON) as told:
        await handle.result()

    described = await handle.describe()
    assert described.closed_at is not None
    assert described.closed_at - begun >= timedelta(seconds=0.2)
    assert told.value.reason == described.reason
    assert described.deadline is None
    assert cleaned.count("late") == 1
    assert await cancels(database) == [described.reason]
    cleaned.clear()


async def test_a_deadline_may_be_a_moment_and_a_run_that_keeps_it_is_left_alone(
    app: Durable, database: asyncpg.Connection[Any]
) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=0.3)
    kept = await app.start(double, 1, deadline=soon)
    missed = await app.start(waits, deadline=soon)
    assert await kept.result() == 2
    with pytest.raises(RunCancelled, match=REASON):
        await missed.result()

    described = await kept.describe()
    assert (described.status, described.deadline) == (Status.COMPLETED, soon)
    assert described.reason is None
    assert len(await cancels(database)) == 1


async def test_a_request_of_yours_has_no_reason(app: Durable) -> None:
    handle = await app.start(waits, deadline=timedelta(days=1))
    await handle.cancel()
    with pytest.raises(RunCancelled) as told:
        await handle.result()
    assert told.value.reason is None
    assert (await handle.describe()).deadline is not None


async def test_the_deadline_of_a_delayed_run_is_counted_from_its_beginning(client: Client) -> None:
    handle = await client.start(double, 1, delay=3600, deadline=60)
    run = await handle.describe()
    assert run.due_at is not None
    assert run.deadline == run.due_at + timedelta(seconds=60)


async def test_a_parked_run_is_cancelled_by_another_worker_after_a_restart(
    dsn: str, database: asyncpg.Connection[Any]
) -> None:
    async with Durable(dsn, serve=[flows]) as first:
        handle = await first.start(waits, id="parked", deadline=timedelta(days=1))
        await until(lambda: _is_parked(database))
    await database.execute("update durable.run set deadline = now()")  # a day later

    async with Durable(dsn, serve=[flows]) as second:
        with pytest.raises(RunCancelled, match=REASON):
            await second.handle("parked", waits).result()
    assert handle.id == "parked"
    assert len(await cancels(database)) == 1


async def _is_parked(database: asyncpg.Connection[Any]) -> bool:
    return bool(await database.fetchval("select status = 'waiting' from durable.run"))


async def test_a_run_that_nobody_serves_is_asked_and_ends_when_somebody_does(
    dsn: str, database: asyncpg.Connection[Any]
) -> None:
    """Any worker asks, for runs of any workflow."""
    async with Durable(dsn, serve=[double]) as other:
        handle = await other.start(waits, id="orphan", deadline=0.05)
        await until(lambda: database.fetchval("select count(*) from durable.inbox"))
        assert await handle.status() in (Status.PENDING, Status.UNSERVED)
        async with Durable(dsn, serve=[waits]):
            with pytest.raises(RunCancelled, match=REASON):
                await handle.result()
    assert len(await cancels(database)) == 1


async def test_two_workers_ask_once(dsn: str, database: asyncpg.Connection[Any]) -> None:
    async with Durable(dsn, serve=[waits]) as first, Durable(dsn, serve=[waits]) as second:
        handles = await asyncio.gather(
            *(app.start(waits, n, deadline=0.1) for n in range(15) for app in (first, second))
        )
        ends = await asyncio.gather(*(h.result() for h in handles), return_exceptions=True)
    assert all(isinstance(each, RunCancelled) for each in ends)
    assert len(await cancels(database)) == 30
    assert await database.fetchval("select count(*) from durable.inbox") == 30


async def test_a_stuck_or_closed_run_is_not_disturbed(
    app: Durable, database: asyncpg.Connection[Any]
) -> None:
    done = await app.start(double, 1, deadline=3600)
    stuck = await app.start(waits, deadline=3600)
    await done.result()
    await until(lambda: _is_parked_now(database, stuck.id))
    await database.execute(
        "update durable.run set deadline = now(), status = case when closed_at is null "
        "then 'stuck' else status end, report = 'x', due_at = null, "
        "unfit = (select array_agg(build) from durable.worker)"
    )
    await until(lambda: database.fetchval("select count(*) from durable.inbox"))

    assert await stuck.status() is Status.STUCK
    assert await done.status() is Status.COMPLETED
    await stuck.retry()
    with pytest.raises(RunCancelled, match=REASON):
        await stuck.result()


async def _is_parked_now(database: asyncpg.Connection[Any], id: str) -> bool:
    return bool(
        await database.fetchval("select status = 'waiting' from durable.run where id = $1", id)
    )


async def test_a_retry_after_the_deadline_is_not_cancelled_by_it(
    app: Durable, database: asyncpg.Connection[Any]
) -> None:
    handle = await app.start(fails, 1, deadline=3600)
    await until(lambda: _has(handle, Status.FAILED))
    await database.execute("update durable.run set deadline = now()")

    await handle.retry()

    await until(lambda: _has(handle, Status.FAILED))
    assert (await handle.describe()).deadline is None
    assert await cancels(database) == []


async def _has(handle: Any, status: Status) -> bool:
    return bool(await handle.status() is status)
