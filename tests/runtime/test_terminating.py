"""Runs that are closed, or held, from outside, while a worker has them."""

from __future__ import annotations

import asyncio
import threading

import pytest

from durable import (
    Context,
    Durable,
    RunCancelled,
    RunTerminated,
    Signal,
    Status,
    activity,
    attempt,
    workflow,
)
from durable.errors import InvalidCall, RunNotFound

begun = asyncio.Event()
ended: list[str] = []
thread_may_end = threading.Event()
go_on = asyncio.Event()
poked = Signal[int]("poked_while_held")


@pytest.fixture(autouse=True)
def fresh() -> None:
    global begun, go_on
    begun, go_on = asyncio.Event(), asyncio.Event()
    thread_may_end.clear()
    ended.clear()


@activity
async def endless() -> None:
    begun.set()
    try:
        await asyncio.Event().wait()
    finally:
        ended.append("endless")


@activity
def endless_thread(loop_is: int) -> None:
    told = attempt()
    begun_in_thread.set()
    while not told.cancelled:
        thread_may_end.wait(0.005)
    ended.append("thread")


begun_in_thread = threading.Event()


@workflow
async def waits_for_endless(ctx: Context) -> None:
    try:
        await ctx.activity(endless)
    except asyncio.CancelledError:
        ended.append("clean-up")


@workflow
async def waits_for_thread(ctx: Context) -> None:
    await ctx.activity(endless_thread, 1)


async def until(app: Durable, id: str, status: Status) -> None:
    while await app.handle(id).status() is not status:
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("notify", [True, False])
async def test_terminating_ends_the_attempt_in_another_process_and_no_clean_up_runs(
    dsn: str, notify: bool
) -> None:
    async with Durable(dsn, notify=notify) as worker, Durable(dsn, serve=[], notify=notify) as app:
        handle = await worker.start(waits_for_endless, id="t")
        await begun.wait()
        assert await app.handle("t").terminate("enough")
        with pytest.raises(RunTerminated, match=r"terminated \(enough\)") as caught:
            await handle.result()
        assert caught.value.reason == "enough"
        while not ended:
            await asyncio.sleep(0.01)
        assert not await handle.terminate()
        kinds = [each["kind"] for each in await app.history("t")]
    assert ended == ["endless"]
    assert kinds == ["started", "terminated"]


@pytest.mark.parametrize("how", ["cancel", "terminate"])
async def test_a_thread_hears_of_it_in_another_process(dsn: str, how: str) -> None:
    begun_in_thread.clear()
    async with Durable(dsn) as worker, Durable(dsn, serve=[]) as app:
        handle = await worker.start(waits_for_thread, id="t")
        await asyncio.to_thread(begun_in_thread.wait)
        assert await getattr(app.handle("t"), how)()
        with pytest.raises(RunCancelled if how == "cancel" else RunTerminated):
            await handle.result()
        while not ended:
            await asyncio.sleep(0.01)
    assert ended == ["thread"]


async def test_whoever_is_not_there_cannot_be_terminated_paused_or_resumed(dsn: str) -> None:
    async with Durable(dsn, serve=[]) as app:
        for verb in ("terminate", "pause", "resume"):
            with pytest.raises(RunNotFound):
                await getattr(app.handle("nobody"), verb)()
        with pytest.raises(InvalidCall, match="no text"):
            await app.handle("nobody").terminate("\0")


# Pause


@activity
async def slow_step(n: int) -> int:
    begun.set()
    await go_on.wait()
    return n


@workflow
async def two_steps(ctx: Context) -> list[int]:
    return [await ctx.activity(slow_step, 1), await ctx.activity(slow_step, 2)]


@workflow
async def hears(ctx: Context) -> list[int]:
    return [await ctx.receive(poked), await ctx.receive(poked)]


@workflow
async def naps(ctx: Context) -> str:
    await ctx.sleep(1)
    return "rested"


@activity
async def always_fails() -> None:
    begun.set()
    raise OSError("no")


@workflow
async def retries(ctx: Context) -> None:
    await ctx.activity(always_fails)


@pytest.mark.parametrize("notify", [True, False])
async def test_a_paused_run_ends_what_is_under_way_and_begins_nothing_more(
    dsn: str, notify: bool
) -> None:
    async with Durable(dsn, notify=notify) as worker, Durable(dsn, serve=[], notify=notify) as app:
        handle = await worker.start(two_steps, id="p")
        await begun.wait()
        assert await app.handle("p").pause()
        while not any(each.holding for each in worker._worker.active.values()):  # type: ignore[union-attr]
            await asyncio.sleep(0.01)
        begun.clear()
        go_on.set()
        await until(app, "p", Status.PAUSED)
        assert not begun.is_set()
        description = await handle.describe()
        assert (description.events, description.worker) == (2, None)
        assert await app.handle("p").resume()
        assert await handle.result() == [1, 2]


async def test_a_paused_run_keeps_its_messages(dsn: str) -> None:
    async with Durable(dsn) as app:
        handle = await app.start(hears, id="p")
        await until(app, "p", Status.WAITING)
        assert await handle.pause()
        await handle.signal(poked, 1)
        await handle.signal(poked, 2)
        assert await handle.status() is Status.PAUSED
        assert await handle.resume()
        assert await handle.result() == [1, 2]
        assert not await handle.pause()
        assert not await handle.resume()


async def test_a_timer_that_was_due_while_its_run_was_paused_goes_off_on_resuming(dsn: str) -> None:
    async with Durable(dsn) as app:
        handle = await app.start(naps, id="p")
        while (await handle.describe()).events < 1:
            await asyncio.sleep(0.01)
        await handle.pause()
        await until(app, "p", Status.PAUSED)
        await handle.resume()
        assert await handle.result() == "rested"


async def test_a_cancel_of_a_paused_run_is_heard_when_it_is_resumed(dsn: str) -> None:
    async with Durable(dsn) as app:
        handle = await app.start(hears, id="p")
        await until(app, "p", Status.WAITING)
        await handle.pause()
        assert await handle.cancel()
        assert await handle.status() is Status.PAUSED
        await handle.resume()
        with pytest.raises(RunCancelled):
            await handle.result()


async def test_a_run_that_waits_to_try_again_holds_at_once_and_is_terminated(dsn: str) -> None:
    async with Durable(dsn) as app:
        handle = await app.start(retries, id="p")
        await begun.wait()
        await handle.pause()
        await until(app, "p", Status.PAUSED)
        assert await handle.terminate()
        with pytest.raises(RunTerminated):
            await handle.result()
