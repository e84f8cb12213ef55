"""What activities and workflows may raise, and when an activity is tried again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from durable import ActivityError, Context, Durable, Retry, RunFailed, activity, attempt, workflow

QUICK = Retry(attempts=3, delay=0.001)

seen: list[Any] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    seen.clear()


@pytest.fixture
async def app(dsn: str) -> AsyncIterator[Durable]:
    async with Durable(dsn, grace=0.05) as app:
        yield app


class Declined(Exception):
    pass


@activity(retry=QUICK)
async def raises_what(kind: str) -> str:
    seen.append(attempt().number)
    match kind:
        case "exit":
            raise SystemExit(3)
        case "interrupt":
            raise KeyboardInterrupt
        case "generator":
            raise GeneratorExit
        case "cancelled":
            raise asyncio.CancelledError
        case "cancels itself":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(60)
        case "declined":
            raise ExceptionGroup("two", [Declined("a"), ExceptionGroup("in", [Declined("b")])])
        case "mixed":
            raise ExceptionGroup("two", [Declined("a"), OSError("b")])
        case "timeout":
            raise TimeoutError("its own")
    return kind


@activity(retry=QUICK)
def exits_in_a_thread() -> None:
    raise SystemExit(4)


@workflow
async def catches(ctx: Context, kind: str) -> Any:
    try:
        return await ctx.options(raises=(Declined,)).activity(raises_what, kind)
    except ActivityError as error:
        return [error.type, error.attempts]


@workflow
async def catches_a_group(ctx: Context) -> list[str]:
    caught: list[str] = []
    try:
        await ctx.options(raises=(Declined,)).activity(raises_what, "declined")
    except* Declined as group:
        caught.append(str(group))
        caught.extend(str(each) for each in leaves(group))
    return caught


async def test_whatever_an_activity_raises_fails_it_and_nothing_else(app: Durable) -> None:
    for kind, error, attempts in (
        ("exit", "SystemExit", 1),
        ("interrupt", "KeyboardInterrupt", 1),
        ("generator", "GeneratorExit", 1),
        ("cancelled", "CancelledError", 1),
        ("cancels itself", "CancelledError", 1),
        ("mixed", "ExceptionGroup", 3),
        ("timeout", "TimeoutError", 3),
    ):
        seen.clear()
        assert await app.run(catches, kind) == [error, attempts]
        assert seen == list(range(1, attempts + 1))


async def test_a_group_of_business_errors_is_an_answer(app: Durable) -> None:
    assert await app.run(catches_a_group) == ["two (2 sub-exceptions)", "a", "b"]
    assert seen == [1]


def leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in leaves(each)]
    return [error]


@workflow
async def one_exit(ctx: Context) -> None:
    await ctx.activity(exits_in_a_thread)


async def test_a_thread_that_exits_fails_its_activity(app: Durable) -> None:
    with pytest.raises(RunFailed, match="SystemExit: 4"):
        await app.run(one_exit)


# Retries


def says_no(error: Exception) -> bool:
    return not isinstance(error, ValueError)


def is_broken(error: Exception) -> bool:
    raise ZeroDivisionError("the judge is broken")


@activity(retry=QUICK)
async def fails_as(kind: str) -> None:
    seen.append(attempt().number)
    raise {"value": ValueError, "os": OSError}[kind](kind)


@workflow
async def judged(ctx: Context, kind: str, broken: bool) -> int:
    judge = is_broken if broken else says_no
    try:
        retry = Retry(attempts=3, delay=timedelta(milliseconds=1), retry_if=judge)
        await ctx.options(retry=retry).activity(fails_as, kind)
    except ActivityError as error:
        return error.attempts
    return 0


async def test_retry_if_may_refuse(app: Durable) -> None:
    assert await app.run(judged, "value", False) == 1
    assert await app.run(judged, "os", False) == 3


async def test_a_retry_if_that_raises_costs_nobody_anything(
    app: Durable, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, logger="durable"):
        assert await app.run(judged, "os", True) == 3
    assert "retry_if failed on OSError" in caplog.text
    assert "the judge is broken" in caplog.text


@activity
async def adds(a: int, *more: int, named: str = "") -> int:
    seen.append(a)
    return a


@activity
async def returns_odd(what: str) -> int:
    seen.append(what)
    return what if what == "text" else object()  # type: ignore[return-value]


@workflow
async def misfits(ctx: Context, args: list[Any], named: dict[str, Any]) -> None:
    await ctx.activity(adds, *args, **named)


@workflow
async def odd(ctx: Context, what: str) -> None:
    await ctx.activity(returns_odd, what)


async def test_arguments_that_do_not_fit_are_refused_once_and_by_name(app: Durable) -> None:
    cases: list[tuple[list[Any], dict[str, Any], str]] = [
        (["one"], {}, r"int in adds\(a='one'\): Expected `int`, got `str`"),
        ([1, 2, [3]], {}, r"int in adds\(more=\[3\]\)"),
        ([1], {"named": 5}, r"str in adds\(named=5\)"),
    ]
    for args, named, words in cases:
        with pytest.raises(RunFailed, match=rf"tried once: Unrecordable: .* does not fit {words}"):
            await app.run(misfits, args, named)
    assert seen == []


async def test_a_result_that_cannot_be_recorded_is_a_failure_and_not_tried_again(
    app: Durable,
) -> None:
    for what, words in (
        ("text", "Expected `int`, got `str`"),
        ("object", r"the result of returns_odd\(\) is <object object at 0x.*cannot be recorded"),
    ):
        with pytest.raises(RunFailed, match=f"Unrecordable: the activity returned.*{words}"):
            await app.run(odd, what)
    assert seen == ["text", "object"]


# Errors of workflows


@workflow
async def ends_by(ctx: Context, how: str) -> str:
    async def sub() -> None:
        raise SystemExit(5)

    match how:
        case "exit":
            raise SystemExit(3)
        case "interrupt":
            raise KeyboardInterrupt
        case "generator":
            raise GeneratorExit
        case "cancelled":
            raise asyncio.CancelledError
        case "exit of a task":
            await asyncio.create_task(sub())
        case "group":
            async with asyncio.TaskGroup() as group:
                group.create_task(ctx.activity(raises_what, "exit"))
                group.create_task(ctx.activity(raises_what, "exit"))
        case "swallows":
            try:
                await ctx.sleep(3600)
            except asyncio.CancelledError:
                return "went on"
    return how


async def test_whatever_a_workflow_raises_fails_its_run_and_no_other(app: Durable) -> None:
    for how, kind in (
        ("exit", "SystemExit"),
        ("interrupt", "KeyboardInterrupt"),
        ("generator", "GeneratorExit"),
        ("cancelled", "CancelledError"),
        ("exit of a task", "SystemExit"),
        ("group", "ExceptionGroup"),
    ):
        with pytest.raises(RunFailed) as caught:
            await app.run(ends_by, how)
        assert caught.value.type == kind
        assert await app.run(ends_by, "nothing") == "nothing"
    assert app.health().ok


async def test_a_workflow_that_swallows_its_cancellation_goes_on(app: Durable) -> None:
    handle = await app.start(ends_by, "swallows")
    await handle.cancel()
    assert await handle.result() == "went on"
