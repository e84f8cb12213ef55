"""Virtual time: never early, never twice, in one order; and nobody's lease is lost by it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import pytest

from durable import (
    Context,
    Retry,
    RunCancelled,
    RunFailed,
    Status,
    Update,
    activity,
    workflow,
)
from durable.testing import Environment, Stalled

from .conftest import BEGIN

seen: list[tuple[str, float]] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    seen.clear()


@activity(name="testing/ring")
async def ring(name: str, at: float) -> None:
    seen.append((name, at))


@workflow(name="testing/alarm")
async def alarm(ctx: Context, name: str, *pauses: float) -> list[float]:
    rung: list[float] = []
    for pause in pauses:
        await ctx.sleep(pause)
        at = (ctx.now() - BEGIN).total_seconds()
        await ctx.activity(ring, name, at)
        rung.append(at)
    return rung


@activity(name="testing/flaky", retry=Retry(attempts=3, delay=60, growth=10, delay_max=3600))
async def flaky() -> str:
    raise ConnectionError


@workflow(name="testing/tries")
async def tries(ctx: Context) -> str:
    return await ctx.activity(flaky)


@workflow(name="testing/gives_up")
async def gives_up(ctx: Context) -> str:
    try:
        async with asyncio.timeout(3600):
            await asyncio.Event().wait()
    except TimeoutError:
        return f"gave up after {ctx.now() - BEGIN}"
    return "never"


@workflow(name="testing/waits_for_nothing")
async def waits_for_nothing(ctx: Context) -> None:
    await asyncio.Event().wait()


async def test_awaiting_a_result_lets_a_year_pass(env: Environment) -> None:
    assert await env.run(alarm, "a", 86400.0 * 365) == [86400.0 * 365]
    assert env.now() == BEGIN + timedelta(days=365)


async def test_time_stands_still_until_somebody_moves_it(env: Environment) -> None:
    handle = await env.start(alarm, "a", 60.0)
    await env.advance()
    assert await handle.status() is Status.WAITING
    await env.advance(59.999999)
    assert (await handle.status(), seen) == (Status.WAITING, [])
    await env.advance(timedelta(microseconds=1))
    assert (await handle.status(), seen) == (Status.COMPLETED, [("a", 60.0)])
    assert env.now() == BEGIN + timedelta(seconds=60)


async def test_all_that_is_due_on_the_way_happens_at_its_time_and_in_order(
    env: Environment,
) -> None:
    for name, pauses in [("c", (3.0, 90.0)), ("a", (1.0, 1.0)), ("b", (2.0, 600.0))]:
        await env.start(alarm, name, *pauses, id=name)

    await env.advance(hours=1)

    # At one moment, who was started first.
    assert seen == [("a", 1.0), ("a", 2.0), ("b", 2.0), ("c", 3.0), ("c", 93.0), ("b", 602.0)]
    assert env.now() == BEGIN + timedelta(hours=1)


async def test_two_equal_stories_are_told_alike(make: Callable[..., Environment]) -> None:
    told = []
    for _ in range(2):
        seen.clear()
        async with make() as env:
            pauses = [float(n * 7 % 5 + 1) for n in range(20)]
            for n, pause in enumerate(pauses):
                await env.start(alarm, str(n), pause, pause * 10, id=str(n))
            await env.advance(minutes=5)
        told.append(list(seen))
    assert told[0] == told[1]
    assert len(told[0]) == 40


async def test_pauses_between_attempts_have_their_full_length(env: Environment) -> None:
    handle = await env.start(tries)
    with pytest.raises(RunFailed, match="3 times"):
        await handle.result()
    at = [(call.at - BEGIN).total_seconds() for call in env.calls(flaky)]
    assert at == [0, 60, 660]


async def test_plain_asyncio_timeouts_are_of_the_same_time(env: Environment) -> None:
    assert await env.run(gives_up) == "gave up after 1:00:00"


async def test_a_delayed_start_and_a_deadline(env: Environment) -> None:
    later = await env.start(alarm, "later", 1.0, delay=timedelta(days=1))
    late = await env.start(alarm, "late", 7200.0, deadline=3600)
    with pytest.raises(RunCancelled):
        await late.result()
    assert env.now() == BEGIN + timedelta(hours=1)
    assert await later.result() == [86401.0]
    assert seen == [("later", 86401.0)]


async def test_in_manual_mode_a_result_is_only_awaited(make: Callable[..., Environment]) -> None:
    async with make(time="manual") as env:
        handle = await env.start(alarm, "a", 60.0)
        result = asyncio.create_task(handle.result())
        await env.advance(59)
        assert not result.done()
        assert env.now() == BEGIN + timedelta(seconds=59)
        await env.advance(1)
        assert await result == [60.0]


async def test_a_result_that_can_never_come_is_given_up_in_words(
    make: Callable[..., Environment],
) -> None:
    async with make(patience=0.05) as env:
        handle = await env.start(waits_for_nothing, id="forgotten")
        with pytest.raises(Stalled, match=r"run 'forgotten' waits for") as caught:
            await handle.result()
        assert len(caught.value.waits) == 1


async def test_a_message_that_the_test_sends_meanwhile_is_waited_for(env: Environment) -> None:
    handle = await env.start(waits_for_nothing)

    async def cancel() -> None:
        for _ in range(300):
            await asyncio.sleep(0)
        await handle.cancel()

    async with asyncio.TaskGroup() as group:
        group.create_task(cancel())
        with pytest.raises(RunCancelled):
            await handle.result()
    assert env.now() == BEGIN


slow_add = Update[int, int]("testing/slow_add")


@workflow(name="testing/adds_slowly")
async def adds_slowly(ctx: Context) -> None:
    async def add(number: int) -> int:
        await ctx.sleep(days=number)
        return number

    ctx.on(slow_add, add)
    await ctx.sleep(days=99)


async def test_who_asks_for_an_update_lets_time_pass_until_it_is_answered(
    env: Environment,
) -> None:
    handle = await env.start(adds_slowly)
    assert await handle.update(slow_add, 3) == 3
    assert env.now() == BEGIN + timedelta(days=3)


async def test_a_worker_lives_through_years(env: Environment) -> None:
    before = env.health().worker
    handle = await env.start(alarm, "a", *[86400.0 * 1000] * 9)
    assert len(await handle.result()) == 9
    (worker,) = await env.store.workers.suspects(uuid4())
    assert worker.worker == before
    assert worker.silent_for < worker.lease
    assert env.health().reasons == ()
