"""Runs that sleep: a row each, nothing in memory, awake on time wherever they are woken."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from durable import (
    Client,
    Context,
    Durable,
    RunFailed,
    Signal,
    Start,
    Stream,
    activity,
    attempt,
    workflow,
)
from durable._runtime import cache as cache_room
from durable._runtime import claimer
from durable._runtime.clock import Clock
from durable._store.postgres.line import Line
from durable._store.postgres.runs import Runs

wake_up = Signal[str]("wake_up")


@workflow
async def nap(ctx: Context, until: datetime) -> float:
    """How late it woke, in seconds."""
    await ctx.sleep_until(until)
    return (ctx.now() - until).total_seconds()


@workflow
async def bad_sleep(ctx: Context, how: str) -> None:
    match how:
        case "nan days":
            await ctx.sleep(days=float("nan"))
        case "infinite hours":
            await ctx.sleep(hours=float("inf"))
        case "nan":
            await ctx.sleep(float("nan"))
        case "infinite":
            await ctx.sleep(float("inf"))
        case "negative":
            await ctx.sleep(timedelta(seconds=-1))
        case "less than nothing":
            await ctx.sleep(1, seconds=-2)
        case "text":
            await ctx.sleep("soon")  # type: ignore[arg-type]
        case "huge":
            await ctx.sleep(10**400)
        case "ages":
            await ctx.sleep(timedelta.max)
        case "naive":
            await ctx.sleep_until(datetime(2030, 1, 1))


ASLEEP = "select count(*) from durable.run where status = 'waiting' and worker is null"


async def asleep(database: asyncpg.Connection[Any], count: int) -> None:
    async with asyncio.timeout(30):
        while await database.fetchval(ASLEEP) < count:
            await asyncio.sleep(0.01)


@pytest.fixture
async def database(dsn: str) -> Any:
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


@pytest.mark.once
async def test_thousands_asleep_take_no_memory_and_one_statement_a_second(
    dsn: str, database: asyncpg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    call, sent = Line.call, Counter[int]()

    async def counted(line: Line, *args: Any, **given: Any) -> Any:
        sent[id(line)] += 1
        return await call(line, *args, **given)

    far = datetime.now(UTC) + timedelta(days=90)
    async with Durable(dsn, serve=[nap]) as app:
        await app.start_many(Start(nap, far) for _ in range(3_000))
        await asleep(database, 3_000)
        worker = app._worker
        assert worker is not None
        async with asyncio.timeout(10):
            while worker.active or worker.committer.busy():
                await asyncio.sleep(0.01)
        assert not worker.cache._kept
        assert not worker.timers._live

        beats = "select beat_at from durable.worker"
        first = await database.fetchval(beats)
        monkeypatch.setattr(Line, "call", counted)
        begun = time.monotonic()
        while (await database.fetchval(beats) - first).total_seconds() < 2.5:
            await asyncio.sleep(0.05)
        took = time.monotonic() - begun

    assert sum(sent.values()) <= took + 6, "its beats, and the handful of leaving"


@activity
async def naps_add_one(n: int) -> int:
    return n + 1


@workflow
async def put_away(ctx: Context, what: str) -> str:
    if what == "long":
        for n in range(cache_room.LONG_FROM):
            await ctx.activity(naps_add_one, n)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(86_400):
            await (ctx.receive(wake_up) if what.startswith("asks") else ctx.sleep(days=2))
    return what


@pytest.mark.once
async def test_runs_stay_in_memory_that_may_be_woken_soon_or_take_long_to_rebuild(
    dsn: str, database: asyncpg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Durable(dsn, serve=[put_away]) as app:
        for what in ("sleeps", "asks", "long"):
            await app.start(put_away, what, id=what)
        await asleep(database, 3)
        worker = app._worker
        assert worker is not None

        async def kept(*wanted: str) -> bool:
            async with asyncio.timeout(10):
                while worker.active or worker.committer.busy():
                    await asyncio.sleep(0.005)
            return {each.id for each in worker.cache._kept.values()} == {*wanted}

        assert await kept("asks", "long")

        large = "asks" + "?" * 1_000
        monkeypatch.setattr(cache_room, "BYTES_MAX", 2 * len(large))
        for n in range(3):
            await app.start(put_away, large, id=f"large {n}")
        await asleep(database, 6)
        assert await kept("large 2")
        assert worker.cache._bytes < 2 * len(large)
        await app.handle("large 2", put_away).signal(wake_up, "up")
        assert await app.handle("large 2", put_away).result() == large
        assert worker.cache._bytes == 0


async def test_sleepers_wake_on_time_on_another_worker(
    dsn: str, database: asyncpg.Connection[Any]
) -> None:
    due = datetime.now(UTC) + timedelta(days=90)
    async with Durable(dsn, serve=[nap]) as first:
        handles = [await first.start(nap, due, id=f"s{n}") for n in range(20)]
        await asleep(database, 20)
    assert len(handles) == 20
    # Ninety days pass: the clock of the database is set so.
    await database.execute(
        "create or replace function durable.now() returns timestamptz language sql stable "
        "parallel safe return statement_timestamp() + interval '90 days'"
    )
    async with Durable(dsn, serve=[nap]) as second:
        late = await asyncio.gather(*(second.handle(f"s{n}", nap).result() for n in range(20)))
    assert min(late) >= 0


async def test_a_parked_run_wakes_when_it_is_due_and_not_at_the_next_beat(
    dsn: str, database: asyncpg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker beats once a minute here: only the time that its beat brought can wake it."""
    async with Durable(dsn, serve=[nap], lease=600) as app:
        handle = await app.start(nap, datetime.now(UTC) + timedelta(days=1))
        await asleep(database, 1)
        worker = app._worker
        assert worker is not None
        due = await database.fetchval(
            "update durable.run set due_at = now() + interval '400 ms' returning due_at"
        )
        monkeypatch.setattr("durable._runtime.lease.BEAT_SECONDS", 60.0)
        worker.look_again()
        claimed = (
            "select started_at is not null and (status = 'running' or claim > 1) from durable.run"
        )
        async with asyncio.timeout(20):
            while not await database.fetchval(claimed):
                await asyncio.sleep(0.005)
        assert await database.fetchval("select now()") >= due
        await handle.cancel()


@pytest.mark.once
@pytest.mark.parametrize(
    "how",
    ["nan days", "infinite hours", "nan", "infinite", "negative", "less than nothing", "text",
     "huge", "ages", "naive"],
)  # fmt: skip
async def test_a_sleep_that_cannot_be_is_refused_in_words(how: str, dsn: str) -> None:
    async with Durable(dsn, serve=[bad_sleep]) as app:
        with pytest.raises(RunFailed) as told:
            await app.run(bad_sleep, how)
    assert told.value.type.endswith("InvalidCall")


def test_setting_the_clock_of_the_machine_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime(1999, 1, 1, tzinfo=UTC)

    clock = Clock()
    clock.set(datetime(2030, 1, 1, tzinfo=UTC), time.monotonic())
    monkeypatch.setattr("durable._runtime.clock.datetime", Wrong)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert timedelta() <= clock.now() - datetime(2030, 1, 1, tzinfo=UTC) < timedelta(minutes=1)


async def test_sleepers_started_by_a_client_wake_on_time(dsn: str) -> None:
    """All at once, and one after the other: each within a moment of its time."""
    async with Durable(dsn, serve=[nap]), Client(dsn) as client:
        now = datetime.now(UTC)
        dues = [now + timedelta(milliseconds=5 * n) for n in range(60)]
        answers = await client.start_many(Start(nap, due) for due in dues)
        late = await asyncio.gather(*(each.handle.result() for each in answers))
    assert min(late) >= 0


@activity
async def naps_hold_on() -> None:
    await asyncio.Event().wait()


@workflow
async def stays_awake(ctx: Context) -> None:
    await ctx.activity(naps_hold_on)


@pytest.mark.once
async def test_the_next_are_claimed_while_others_are_brought_up_and_no_more_than_fit(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, claim = claimer.Claimer.load, Runs.claim
    more, limits = asyncio.Event(), list[int]()

    async def loaded(self: Any, me: Any, claimed: Any) -> None:
        if claimed:
            async with asyncio.timeout(10):
                await more.wait()
        await load(self, me, claimed)

    async def claimed(self: Any, *args: Any, limit: int, **given: Any) -> Any:
        taken = await claim(self, *args, limit=limit, **given)
        if taken:
            limits.append(limit)
            if len(limits) == 2:
                more.set()
        return taken

    monkeypatch.setattr(claimer, "CLAIM_MAX", 2)
    monkeypatch.setattr(claimer.Claimer, "load", loaded)
    monkeypatch.setattr(Runs, "claim", claimed)
    async with Client(dsn) as client:
        await client.start_many(Start(stays_awake) for _ in range(6))
    async with Durable(dsn, serve=[stays_awake], runs_max=3, grace=0) as app:
        async with asyncio.timeout(10):
            while app.health().runs < 3:
                await asyncio.sleep(0.005)
        assert limits == [2, 1]


@activity
async def will_not_be_told() -> str:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    return "late"


@activity
async def tells_all_the_while() -> None:
    while True:
        attempt().publish(words, "word")
        await asyncio.sleep(0)


words = Stream[str]("words")


@workflow
async def gives_up_and_waits(ctx: Context, talks: bool) -> str:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.05):
            await ctx.activity(tells_all_the_while if talks else will_not_be_told)
    return await ctx.receive(wake_up)


@pytest.mark.parametrize("talks", [False, True])
async def test_what_an_abandoned_attempt_still_says_leaves_a_sleeper_alone(
    dsn: str, database: asyncpg.Connection[Any], caplog: pytest.LogCaptureFixture, talks: bool
) -> None:
    async with Durable(dsn, serve=[gives_up_and_waits]) as app:
        handle = await app.start(gives_up_and_waits, talks)
        await asleep(database, 1)
        async with asyncio.timeout(10):
            while app.health().activities:
                await asyncio.sleep(0.01)
        await handle.signal(wake_up, "up")
        async with asyncio.timeout(10):
            assert await handle.result() == "up"
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]
