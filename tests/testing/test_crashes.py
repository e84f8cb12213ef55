"""A worker that dies at each moment, in a test of a user's: what holds, and what is told of what
does not."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

import durable
from durable import (
    Context,
    Handle,
    Retry,
    RunFailed,
    Signal,
    Status,
    activity,
    workflow,
)
from durable._store.protocol import JournalRow
from durable.errors import InvalidCall
from durable.testing import CrashDifference, Environment
from durable.testing.courses import Course, End, difference

parcel = Signal[str]("testing/parcel")
acts: list[str] = []
counter = itertools.count()


@pytest.fixture(autouse=True)
def _forget() -> None:
    acts.clear()


@activity(name="testing/pays", retry=Retry(attempts=5, delay=60))
async def pays(card: str) -> str:
    acts.append(durable.attempt().idempotency_key)
    return f"paid by {card}"


@activity(name="testing/pays_in_a_thread")
def pays_in_a_thread(card: str) -> str:
    acts.append(durable.attempt().idempotency_key)
    return f"paid by {card}"


@activity(name="testing/pays_once", retry=Retry(attempts=1))
async def pays_once(card: str) -> str:
    return f"paid by {card}"


@workflow(name="testing/pays_a_card")
async def pays_a_card(ctx: Context) -> str:
    return await ctx.activity(pays, "visa")


@activity(name="testing/draws")
async def draws() -> int:
    return next(counter)


@workflow(name="testing/ships")
async def ships(ctx: Context, card: str) -> str:
    paid = await ctx.activity(pays, card)
    shipped = await ctx.receive(parcel)
    await ctx.sleep(days=1)
    return f"{paid}, {shipped}, {ctx.uuid4()}"


@workflow(name="testing/gathers")
async def gathers(ctx: Context) -> list[str]:
    both = await asyncio.gather(ctx.activity(pays, "a"), ctx.activity(pays_in_a_thread, "b"))
    return [*both, await ctx.child(packs, "c")]


@workflow(name="testing/packs")
async def packs(ctx: Context, what: str) -> str:
    try:
        async with asyncio.timeout(10):
            await ctx.sleep(20)
    except TimeoutError:
        return await ctx.activity(pays, what)
    return "never"


@workflow(name="testing/goes_on_anew")
async def goes_on_anew(ctx: Context, left: int) -> str:
    paid = await ctx.activity(pays, str(left))
    if left:
        ctx.continue_as_new(left - 1)
    return paid


@workflow(name="testing/pays_by_once")
async def pays_by_once(ctx: Context) -> str:
    return await ctx.activity(pays_once, "visa")


@workflow(name="testing/gambles")
async def gambles(ctx: Context) -> int:
    return await ctx.activity(draws)


@workflow(name="testing/reads_what_is_outside")
async def reads_what_is_outside(ctx: Context) -> None:
    await ctx.activity(pays, f"card {len(acts)}")


@workflow(name="testing/always_fails")
async def always_fails(ctx: Context) -> None:
    await ctx.activity(pays, "visa")
    raise ValueError("no")


async def sends(env: Environment, handle: Handle[str]) -> None:
    await env.advance(hours=1)
    await handle.signal(parcel, "P1")


async def test_a_run_stands_where_it_stood_after_a_crash(env: Environment) -> None:
    handle = await env.start(ships, "visa")
    await env.advance(hours=1)
    await env.crash()
    await handle.signal(parcel, "P1")
    await env.crash()
    assert (await handle.result()).startswith("paid by visa, P1")
    assert len(acts) == 1


async def test_a_crash_before_it_acts_and_one_after(env: Environment) -> None:
    for crash, times in ((env.crash_before, 1), (env.crash_after, 2)):
        acts.clear()
        crash(pays)
        handle = await env.start(ships, "visa")
        await sends(env, handle)
        await handle.result()
        assert len(acts) == times
        assert len(set(acts)) == 1, "one call has one key"
    assert [call.key for call in env.calls(pays)[-2:]] == acts


async def test_what_runs_in_a_thread_is_crashed_too(env: Environment) -> None:
    env.crash_after(pays_in_a_thread)
    assert (await env.run(gathers))[1] == "paid by b"
    assert len(env.calls(pays_in_a_thread)) == 2


async def test_an_activity_cannot_end_its_own_worker(env: Environment) -> None:
    said: list[str] = []

    async def tries(card: str) -> str:
        try:
            await env.crash()
        except InvalidCall as error:
            said.append(str(error))
        return card

    env.stand_in(pays, tries)
    await env.run(packs, "x")
    assert "crash_before(activity)" in said[0]


@pytest.mark.parametrize(("replay", "time"), [("always", "auto"), ("never", "manual")])
async def test_everywhere_it_comes_to_the_same(replay: str, time: str) -> None:
    async with Environment(replay=replay, time=time) as env:  # type: ignore[arg-type]
        env.stand_in(pays, raises=[TimeoutError()], returns="paid")
        survived = await env.crash_everywhere(ships, "visa", meanwhile=sends)
        assert survived.result.startswith("paid, P1")
        assert survived.status is Status.COMPLETED
        # After the birth, and around: a note of the pause, the payment, the parcel, the timer.
        assert survived.crashes == 9
        assert env.calls(pays) == [], "what happens there is not seen here"


async def test_children_and_threads_and_heirs_come_to_the_same() -> None:
    async with Environment() as env:
        survived = await env.crash_everywhere(gathers)
        assert survived.result == ["paid by a", "paid by b", "paid by c"]
        assert survived.crashes > 10, "those of the child, too"
        again = await env.crash_everywhere(goes_on_anew, 1)
        assert again.result == "paid by 0"


async def test_a_run_that_is_begun_anew_meanwhile_is_the_same_one_each_time() -> None:
    async def begins_anew(_: Environment, handle: Handle[str]) -> None:
        await handle.result()
        await (await handle.restart()).result()

    async with Environment() as env:
        survived = await env.crash_everywhere(pays_a_card, meanwhile=begins_anew)
    assert survived.crashes > 4


async def test_a_failure_is_an_end_as_well() -> None:
    async with Environment() as env:
        survived = await env.crash_everywhere(always_fails)
        assert (survived.status, survived.result) == (Status.FAILED, None)


async def reserve(connection: asyncpg.Connection[Any]) -> None:
    await connection.execute("insert into reserved values (1)")


@workflow(name="testing/reserves_once")
async def reserves(ctx: Context) -> None:
    await ctx.transaction(reserve)


async def test_a_transaction_happens_once_wherever_its_worker_dies(
    server_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    connection = await asyncpg.connect(server_url)
    try:
        await connection.execute("create table reserved (pieces bigint)")
        async with Environment(server_url) as env:
            survived = await env.crash_everywhere(reserves)
        rows = await connection.fetchval("select count(*) from reserved")
        await connection.execute("drop table reserved")
    finally:
        connection.terminate()
    assert (survived.status, survived.crashes) == (Status.COMPLETED, 3)
    assert rows == 1 + 3
    assert "declared dead" not in caplog.text, "the test has killed it"


async def test_stand_ins_sleep_in_the_environment_of_their_attempt() -> None:
    async with Environment() as env:

        async def slow(card: str) -> str:
            await env.sleep(minutes=2)
            return "late"

        env.stand_in(pays, slow)
        assert (await env.crash_everywhere(packs, "x")).result == "late"


async def test_an_activity_that_comes_to_something_else_is_told() -> None:
    async with Environment() as env:
        with pytest.raises(CrashDifference, match="came to something else") as caught:
            await env.crash_everywhere(gambles)
    told, error = str(caught.value), caught.value
    assert error.position == 1
    assert "when position 0 (started) of run 'crash-everywhere' was written" in error.moment
    assert "without: activity  testing/draws()  -> " in told.replace("  without", "without")
    assert error.without.startswith("completed with ") and error.without != error.with_crash
    assert "[test_crashes.py:" in told
    assert "idempotency_key" in told


async def test_a_call_that_nobody_knows_the_end_of_is_told_and_can_be_checked() -> None:
    async with Environment() as env:
        with pytest.raises(CrashDifference, match="attempts=1"):
            await env.crash_everywhere(pays_by_once)

        ends: list[str] = []

        async def check(env: Environment, handle: Handle[str]) -> None:
            ends.append(await handle.status())
            if ends[-1] == "failed":
                with pytest.raises(RunFailed, match="OutcomeUnknown"):
                    await handle.result()

        survived = await env.crash_everywhere(pays_by_once, check=check)
        assert len(ends) == survived.crashes + 1
        assert {*ends} == {"completed", "failed"}


async def test_what_check_says_is_told_with_the_moment() -> None:
    async def check(env: Environment, handle: Handle[None]) -> None:
        assert len(env.calls(pays)) == 1, "paid twice"

    async with Environment() as env:
        with pytest.raises(AssertionError, match="paid twice") as caught:
            await env.crash_everywhere(always_fails, check=check)
    assert "The worker had died when position 1" in caught.value.__notes__[0]


async def test_a_call_under_another_key_is_told_though_the_journals_are_the_same() -> None:
    cards = itertools.cycle(["visa", "amex"])  # the code goes another way each time that it is run

    @workflow(name="testing/alternates")
    async def alternates(ctx: Context) -> None:
        await ctx.activity(pays, next(cards))

    async with Environment(replay="never") as env:
        env.stand_in(pays, returns="paid")
        with pytest.raises(
            CrashDifference, match=r"pays\('amex'\) was called with a key"
        ) as caught:
            await env.crash_everywhere(alternates)
    assert caught.value.position is None
    assert caught.value.without == caught.value.with_crash == "completed with None"


def course(end: str, *events: tuple[str, int], id: str = "a") -> Course:
    rows = [
        JournalRow(1, n, kind, datetime(2030, 1, 1, tzinfo=UTC), b"", op)
        for n, (kind, op) in enumerate(events)
    ]
    return Course(End("completed", end), {(id, 0): rows}, {})


def test_what_came_in_another_order_is_no_difference_unless_it_led_elsewhere() -> None:
    first = course("x", ("started", 0), ("timer", 1), ("activity", 2))
    assert difference(first, course("x", ("started", 0), ("activity", 2), ("timer", 1))) is None
    other = difference(first, course("y", ("started", 0), ("activity", 2), ("timer", 1)))
    assert other is not None
    assert "came in another order" in other.text


def test_a_journal_that_ends_before_and_a_run_that_is_not_there_are_told() -> None:
    first = course("x", ("started", 0), ("timer", 1))
    other = difference(first, course("x", ("started", 0)))
    assert other is not None
    assert (other.position, "nothing: it ends before" in other.text) == (1, True)
    other = difference(first, course("x", id="b"))
    assert other is not None
    assert "Run 'a' was begun only without the crash" in other.text


async def test_arguments_from_outside_are_another_key() -> None:
    async with Environment(replay="never") as env:
        with pytest.raises(CrashDifference, match="position 1"):
            await env.crash_everywhere(reads_what_is_outside)
