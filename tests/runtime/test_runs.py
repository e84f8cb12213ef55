"""Whole runs on a real Postgres, in one process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from durable import (
    ActivityError,
    ActivityTimedOut,
    Client,
    Compensation,
    Context,
    Durable,
    Retry,
    RunCancelled,
    RunFailed,
    Status,
    activity,
    attempt,
    current,
    workflow,
)
from durable._core.statuses import CLOSED
from durable.errors import RetryRefused

QUICK = Retry(attempts=3, delay=0.001)


class Calls:
    """What the outside world saw."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.fail_next = 0


calls = Calls()


@pytest.fixture(autouse=True)
def _forget_calls() -> None:
    calls.seen.clear()
    calls.fail_next = 0


class CardDeclined(Exception):
    def __init__(self, card: str, *, code: int) -> None:
        super().__init__(f"{card} was declined")
        self.code = code


@activity
async def double(x: int) -> int:
    calls.seen.append(("double", x))
    return x * 2


@activity
def threaded(x: int) -> int:
    calls.seen.append(("threaded", attempt().number))
    return x + 1


@activity(retry=QUICK)
async def shaky(name: str) -> str:
    calls.seen.append((name, attempt().number, attempt().idempotency_key))
    if calls.fail_next > 0:
        calls.fail_next -= 1
        raise ConnectionError("try again")
    return name


@activity(raises=(CardDeclined,))
async def charge(card: str) -> str:
    calls.seen.append(card)
    raise CardDeclined(card, code=7)


@activity(timeout=0.02, retry=Retry(attempts=1))
async def endless() -> None:
    await asyncio.Event().wait()


@activity
async def hang() -> None:
    calls.seen.append("hanging")
    try:
        await asyncio.Event().wait()
    finally:
        calls.seen.append("let go")


@workflow
async def doubles(ctx: Context, x: int) -> list[int]:
    a = await ctx.activity(double, x)
    b, c = await asyncio.gather(ctx.activity(double, a), ctx.activity(threaded, a))
    return [a, b, c]


@workflow
async def one_shaky(ctx: Context, name: str) -> str:
    return await ctx.activity(shaky, name)


@workflow
async def declined(ctx: Context, card: str) -> str:
    try:
        return await ctx.activity(charge, card)
    except CardDeclined as error:
        return f"{error} ({error.code})"


@activity(retry=Retry(attempts=1))
async def fails_in_a_chain() -> None:
    try:
        raise KeyError("b") from ConnectionError("a")
    except KeyError as error:
        raise ValueError("c") from error


@workflow
async def why(ctx: Context) -> list[str]:
    told: list[str] = []
    try:
        await ctx.activity(fails_in_a_chain)
    except ActivityError as error:
        each: BaseException | None = error
        while isinstance(each, ActivityError):
            told.append(each.type)
            assert each.__cause__ is each.cause
            each = each.cause
        assert each is None
    return told


@workflow
async def saga(ctx: Context) -> None:
    async with Compensation() as undo:
        await ctx.activity(double, 1)
        undo.push_async_callback(ctx.activity, double, -1)
        raise ValueError("changed my mind")


@workflow
async def waits_for_ever(ctx: Context) -> None:
    try:
        await ctx.activity(hang)
    finally:
        await ctx.activity(double, 99)


@workflow
async def sleeper(ctx: Context, seconds: float) -> float:
    before = ctx.now()
    await ctx.sleep(seconds)
    return (ctx.now() - before).total_seconds()


@workflow
async def sleeps_until(ctx: Context, when: datetime) -> bool:
    await ctx.sleep_until(when)
    return ctx.now() >= when


@workflow
async def chance(ctx: Context) -> list[Any]:
    return [ctx.random.random(), str(ctx.uuid4()), str(current().uuid4())]


@workflow
async def timing_out(ctx: Context) -> str:
    try:
        await ctx.activity(endless)
    except ActivityTimedOut as error:
        return error.type
    return "in time"


@pytest.fixture
async def app(dsn: str) -> Any:
    async with Durable(dsn) as app:
        yield app


async def test_a_run_returns_what_its_code_returns(app: Durable) -> None:
    assert await app.run(doubles, 5, id="run-1") == [10, 20, 11]
    assert sorted(map(str, calls.seen)) == ["('double', 10)", "('double', 5)", "('threaded', 1)"]


async def test_the_same_id_is_the_same_run(app: Durable) -> None:
    first = await app.run(doubles, 5, id="again")
    count = len(calls.seen)
    assert await app.run(doubles, 5, id="again") == first
    assert len(calls.seen) == count


async def test_an_attempt_that_fails_is_repeated_under_the_same_key(app: Durable) -> None:
    calls.fail_next = 2
    assert await app.run(one_shaky, "a") == "a"
    assert [number for _, number, _ in calls.seen] == [1, 2, 3]
    assert len({key for _, _, key in calls.seen}) == 1


async def test_an_activity_that_keeps_failing_fails_the_run_with_its_reason(app: Durable) -> None:
    calls.fail_next = 99
    with pytest.raises(RunFailed, match=r"shaky.*3 times.*try again") as caught:
        await app.run(one_shaky, "a", id="bad")
    assert caught.value.type == "ActivityError"
    assert await app.handle("bad").status() is Status.FAILED


async def test_a_business_error_reaches_the_workflow_as_itself_and_is_not_retried(
    app: Durable,
) -> None:
    assert await app.run(declined, "visa") == "visa was declined (7)"
    assert calls.seen == ["visa"]


async def test_an_activity_error_tells_what_it_was_raised_from(app: Durable) -> None:
    assert await app.run(why) == ["ValueError", "KeyError", "ConnectionError"]


async def test_retry_goes_on_before_the_failure_and_repeats_nothing(app: Durable) -> None:
    @workflow(name="two_steps")
    async def two_steps(ctx: Context) -> list[Any]:
        return [await ctx.activity(double, 1), await ctx.activity(shaky, "b")]

    async with Durable(app._dsn) as other:
        calls.fail_next = 3
        handle = await other.start(two_steps, id="mended")
        with pytest.raises(RunFailed):
            await handle.result()
        await handle.retry()
        assert await other.handle("mended", two_steps).result() == [2, "b"]
    assert calls.seen.count(("double", 1)) == 1
    assert len({each[2] for each in calls.seen if each[0] == "b"}) == 1


async def test_a_failed_block_undoes_what_it_did(app: Durable) -> None:
    with pytest.raises(RunFailed, match="changed my mind"):
        await app.run(saga)
    assert calls.seen == [("double", 1), ("double", -1)]


async def test_cancel_reaches_a_running_activity_and_clean_up_runs(app: Durable) -> None:
    handle = await app.start(waits_for_ever, id="c")
    await until(lambda: "hanging" in calls.seen)
    assert await handle.cancel()
    with pytest.raises(RunCancelled):
        await handle.result()
    # Where tasks begin eagerly, the next activity begins before the cancelled one cleans up.
    assert calls.seen[0] == "hanging"
    assert sorted(map(str, calls.seen[1:])) == ["('double', 99)", "let go"]
    assert not await handle.cancel()


async def test_a_handle_means_the_run_it_started_after_its_id_was_given_away(app: Durable) -> None:
    old = await app.start(sleeper, 3600.0, id="shared")
    new = await app.start(sleeper, 3000.0, id="shared", if_exists="replace")
    assert not await old.cancel()
    assert (await old.describe()).status is Status.TERMINATED
    with pytest.raises(RetryRefused, match="another run"):
        await old.retry()
    assert (await new.status()) not in CLOSED
    assert await app.handle("shared").cancel()
    with pytest.raises(RunCancelled):
        await new.result()


async def test_a_short_sleep_and_a_moment_in_the_past(app: Durable) -> None:
    assert await app.run(sleeper, 0.05) >= 0.05
    assert await app.run(sleeps_until, datetime.now(UTC) - timedelta(days=1))


async def test_a_sleeping_run_is_one_row_and_names_its_line(app: Durable) -> None:
    handle = await app.start(sleeper, 3600.0, id="asleep")
    await until_async(lambda: _is(handle, Status.WAITING))
    described = await handle.describe()
    assert described.waits_at is not None and described.waits_at.startswith("test_runs.py:")
    assert described.waits_for is not None and described.waits_for.startswith("sleep until")
    assert app.health().runs == 0
    assert await handle.cancel()
    with pytest.raises(RunCancelled):
        await handle.result()


async def test_chance_comes_from_the_run(app: Durable) -> None:
    number, one, two = await app.run(chance)
    assert 0 <= number < 1
    assert one != two


async def test_a_timeout_of_an_attempt_is_no_timeout_error(app: Durable) -> None:
    assert await app.run(timing_out) == "TimedOut"


async def test_a_thousand_runs_at_once(app: Durable) -> None:
    results = await asyncio.gather(*(app.run(doubles, i) for i in range(300)))
    assert results == [[2 * i, 4 * i, 2 * i + 1] for i in range(300)]


async def test_a_client_alone_starts_by_name_and_waits(dsn: str, app: Durable) -> None:
    async with Client(dsn) as client:
        assert await client.run("doubles", 3, id="by-name") == [6, 12, 7]


async def test_a_start_that_joins_a_transaction_is_rolled_back_with_it(
    dsn: str, app: Durable
) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        with contextlib.suppress(KeyError):
            async with connection.transaction():
                await app.start(doubles, 1, id="undone", connection=connection)
                raise KeyError
        async with connection.transaction():
            handle = await app.start(doubles, 1, id="done", connection=connection)
        assert await handle.result() == [2, 4, 3]
        assert [each.id for each in await app.list()] == ["done"]
    finally:
        await connection.close()


async def test_leaving_hands_runs_back_and_another_process_goes_on(dsn: str) -> None:
    async with Durable(dsn, grace=0.05) as first:
        handle = await first.start(waits_for_ever, id="handed")
        await until(lambda: "hanging" in calls.seen)
        del handle
    assert "let go" in calls.seen
    async with Durable(dsn) as second:
        await until(lambda: calls.seen.count("hanging") == 2)
        assert await second.handle("handed").cancel()
        with pytest.raises(RunCancelled):
            await second.handle("handed").result()


async def test_failed_attempts_are_logged_with_number_and_next_delay(
    app: Durable, caplog: pytest.LogCaptureFixture
) -> None:
    calls.fail_next = 1
    with caplog.at_level(logging.WARNING, logger="durable"):
        await app.run(one_shaky, "a")
    assert "failed in attempt 1 (ConnectionError: try again); trying again in" in caplog.text


async def _is(handle: Any, status: Status) -> bool:
    return bool(await handle.status() is status)


async def until(condition: Any) -> None:
    """Wait for a condition of this process."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def until_async(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.01)


def test_activity_error_is_public() -> None:
    assert issubclass(ActivityTimedOut, ActivityError)
