"""Runs that are closed, or held, from outside, while a worker has them."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import asyncpg
import pytest

from durable import (
    Client,
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
from durable._store.postgres.journal import Journal
from durable.errors import InvalidCall, RunNotFound

from .takeovers import rows

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
async def never_ends_terminated() -> None:
    begun.set()
    try:
        await asyncio.Event().wait()
    finally:
        ended.append("never_ends_terminated")


@activity
def ends_when_told(loop_is: int) -> None:
    told = attempt()
    begun_in_thread.set()
    while not told.cancelled:
        thread_may_end.wait(0.005)
    ended.append("thread")


begun_in_thread = threading.Event()


@workflow
async def waits_for_endless(ctx: Context) -> None:
    try:
        await ctx.activity(never_ends_terminated)
    except asyncio.CancelledError:
        ended.append("clean-up")


@workflow
async def waits_for_thread(ctx: Context) -> None:
    await ctx.activity(ends_when_told, 1)


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
    assert ended == ["never_ends_terminated"]
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
async def step_while_held(n: int) -> int:
    begun.set()
    await go_on.wait()
    return n


@workflow
async def two_steps_held(ctx: Context) -> list[int]:
    return [await ctx.activity(step_while_held, 1), await ctx.activity(step_while_held, 2)]


@workflow
async def hears_while_held(ctx: Context) -> list[int]:
    return [await ctx.receive(poked), await ctx.receive(poked)]


@workflow
async def naps_while_held(ctx: Context) -> str:
    await ctx.sleep(1)
    return "rested"


@activity
async def fails_while_held() -> None:
    begun.set()
    raise OSError("no")


@workflow
async def retries_while_held(ctx: Context) -> None:
    await ctx.activity(fails_while_held)


@pytest.mark.parametrize("notify", [True, False])
async def test_a_paused_run_ends_what_is_under_way_and_begins_nothing_more(
    dsn: str, notify: bool
) -> None:
    async with Durable(dsn, notify=notify) as worker, Durable(dsn, serve=[], notify=notify) as app:
        handle = await worker.start(two_steps_held, id="p")
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
        handle = await app.start(hears_while_held, id="p")
        await until(app, "p", Status.WAITING)
        assert await handle.pause()
        await handle.signal(poked, 1)
        await handle.signal(poked, 2)
        assert await handle.status() is Status.PAUSED
        unread = await rows(dsn, "select id, kind, value from durable.unread order by seq")
        assert [tuple(each.values()) for each in unread] == [
            ("p", "signal", "1"),
            ("p", "signal", "2"),
        ]
        assert await handle.resume()
        assert await handle.result() == [1, 2]
        assert await rows(dsn, "select from durable.unread") == []
        assert not await handle.pause()
        assert not await handle.resume()


async def test_a_timer_that_was_due_while_its_run_was_paused_goes_off_on_resuming(dsn: str) -> None:
    async with Durable(dsn) as app:
        handle = await app.start(naps_while_held, id="p")
        while (await handle.describe()).events < 1:
            await asyncio.sleep(0.01)
        await handle.pause()
        await until(app, "p", Status.PAUSED)
        await handle.resume()
        assert await handle.result() == "rested"


async def test_a_cancel_of_a_paused_run_is_heard_when_it_is_resumed(dsn: str) -> None:
    async with Durable(dsn) as app:
        handle = await app.start(hears_while_held, id="p")
        await until(app, "p", Status.WAITING)
        await handle.pause()
        assert await handle.cancel()
        assert await handle.status() is Status.PAUSED
        await handle.resume()
        with pytest.raises(RunCancelled):
            await handle.result()


async def test_a_run_that_waits_to_try_again_holds_at_once_and_is_terminated(dsn: str) -> None:
    async with Durable(dsn) as app:
        handle = await app.start(retries_while_held, id="p")
        await begun.wait()
        await handle.pause()
        await until(app, "p", Status.PAUSED)
        assert await handle.terminate()
        with pytest.raises(RunTerminated):
            await handle.result()


@workflow
async def steps_then_hears(ctx: Context) -> list[int]:
    first = await ctx.activity(step_while_held, 1)
    heard = await ctx.receive(poked)
    return [first, heard, await ctx.activity(step_while_held, 2)]


async def test_a_run_that_was_put_away_while_it_held_goes_on_as_ever(dsn: str) -> None:
    async with Durable(dsn) as app:
        handle = await app.start(steps_then_hears, id="p")
        await begun.wait()
        await handle.pause()
        assert app._worker is not None
        while not any(each.holding for each in app._worker.active.values()):
            await asyncio.sleep(0.01)
        go_on.set()
        await until(app, "p", Status.PAUSED)
        await handle.signal(poked, 7)
        await handle.resume()
        assert await handle.result() == [1, 7, 2]


async def test_what_is_terminated_between_claim_and_loading_is_let_go(
    dsn: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with Durable(dsn, serve=[naps_while_held]) as app:
        store = app.store
        claim = store.runs.claim

        async def claim_and_terminate(*args: Any, **given: Any) -> list[Any]:
            claimed = await claim(*args, **given)
            if any(each.id == "p" for each in claimed):
                await store.runs.terminate("p", None)
            return claimed

        monkeypatch.setattr(store.runs, "claim", claim_and_terminate)
        handle = await app.start("naps_while_held", id="p", delay=0.001)
        with pytest.raises(RunTerminated):
            await handle.result()
        assert app._worker is not None
        while app._worker.active:  # until its first turn is refused
            await asyncio.sleep(0.005)
    assert "could not be loaded" not in caplog.text


ANOTHER_OWNER = """
with taken as (update durable.run set claim = claim + 1 where id = 'a' returning run)
insert into durable.journal (run, position, op, kind, name, input, result, at, key)
select run, 1, 1, 'activity', 'other', '\\xc0', '\\xc0', now(), decode(repeat('1', 32), 'hex')
from taken
"""


async def test_a_run_that_is_anothers_when_its_history_is_read_is_let_go_and_not_told_stuck(
    dsn: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "durable.worker")
    connection = await asyncpg.connect(dsn)
    async with Durable(dsn, grace=0) as app:
        await app.start(waits_for_endless, id="a")
        await begun.wait()
    pages = Journal.pages

    async def after_another_has_written(self: Journal, starts: Any) -> Any:
        monkeypatch.setattr(Journal, "pages", pages)
        await connection.execute(ANOTHER_OWNER)
        async for page in pages(self, starts):
            yield page

    monkeypatch.setattr(Journal, "pages", after_another_has_written)
    async with Client(dsn) as client, Durable(dsn):
        while "'a' is not this worker's any more" not in caplog.text:
            await asyncio.sleep(0.005)
        assert await client.handle("a").status() is Status.RUNNING
    await connection.close()
    assert "stuck" not in caplog.text
