"""Limits of attempts, and attempts that do not end when they are told to."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from durable import (
    ActivityTimedOut,
    Context,
    Durable,
    Retry,
    RunCancelled,
    activity,
    attempt,
    workflow,
)

from .test_runs import until

seen: list[Any] = []
doors: dict[str, threading.Event] = {}
hints: contextvars.ContextVar[str] = contextvars.ContextVar("hints", default="none")


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    seen.clear()
    doors.clear()
    monkeypatch.setattr("durable._runtime.attempts.LOOK_SECONDS", 0.01)


@pytest.fixture
async def app(dsn: str) -> AsyncIterator[Durable]:
    async with Durable(dsn, grace=0.05) as app:
        yield app


def door(name: str) -> threading.Event:
    return doors.setdefault(name, threading.Event())


@activity
async def sleeps(seconds: float) -> str:
    seen.append(attempt().number)
    await asyncio.sleep(seconds)
    return "slept"


@activity
async def beats(times: int, every: float) -> int:
    for n in range(times):
        attempt().heartbeat(n)
        await asyncio.sleep(every)
    await asyncio.sleep(0 if times > 1 else 60)
    return times


@activity
def beats_in_a_thread(times: int, every: float) -> int:
    for n in range(times):
        attempt().heartbeat(n)
        door("never").wait(every)
    return times


@workflow
async def limited(ctx: Context, how: str) -> Any:
    retry = Retry(attempts=2, delay=0.001)
    call: Any
    match how:
        case "timeout":
            call = ctx.options(timeout=0.02, retry=retry).activity(sleeps, 60.0)
        case "total":
            options = ctx.options(timeout_total=timedelta(seconds=0.05), retry=Retry(delay=0.001))
            call = options.activity(sleeps, 60.0)
        case "total of many":
            many = Retry(attempts=None, delay=0.01, growth=1)
            options = ctx.options(timeout=0.02, timeout_total=0.5, retry=many)  # of a busy machine
            call = options.activity(sleeps, 60.0)
        case "silence":
            options = ctx.options(heartbeat_timeout=0.05, retry=retry)
            call = options.activity(beats, 1, 0.0)
        case "alive":
            options = ctx.options(heartbeat_timeout=0.25, retry=retry)
            call = options.activity(beats, 8, 0.05)
        case "alive in a thread":
            options = ctx.options(heartbeat_timeout=0.25, retry=retry)
            call = options.activity(beats_in_a_thread, 8, 0.05)
        case _:
            call = ctx.options(timeout=None).activity(quick_or_never)
    try:
        return await call
    except ActivityTimedOut as error:
        return [error.message, error.attempts]


@activity(timeout=0.001)
async def quick_or_never() -> str:
    assert attempt().deadline is None
    await asyncio.sleep(0.02)
    return "done"


async def test_limits_of_an_attempt_and_of_all(app: Durable) -> None:
    expected: dict[str, Any] = {
        "timeout": ["it ran longer than its timeout of 0.02 s", 2],
        "total": ["its attempts together took longer than its timeout_total of 0.05 s", 1],
        "silence": ["no heartbeat came for 0.05 s", 2],
        "alive": 8,
        "alive in a thread": 8,
        "unset": "done",
    }
    results = await asyncio.gather(*(app.run(limited, how) for how in expected))
    assert dict(zip(expected, results, strict=True)) == expected


async def test_timeout_total_ends_what_is_tried_for_ever(app: Durable) -> None:
    message, attempts = await app.run(limited, "total of many")
    assert "timeout" in message
    assert 2 <= attempts <= 25


@pytest.mark.parametrize("name", ["timeout", "timeout_total", "heartbeat_timeout"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_limit_that_cannot_be_is_refused_at_definition(name: str, value: float) -> None:
    given: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=name):
        activity(**given)


def test_raises_takes_exceptions_only() -> None:
    for wrong in (BaseException, "ValueError", (ValueError, KeyboardInterrupt)):
        with pytest.raises(ValueError, match="subclasses of Exception"):
            activity(raises=wrong)  # type: ignore[arg-type]


# Threads


@activity
def waits_in_a_thread(name: str) -> str:
    now = attempt()
    seen.append((name, now.number, threading.get_ident(), hints.get()))
    hints.set("of the thread")
    door(name).wait()
    seen.append((name, "through", now.cancelled))
    return name


@workflow
async def threads(ctx: Context, names: list[str]) -> list[str]:
    return list(await asyncio.gather(*(ctx.activity(waits_in_a_thread, n) for n in names)))


@workflow
async def impatient(ctx: Context, name: str, attempts: int) -> str:
    retry = Retry(attempts=attempts, delay=0.001)
    try:
        options = ctx.options(timeout=0.05, retry=retry, record_start=False)
        return await options.activity(waits_in_a_thread, name)
    except ActivityTimedOut:
        return "timed out"


async def test_threads_get_a_copy_of_the_context(app: Durable) -> None:
    hints.set("of the host")
    for name in ("a", "b"):
        door(name).set()
        assert await app.run(threads, [name]) == [name]
    first, second = [each for each in seen if each[1] == 1]
    assert threading.get_ident() not in (first[2], second[2])
    assert "of the thread" not in (first[3], second[3], hints.get())


async def test_an_attempt_begins_only_after_the_thread_of_the_last_one_has_ended(
    app: Durable, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="durable"):
        running = asyncio.create_task(app.run(impatient, "slow", 5))
        await until(lambda: "keeps its slot" in caplog.text)
    assert "test_limits.py:" in caplog.text
    assert [each[1] for each in seen] == [1]
    door("slow").set()
    assert await running == "slow"
    assert [each[1] for each in seen] == [1, "through", 2, "through"]
    assert [each[2] for each in seen if each[1] == "through"] == [True, False]


async def test_a_thread_that_goes_on_keeps_its_slot(dsn: str) -> None:
    async with Durable(dsn, activities_max=1, grace=0.05, serve=[impatient, threads]) as app:
        assert await app.run(impatient, "slow", 1) == "timed out"
        assert app.health().activities == 1
        door("next").set()
        waiting = asyncio.create_task(app.run(threads, ["next"]))
        await until(lambda: app.health().activities == 2)
        assert [each[0] for each in seen] == ["slow"]
        door("slow").set()
        assert await waiting == ["next"]
        await until(lambda: app.health().activities == 0)


async def test_a_thread_that_does_not_end_is_named_with_its_line(
    dsn: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("durable._runtime.attempts.STOP_SECONDS", 0.1)
    with caplog.at_level(logging.ERROR, logger="durable"):
        async with Durable(dsn, grace=0.01, serve=[threads, stubborn]) as app:
            await app.start(threads, ["stuck"], id="t")
            await app.start(stubborn, id="a")
            await until(lambda: len(seen) == 2)
    for name, id in (("waits_in_a_thread", "t"), ("swallows", "a")):
        assert f"activity '{name}' of run '{id}' was told to stop and goes on" in caplog.text
    assert caplog.text.count("test_limits.py:") == 2
    door("stuck").set()
    releases.pop().set()


releases: list[asyncio.Event] = []


@activity
async def swallows() -> str:
    """Does not let itself be cancelled."""
    seen.append("swallows")
    release = asyncio.Event()
    releases.append(release)
    while not release.is_set():
        try:
            await release.wait()
        except asyncio.CancelledError:
            seen.append("swallowed")
    return "after all"


@workflow
async def stubborn(ctx: Context) -> str:
    return await ctx.activity(swallows)


async def test_an_attempt_that_swallows_its_cancellation_does_not_hold_up_its_run(
    app: Durable,
) -> None:
    handle = await app.start(stubborn)
    await until(lambda: "swallows" in seen)
    await handle.cancel()
    with pytest.raises(RunCancelled):
        await handle.result()
    await until(lambda: "swallowed" in seen)
    releases.pop().set()
    await until(lambda: app.health().activities == 0)
