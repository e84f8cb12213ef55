"""Who plays an activity, and what was called: per environment, per attempt."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from durable import (
    ActivityTimedOut,
    Context,
    Retry,
    RunFailed,
    activity,
    attempt,
    workflow,
)
from durable.errors import InvalidCall, NotRegistered
from durable.testing import Environment, Stalled

from .conftest import BEGIN


class CardDeclined(Exception):
    pass


@activity(name="testing/charge", retry=Retry(attempts=4, delay=10), raises=(CardDeclined,))
async def charge(card: str, *, cents: int) -> str:
    return f"really {card} {cents}"


@activity(name="testing/thread_name")
def thread_name(prefix: str) -> str:
    return prefix + threading.current_thread().name


@activity(name="testing/slow", timeout=30, retry=Retry(attempts=2, delay=1))
async def slow() -> str:
    return "really"


async def reserve(connection: asyncpg.Connection, sku: str) -> int:
    found: int = await connection.fetchval("select length($1)", sku)
    return found


async def helper() -> None:
    """Neither an activity nor a transaction's function."""


@workflow(name="testing/order_of_test")
async def order_of_test(ctx: Context, card: str) -> str:
    try:
        return await ctx.activity(charge, card, cents=5)
    except CardDeclined:
        return "declined"


@workflow(name="testing/in_thread")
async def in_thread(ctx: Context) -> str:
    return await ctx.activity(thread_name, "in ")


@workflow(name="testing/waits")
async def waits(ctx: Context) -> str:
    try:
        return await ctx.activity(slow)
    except ActivityTimedOut as error:
        return f"timed out, {error.attempts} attempts"


@workflow(name="testing/reserves")
async def reserves(ctx: Context) -> int:
    return await ctx.transaction(reserve, "socks")


async def test_without_a_stand_in_an_activity_runs_for_real_and_is_counted(
    env: Environment,
) -> None:
    assert await env.run(order_of_test, "visa", id="a") == "really visa 5"
    assert (await env.run(in_thread)).startswith("in durable")
    (call,) = env.calls(charge)
    assert (call.args, call.kwargs, call.id, call.attempt) == (("visa",), {"cents": 5}, "a", 1)
    assert call.at == BEGIN
    assert [call.args for call in env.calls(thread_name)] == [("in ",)]


async def test_it_raises_in_order_and_then_returns(env: Environment) -> None:
    env.stand_in(charge, raises=[TimeoutError(), ConnectionError], returns="tx")
    assert await env.run(order_of_test, "visa") == "tx"
    at = [(call.attempt, (call.at - BEGIN).total_seconds()) for call in env.calls(charge)]
    assert at == [(1, 0), (2, 10), (3, 30)]


async def test_one_exception_alone_is_raised_each_time(env: Environment) -> None:
    env.stand_in(charge, raises=TimeoutError("no answer"))
    with pytest.raises(RunFailed, match=r"4 times: TimeoutError: no answer"):
        await env.run(order_of_test, "visa")
    assert len(env.calls(charge)) == 4


async def test_a_business_error_is_one_here_too(env: Environment) -> None:
    env.stand_in(charge, raises=CardDeclined())
    assert await env.run(order_of_test, "visa") == "declined"
    assert len(env.calls(charge)) == 1


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_function_stands_in(env: Environment, is_async: bool) -> None:
    def plain(card: str, *, cents: int) -> str:
        return f"{card} {cents} in attempt {attempt().number}"

    async def later(card: str, *, cents: int) -> str:
        await env.sleep(minutes=3)
        return plain(card, cents=cents)

    if is_async:
        env.stand_in(charge, later)
    else:
        env.stand_in(charge, plain)
    assert await env.run(order_of_test, "visa") == "visa 5 in attempt 1"
    assert (env.now() - BEGIN).total_seconds() == (180 if is_async else 0)


async def test_what_needs_a_thread_needs_none_when_it_is_played(env: Environment) -> None:
    env.stand_in(thread_name, raises=[OSError()], returns="nowhere")
    assert await env.run(in_thread) == "nowhere"
    assert [call.attempt for call in env.calls(thread_name)] == [1, 2]


async def test_a_transaction_needs_no_database_when_it_is_played(env: Environment) -> None:
    env.stand_in(reserve, returns=7)
    assert await env.run(reserves, id="a") == 7
    assert [call.args for call in env.calls(reserve)] == [("socks",)]
    assert [event["kind"] for event in await env.history("a")] == ["started", "transaction"]


async def test_a_timeout_passes_in_virtual_time(env: Environment) -> None:
    env.stand_in(slow, hangs=True)
    assert await env.run(waits) == "timed out, 2 attempts"
    assert (env.now() - BEGIN).total_seconds() == 61


async def test_a_stand_in_slower_than_the_timeout(env: Environment) -> None:
    async def late() -> str:
        await env.sleep(31 if attempt().number == 1 else 29)
        return "late"

    env.stand_in(slow, late)
    assert await env.run(waits) == "late"
    assert [(call.at - BEGIN).total_seconds() for call in env.calls(slow)] == [0, 31]


async def test_advance_does_not_wait_for_ever_for_what_runs_for_real(
    make: Callable[..., Environment],
) -> None:
    free = asyncio.Event()

    async def real() -> str:
        await free.wait()
        return "real"

    async with make(patience=0.02) as env:
        env.stand_in(slow, real)
        handle = await env.start(waits)
        await env.advance(29)
        assert len(env.calls(slow)) == 1
        await env.advance(3)
        assert len(env.calls(slow)) == 2
        free.set()
        assert await handle.result() == "real"


async def test_a_stand_in_may_be_changed_between_two_attempts(env: Environment) -> None:
    env.stand_in(charge, raises=OSError())
    handle = await env.start(order_of_test, "visa")
    await env.advance(15)
    env.stand_in(charge, returns="mended")
    assert await handle.result() == "mended"
    assert len(env.calls(charge)) == 3


async def test_what_a_stand_in_returns_must_fit_the_activity(env: Environment) -> None:
    odd: Any = 5
    env.stand_in(charge, returns=odd)
    with pytest.raises(RunFailed, match="Expected `str`, got `int`"):
        await env.run(order_of_test, "visa")
    assert len(env.calls(charge)) == 1


async def test_stand_ins_belong_to_their_environment_alone() -> None:
    async with Environment() as one, Environment() as other:
        one.stand_in(charge, returns="one")
        assert await one.run(order_of_test, "visa") == "one"
        assert await other.run(order_of_test, "visa") == "really visa 5"
        assert (len(one.calls(charge)), len(other.calls(charge))) == (1, 1)


async def test_a_real_transaction_runs_on_postgres_and_is_refused_in_memory(
    env: Environment,
) -> None:
    if env._database is not None:
        assert await env.run(reserves) == 5
        assert [call.args for call in env.calls(reserve)] == [("socks",)]
        return
    with pytest.raises(RunFailed, match=r"stand_in\(reserve.*durable_database_url") as caught:
        await env.run(reserves)
    assert "once" in caught.value.message, "another attempt would end the same way"


async def test_slots_that_sleepers_hold_do_not_stop_time(make: Callable[..., Environment]) -> None:
    async with make(activities_max=1) as env:

        async def late(card: str, *, cents: int) -> str:
            await env.sleep(60)
            return card

        env.stand_in(charge, late)
        handles = [await env.start(order_of_test, str(n)) for n in range(3)]
        assert [await handle.result() for handle in handles] == ["0", "1", "2"]
        assert (env.now() - BEGIN).total_seconds() == 180


async def test_an_activity_may_await_another_run(env: Environment) -> None:
    async def asks(card: str, *, cents: int) -> str:
        return str(await env.run(reserves, id="inner"))

    async def late(sku: str) -> int:
        await env.sleep(days=1)
        return 9

    env.stand_in(charge, asks)
    env.stand_in(reserve, late)
    assert await env.run(order_of_test, "visa") == "9"


async def test_a_result_that_hangs_for_ever_is_given_up_with_its_line(
    make: Callable[..., Environment],
) -> None:
    async with make(patience=0.05) as env:
        env.stand_in(charge, hangs=True)
        with pytest.raises(
            Stalled, match=r"activity .testing/charge. \(op 1\) \(test_stand_ins.py:\d+\)"
        ):
            await env.run(order_of_test, "visa")


def test_mistakes_are_told_in_words() -> None:
    env = Environment()
    with pytest.raises(NotRegistered):
        env.stand_in(len, returns=0)
    with pytest.raises(NotRegistered):
        env.calls(lambda: None)
    with pytest.raises(InvalidCall, match="one part"):
        env.stand_in(charge, returns="x", hangs=True)
    assert env.calls(helper) == []
