"""Stories of updates: what is asked of a run, checked, handled and answered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from durable._core import commands, events
from durable.errors import InvalidCall
from tests.core.story import Ctx, Story, close_all, fresh


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_all()


def positive(value: Any) -> None:
    if value < 0:
        raise ValueError(f"{value} is negative")


async def adds(ctx: Ctx) -> Any:
    """An actor: a sum, until it is asked to stop."""
    total, stopped = 0, asyncio.Event()

    async def add(value: int) -> int:
        nonlocal total
        await ctx.activity("book", value)
        total += value
        return total

    async def stop(_: object) -> int:
        stopped.set()
        return total

    ctx.on("add", add, positive)
    ctx.on("stop", stop)
    await stopped.wait()
    return total


def test_an_update_is_handled_and_answered_with_its_turn() -> None:
    story = Story(adds)
    assert story.is_asked("add", 2) == ("#1 activity book(2,)",)
    assert story.returns("book") == ("#2 completed add 2 to 1",)
    assert story.is_asked("stop") == ("#3 completed stop 2 to 3", "complete 2")
    story.replays()


def test_updates_of_one_run_are_handled_side_by_side() -> None:
    story = Story(adds)
    story.is_asked("add", 2)
    assert story.is_asked("add", 3) == ("#2 activity book(3,)",)
    assert story.returns("book")[0].endswith("completed add 2 to 1")
    assert story.returns("book")[0].endswith("completed add 5 to 2")
    story.replays()


def test_a_rejected_update_changes_nothing() -> None:
    story = Story(adds)
    assert story.is_asked("add", -1) == ("#1 rejected add \"ValueError('-1 is negative')\" to 1",)
    assert story.is_asked("stop")[-1] == "complete 0"
    story.replays()


@pytest.mark.parametrize("verdict", [True, False])
def test_what_was_decided_is_not_decided_again(verdict: bool) -> None:
    """The check may have become another since."""
    asked_again: list[object] = []

    async def code(ctx: Ctx) -> None:
        async def run(value: object) -> object:
            return value

        ctx.on("add", run, asked_again.append)
        await asyncio.Event().wait()

    replayer = Story(code).replayer
    (reply,) = replayer.feed(events.Asked(1, Story(code).now, 7, "add", 1, verdict))
    assert isinstance(reply, commands.Reply)
    assert (reply.seq, reply.kind) == (7, "completed" if verdict else "rejected")
    assert not asked_again


def test_an_update_waits_for_its_handler_in_order() -> None:
    async def code(ctx: Ctx) -> Any:
        seen: list[int] = []

        async def add(value: int) -> list[int]:
            seen.append(value)
            return list(seen)

        await ctx.activity("open")
        ctx.on("add", add, positive)
        await ctx.activity("close")

    story = Story(code)
    assert [story.is_asked("add", value) for value in (1, -1, 2)] == [(), (), ()]
    assert story.replayer.updates.unread() == [1, 2, 3]
    assert story.returns("open") == (
        "#2 activity close()",
        "#3 rejected add \"ValueError('-1 is negative')\" to 2",
        "#4 completed add [1] to 1",
        "#5 completed add [1, 2] to 3",
    )
    assert story.replayer.updates.unread() == []
    story.replays()


def test_a_handler_that_raises_fails_its_update_and_not_the_run() -> None:
    async def code(ctx: Ctx) -> Any:
        async def run(value: Any) -> None:
            if value:
                raise value
            await asyncio.wait_for(asyncio.Event().wait(), 1)

        ctx.on("break", run)
        await ctx.activity("go on")

    story = Story(code)
    assert story.is_asked("break", ValueError("no")) == (
        "#2 failed break \"ValueError('no')\" to 1",
    )
    assert story.is_asked("break", asyncio.CancelledError())[0].startswith("#3 failed break")
    story.is_asked("break")
    assert story.time_comes()[-1].endswith('failed break "TimeoutError()" to 3'.replace('"', "'"))
    assert story.returns("go on") == ("complete None",)
    story.replays()


def test_a_run_that_ends_does_not_wait_for_its_handlers_and_gives_no_answer() -> None:
    async def code(ctx: Ctx) -> Any:
        async def run(_: object) -> None:
            try:
                await ctx.activity("slow")
            finally:
                await ctx.activity("clean up")

        ctx.on("work", run)
        await ctx.activity("open")
        return "over"

    story = Story(code)
    story.is_asked("work")
    assert story.returns("open") == ("#2 drop", "#3 activity clean up()")
    told = "say the run has ended before it had answered update 'work', whose caller is told so"
    assert story.returns("clean up") == (told, "complete 'over'")
    story.replays()


def test_a_check_may_only_look() -> None:
    async def code(ctx: Ctx) -> Any:
        async def run(_: object) -> None: ...

        ctx.on("asks", run, lambda _: ctx.replayer.say(ctx.activity("book").op, "", ()))
        ctx.on("sends", run, lambda _: ctx.send("other", "a", 1))
        await ctx.activity("open")

    story = Story(code)
    for name in "asks", "sends":
        (rejected,) = story.is_asked(name)
        assert "rejected" in rejected
        assert "may only look and decide" in rejected
    assert story.returns("open") == ("complete None",)
    story.replays()


def test_a_second_handler_is_refused() -> None:
    async def code(ctx: Ctx) -> Any:
        async def run(_: object) -> None: ...

        ctx.on("add", run)
        with pytest.raises(InvalidCall, match="has a handler already"):
            ctx.on("add", run)

    assert Story(code).last == ("complete None",)


def test_what_does_not_fit_is_rejected_and_what_no_longer_fits_ends_the_turn() -> None:
    def read(value: object) -> object:
        raise ValueError(f"{value!r} is no number")

    async def code(ctx: Ctx) -> Any:
        async def run(_: object) -> None: ...

        ctx.on("add", run, read=read)
        await asyncio.Event().wait()

    story = Story(code)
    assert "rejected" in story.is_asked("add", "x")[0]
    replayer = fresh(code)
    replayer.feed(events.Started(0, story.now))
    with pytest.raises(ValueError, match="no number"):
        replayer.feed(events.Asked(1, story.now, 1, "add", "x", True))
