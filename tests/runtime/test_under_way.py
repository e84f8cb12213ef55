"""What is under way stands in ``durable.running``, and the next owner of the run knows of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from durable import (
    Context,
    Durable,
    OutcomeUnknown,
    Retry,
    RunFailed,
    RunStuck,
    Status,
    activity,
    attempt,
    workflow,
)

from .takeovers import fall_silent, rows, until_rows, worker_of
from .test_runs import until

RUNNING = "select * from durable.running"

seen: list[Any] = []
doors: dict[str, asyncio.Event] = {}


@pytest.fixture(autouse=True)
def _quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    seen.clear()
    doors.clear()
    monkeypatch.setattr("durable._runtime.attempts.LOOK_SECONDS", 0.01)
    monkeypatch.setattr("durable._runtime.attempts.NOTE_AFTER", timedelta(seconds=0.03))


@pytest.fixture
async def app(dsn: str) -> AsyncIterator[Durable]:
    async with Durable(dsn, grace=0.05) as app:
        yield app


def door(name: str) -> asyncio.Event:
    return doors.setdefault(name, asyncio.Event())


def told() -> list[Any]:
    """What an attempt knows of itself."""
    now = attempt()
    return [now.number, now.may_have_run, now.details, now.idempotency_key]


@activity
async def waits(name: str) -> list[Any]:
    seen.append(told())
    attempt().heartbeat({"page": 7})
    await door(f"{name} {len(seen)}").wait()
    return told()


@activity(retry=Retry(attempts=3, delay=3600, delay_max=3600))
async def fails(name: str) -> str:
    seen.append(told())
    raise OSError(f"{name} is away")


@activity
async def adds_one(n: int) -> int:
    return n + 1


@activity(retry=Retry(attempts=1))
async def once(name: str) -> list[Any]:
    seen.append(told())
    await door(f"{name} {len(seen)}").wait()
    return told()


@workflow
async def one_wait(ctx: Context, name: str) -> list[Any]:
    return await ctx.activity(waits, name)


@workflow
async def one_failure(ctx: Context, name: str) -> str:
    return await ctx.activity(fails, name)


@workflow
async def many_quick(ctx: Context) -> int:
    n = 0
    for _ in range(5):
        n = await ctx.activity(adds_one, n)
    return n


@workflow
async def only_once(ctx: Context, name: str) -> list[Any]:
    try:
        return await ctx.activity(once, name)
    except OutcomeUnknown as error:
        return [error.type, error.attempts, str(error)]


@workflow
async def charges(ctx: Context, name: str) -> list[Any]:
    return await ctx.options(record_start=True).activity(waits, name)


async def test_quick_activities_leave_no_note(dsn: str, app: Durable) -> None:
    await rows(dsn, "create function refuse() returns trigger language plpgsql as $$ begin "
                    "raise 'a note' using errcode = '22000'; end $$")  # fmt: skip
    await rows(
        dsn,
        "create trigger refuse before insert on durable.attempt for each row "
        "execute function refuse()",
    )
    assert await app.run(many_quick) == 5
    handle = await app.start(one_wait, "w")
    while await handle.status() is not Status.STUCK:
        await asyncio.sleep(0.01)


async def test_what_runs_for_long_is_shown_until_its_result_is_recorded(
    dsn: str, app: Durable
) -> None:
    handle = await app.start(one_wait, "w", id="long")
    (row,) = await until_rows(dsn, f"{RUNNING} where details is not null")
    assert (row["id"], row["activity"], row["attempt"], row["status"]) == (
        "long", "waits", 1, "running",
    )  # fmt: skip
    assert json.loads(row["details"]) == {"page": 7}
    assert row["worker"] == worker_of(app).registration.name
    assert row["next_at"] is None
    assert row["last_failure"] is None
    door("w 1").set()
    assert (await handle.result())[:3] == [1, False, {"page": 7}]
    assert await rows(dsn, RUNNING) == []


async def test_what_will_be_tried_again_is_shown_with_its_failure(dsn: str, app: Durable) -> None:
    handle = await app.start(one_failure, "db", id="again")
    (row,) = await until_rows(dsn, RUNNING)
    assert row["attempt"] == 1
    failure = json.loads(row["last_failure"])
    assert (failure["type"], failure["message"]) == ("OSError", "db is away")
    assert row["next_at"] - row["since"] > timedelta(seconds=1700)
    await handle.cancel()
    await until_rows(dsn, "select from durable.runs where status = 'cancelled'")
    assert await rows(dsn, RUNNING) == []


async def test_a_takeover_goes_on_counting_and_hands_the_details_on(dsn: str) -> None:
    async with Durable(dsn, serve=[one_wait], grace=0.05) as first:
        await first.start(one_wait, "w", id="taken")
        await until_rows(dsn, f"{RUNNING} where details is not null")
        await fall_silent(first)
        async with Durable(dsn, serve=[one_wait]) as second:
            await until(lambda: len(seen) == 2)
            door("w 2").set()
            number, may_have_run, details, key = await second.handle("taken", one_wait).result()
    assert (number, may_have_run, details) == (2, True, {"page": 7})
    assert seen[0] == [1, False, None, key]


async def test_a_drain_hands_on_what_the_last_heartbeat_told(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("durable._runtime.attempts.LOOK_SECONDS", 3600)
    async with Durable(dsn, serve=[one_wait], grace=0.05) as first:
        await first.start(one_wait, "w", id="handed")
        await until(lambda: len(seen) == 1)
        await until(lambda: worker_of(first).committer.busy() is False)
    async with Durable(dsn, serve=[one_wait], grace=0.05) as second:
        await until(lambda: len(seen) == 2)
        assert seen[1][:3] == [2, True, {"page": 7}]
        door("w 2").set()
        await second.handle("handed").result()


async def test_a_pause_goes_on_in_the_next_process(dsn: str) -> None:
    async with Durable(dsn, serve=[one_failure], grace=0.05) as first:
        await first.start(one_failure, "db", id="paused")
        await until_rows(dsn, RUNNING)
    async with Durable(dsn, serve=[one_failure], grace=0.05) as second:
        await until(lambda: second.health().activities == 1)
        assert len(seen) == 1
        (row,) = await rows(dsn, RUNNING)
        assert row["attempt"] == 1
    await rows(dsn, "update durable.attempt set next_at = now()")
    async with Durable(dsn, serve=[one_failure], grace=0.05):
        await until(lambda: len(seen) == 2)
        assert seen[1][:2] == [2, True]


async def test_code_that_asks_for_something_else_than_has_begun_is_stuck(dsn: str) -> None:
    async def old(ctx: Context) -> None:
        await ctx.activity(waits, "old")

    async def new(ctx: Context) -> None:
        await ctx.activity(waits, "new")

    async def none(ctx: Context) -> None:
        await ctx.sleep(3600)

    for fn in (old, new, none):
        fn.__qualname__ = "begun"

    async with Durable(dsn, serve=[workflow(name="begun")(old)], grace=0.05) as app:
        await app.start("begun", id="b")
        await until_rows(dsn, RUNNING)
    for fn, words in ((new, r"activity 'waits' \(op 1\), or other arguments"), (none, "a timer")):
        async with Durable(dsn, serve=[workflow(name="begun")(fn)], grace=0.05) as app:
            with pytest.raises(RunStuck, match=rf"attempt 1 of 'waits'.*asks\s+for {words}"):
                await app.handle("b").result()
    async with Durable(dsn, serve=[workflow(name="begun")(old)], grace=0.05) as app:
        await until(lambda: len(seen) > 1)
        door("old 2").set()
        await app.handle("b").result()


# Recorded starts


async def test_one_attempt_only_begins_after_its_start_is_written(dsn: str, app: Durable) -> None:
    running = asyncio.create_task(app.run(only_once, "w", id="once"))
    await until(lambda: len(seen) == 1)
    (row,) = await rows(dsn, RUNNING)
    assert (row["id"], row["attempt"]) == ("once", 1)
    door("w 1").set()
    assert (await running)[:2] == [1, False]
    assert await rows(dsn, RUNNING) == []


async def test_it_does_not_begin_while_its_start_cannot_be_written(
    dsn: str, app: Durable, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = asyncio.Event()
    may_begin = worker_of(app).attempts._record

    async def after_the_lock(work: Any) -> None:
        await held.wait()
        await may_begin(work)

    monkeypatch.setattr(worker_of(app).attempts, "_record", after_the_lock)
    handle = await app.start(only_once, "w", id="once")
    stranger = await asyncpg.connect(dsn)
    try:
        transaction = stranger.transaction()
        await transaction.start()
        await stranger.execute("select from durable.run for update")
        held.set()
        await until_rows(dsn, "select from pg_stat_activity where wait_event_type = 'Lock' and "
                              "datname = current_database()")  # fmt: skip
        assert seen == []
        await transaction.rollback()
    finally:
        await stranger.close()
    await until(lambda: len(seen) == 1)
    door("w 1").set()
    assert (await handle.result())[0] == 1


async def test_a_start_that_a_leaving_worker_cuts_off_is_unknown(dsn: str) -> None:
    async with Durable(dsn, serve=[only_once], grace=timedelta(seconds=0.05)) as first:
        await first.start(only_once, "w", id="cut")
        await until(lambda: len(seen) == 1)
    async with Durable(dsn, serve=[only_once]) as second:
        assert (await second.handle("cut", only_once).result())[:2] == ["Vanished", 1]
    assert len(seen) == 1


async def test_a_start_that_is_taken_back_is_not_unknown(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker leaves between the note and the attempt: nothing has begun."""
    async with Durable(dsn, serve=[only_once], grace=0.05) as first:
        wait = asyncio.Event().wait
        monkeypatch.setattr(worker_of(first), "may_begin", lambda: wait())
        await first.start(only_once, "w", id="early")
        await until_rows(dsn, f"{RUNNING} where next_at is null")
    (row,) = await rows(dsn, RUNNING)
    assert row["attempt"] == 0
    assert row["next_at"] is not None
    async with Durable(dsn, serve=[only_once]) as second:
        await until(lambda: len(seen) == 1)
        door("w 1").set()
        assert (await second.handle("early", only_once).result())[:2] == [1, True]


@pytest.mark.parametrize("code", [only_once, charges])
async def test_a_start_whose_end_nobody_knows_is_not_repeated(dsn: str, code: Any) -> None:
    async with Durable(dsn, serve=[code], grace=0.05) as first:
        await first.start(code, "w", id="unknown")
        await until(lambda: len(seen) == 1)
        await fall_silent(first)
        async with Durable(dsn, serve=[code]) as second:
            handle = second.handle("unknown")
            if code is only_once:
                kind, attempts, text = await handle.result()
                assert (kind, attempts) == ("Vanished", 1)
                assert "'once' may have acted or not: attempt 1 began at 2" in text
            else:
                with pytest.raises(RunFailed, match="may have acted or not") as caught:
                    await handle.result()
                assert caught.value.type == "OutcomeUnknown"
            assert len(seen) == 1
            assert await rows(dsn, RUNNING) == []
            if code is charges:  # somebody has looked, and says that it may run again
                await handle.retry()
                await until(lambda: len(seen) == 2)
                assert seen[1][:2] == [1, True]
                door("w 2").set()
                await handle.result()


async def test_a_known_failure_is_retried_though_starts_are_recorded(dsn: str) -> None:
    @activity(name="fails_first", retry=Retry(attempts=2, delay=0.001), record_start=True)
    async def fails_first() -> list[int]:
        (row,) = await rows(dsn, RUNNING)
        if attempt().number == 1:
            raise OSError("known to have failed")
        return [row["attempt"], attempt().number]

    @workflow(name="recorded")
    async def recorded(ctx: Context) -> list[int]:
        return await ctx.activity(fails_first)

    async with Durable(dsn, serve=[recorded]) as app:
        assert await app.run(recorded) == [2, 2]
