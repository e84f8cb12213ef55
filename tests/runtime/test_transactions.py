"""``ctx.transaction``: outcomes that do not fit, limits, and owners that change meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from durable import (
    ActivityTimedOut,
    Client,
    Context,
    Durable,
    Retry,
    RunStuck,
    activity,
    attempt,
    workflow,
)
from durable._codec.values import digest, encode

from .takeovers import evict, rows, worker_of
from .test_runs import until

seen: list[Any] = []
doors: dict[str, asyncio.Event] = {}
dsns: list[str] = []


@pytest.fixture(autouse=True)
async def _world(dsn: str) -> None:
    seen.clear()
    doors.clear()
    dsns.append(dsn)
    await rows(dsn, "create table booking (name text)")


@pytest.fixture
async def app(dsn: str) -> AsyncIterator[Durable]:
    async with Durable(dsn, grace=0.05) as app:
        yield app


def door(name: str) -> asyncio.Event:
    return doors.setdefault(name, asyncio.Event())


async def book(conn: asyncpg.Connection[Any], name: str) -> int:
    seen.append(attempt().number)
    await conn.execute("insert into booking (name) values ($1)", name)
    await door(name).wait()
    return len(seen)


async def crowd(conn: asyncpg.Connection[Any], n: int) -> int:
    seen.append("in")
    together = seen.count("in") - seen.count("out")
    await conn.execute("select pg_sleep(0.02)")
    seen.append("out")
    return together


@activity
async def waits_outside() -> str:
    await door("outside").wait()
    return "done"


@workflow
async def books(ctx: Context, name: str) -> int:
    return await ctx.transaction(book, name)


@workflow
async def hasty(ctx: Context, name: str) -> str:
    options = ctx.options(timeout=0.05, retry=Retry(attempts=1))
    try:
        await options.transaction(book, name)
    except ActivityTimedOut as error:
        return error.message
    return "in time"


async def done_elsewhere(conn: asyncpg.Connection[Any], name: str) -> int:
    seen.append(name)
    values = digest(encode([name])), encode(77)
    await rows(
        dsns[-1],
        "insert into durable.outcome (run, op, name, digest, result)"
        " select run, 1, 'done_elsewhere', $1, $2 from durable.run",
        *values,
    )
    await door("never").wait()
    return 0


@workflow
async def hasty_but_done(ctx: Context, name: str) -> int:
    options = ctx.options(timeout=0.05, retry=Retry(attempts=1))
    return await options.transaction(done_elsewhere, name)


@workflow
async def crowded(ctx: Context) -> list[int]:
    return list(await asyncio.gather(*(ctx.transaction(crowd, n) for n in range(6))))


@workflow
async def outside(ctx: Context) -> str:
    return await ctx.activity(waits_outside)


@pytest.mark.parametrize(
    ("name", "args", "result", "words"),
    [
        ("pay", ["x"], 1, "the outcome of transaction 'pay' under op 1"),
        ("book", ["y"], 1, "transaction 'book', or other arguments"),
        ("book", ["x"], "text", "the outcome of transaction 'book'.*does not fit int"),
    ],
)
async def test_an_outcome_that_does_not_fit_makes_the_run_stuck(
    dsn: str, name: str, args: list[str], result: object, words: str
) -> None:
    async with Client(dsn) as client:
        handle = await client.start("books", "x", id="b")
    await rows(
        dsn,
        "insert into durable.outcome (run, op, name, digest, result)"
        " select run, 1, $1, $2, $3 from durable.run",
        name,
        digest(encode(args)),
        encode(result),
    )
    door("x").set()
    async with Durable(dsn, serve=[books], grace=0.05) as app:
        with pytest.raises(RunStuck, match=words):
            await app.handle(handle.id).result()
    assert seen in ([], [1])
    assert await rows(dsn, "select name from booking") == []
    (run,) = await rows(dsn, "select status, events from durable.runs")
    assert (run["status"], run["events"]) == ("stuck", 1)


async def test_a_transaction_that_passes_its_timeout_has_not_happened(
    dsn: str, app: Durable
) -> None:
    assert await app.run(hasty, "slow") == "it ran longer than its timeout of 0.05 s"
    assert await rows(dsn, "select name from booking") == []
    door("quick").set()
    assert await app.run(hasty, "quick") == "in time"
    assert await rows(dsn, "select name from booking") == [{"name": "quick"}]


async def test_an_outcome_that_stands_when_the_timeout_comes_counts(dsn: str, app: Durable) -> None:
    """As when the session had committed and did not come to say so."""
    assert await app.run(hasty_but_done, "late") == 77
    assert await rows(dsn, "select name from booking") == []
    assert seen == ["late"]


async def test_no_more_transactions_at_once_than_there_are_connections_for(dsn: str) -> None:
    async with Durable(dsn, serve=[crowded], transactions_max=2) as app:
        together = await app.run(crowded)
    assert max(together) == 2


async def test_a_transaction_of_a_run_that_was_claimed_anew_is_tried_again(
    dsn: str, app: Durable
) -> None:
    """The fence says no while memory says yes: the op must get its answer all the same."""
    handle = await app.start(books, "x", id="b")
    await until(lambda: seen == [1])
    await rows(dsn, "update durable.run set claim = claim + 1")
    door("x").set()
    await until(lambda: len(seen) > 1)
    assert await rows(dsn, "select from booking") == []
    await rows(dsn, "update durable.run set claim = claim - 1")
    assert await handle.result() >= 2
    assert await rows(dsn, "select name from booking") == [{"name": "x"}]


async def test_a_transaction_under_way_goes_on_for_the_run_that_was_loaded_again(
    dsn: str, app: Durable
) -> None:
    handle = await app.start(books, "x", id="b")
    await until(lambda: seen == [1])
    await evict(app)
    door("x").set()
    assert await handle.result() == 1
    assert seen == [1]


async def test_an_op_that_waits_for_the_lease_of_a_dead_worker_gets_its_answer(
    dsn: str, app: Durable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker is declared dead, begins again under a new name, and claims its run anew."""
    worker = worker_of(app)
    old = worker.registration.worker
    monkeypatch.setattr(worker._lease, "_heard", lambda *_: None)
    worker._lease._answered = 0.0
    handle = await app.start(outside)
    await until(lambda: app.health().activities == 1)
    await worker.store.workers.take_over(old)
    await until(lambda: worker.registration.worker != old)
    door("outside").set()
    assert await handle.result() == "done"
