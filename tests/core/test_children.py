"""Stories of children, and of runs that go on as new ones."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from durable._core import children, commands, divergence
from durable.errors import ChildError, ChildRefused, Divergence, InvalidCall
from tests.core.story import Ctx, Story, close_all, fresh


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_all()


def failed(status: str = "failed") -> ChildError:
    return ChildError(id="c", workflow="pack", status=status, type="ValueError", message="no box")


def test_a_child_answers_when_it_ends() -> None:
    async def code(ctx: Ctx) -> Any:
        return await asyncio.gather(ctx.child("pack", 1), ctx.child("ship", id="s"))

    story = Story(code)
    assert story.last == ("#1 child pack (1,)", "#2 child ship () as s")
    assert story.child_ends("ship", 2) == ()
    assert story.child_ends("pack", 1) == ("complete [1, 2]",)
    story.replays()


def test_a_child_that_fails_raises_and_the_run_fails_with_its_position() -> None:
    async def code(ctx: Ctx) -> Any:
        await ctx.child("pack")

    story = Story(code)
    assert story.child_ends("pack", failed()) == ("fail ChildError at 1",)
    story.replays()


def test_who_stops_waiting_stops_the_child_and_waits_until_it_has() -> None:
    async def code(ctx: Ctx) -> Any:
        try:
            async with asyncio.timeout(5):
                return await ctx.child("pack")
        except TimeoutError:
            return "too late"

    for outcome in (failed("cancelled"), failed(), "done all the same"):
        story = Story(code)
        assert story.time_comes() == ("#3 send cancel  None to ",)
        assert list(story.replayer.open) == [2]
        assert story.child_ends("pack", outcome) == ("complete 'too late'",)
        story.replays()


def test_who_is_cancelled_twice_waits_no_longer_and_the_end_is_recorded_all_the_same() -> None:
    async def code(ctx: Ctx) -> Any:
        task = asyncio.create_task(ctx.child("pack"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await ctx.activity("go on")
        return task.cancelled()

    story = Story(code)
    assert story.last == ("#1 child pack ()", "#2 send cancel  None to ", "#3 activity go on()")
    assert story.child_ends("pack", failed("cancelled")) == ()
    assert story.returns("go on") == ("complete True",)
    story.replays()


def test_cancelling_the_run_stops_the_child_first() -> None:
    async def code(ctx: Ctx) -> Any:
        try:
            await ctx.child("pack")
        finally:
            await ctx.activity("clean up")

    story = Story(code)
    assert story.is_cancelled() == ("#2 send cancel  None to ",)
    assert story.child_ends("pack", failed("cancelled")) == ("#3 activity clean up()",)
    assert story.returns("clean up") == ("stop",)
    story.replays()


def test_a_child_that_is_kept_may_end_unseen() -> None:
    async def code(ctx: Ctx) -> Any:
        ctx.child("pack", kept=True)
        ctx.child("ship", kept=True)
        return await ctx.activity("rest")

    story = Story(code)
    assert story.child_ends("pack", 1) == ()
    assert story.returns("rest", "done") == ("complete 'done'",)  # nothing is said of the other
    story.replays()


def test_a_child_nobody_awaits_is_told_of() -> None:
    async def code(ctx: Ctx) -> Any:
        ctx.child("pack")

    (_, said, _) = Story(code).last
    assert said.startswith("say child 'pack', asked for at test_children.py:")
    assert "was still pending when the workflow returned" in said


def test_a_failure_nobody_looks_at_is_told_of() -> None:
    async def code(ctx: Ctx) -> Any:
        ctx.child("pack", kept=True)
        await ctx.activity("rest")

    story = Story(code)
    story.child_ends("pack", failed())
    said, _ = story.returns("rest")
    assert "child 'pack'" in said and "nobody looked" in said


def test_a_refusal_fails_the_child_and_the_run_by_its_position() -> None:
    async def code(ctx: Ctx) -> Any:
        await ctx.child("pack", id="taken")

    story = Story(code)
    error = ChildRefused(id="taken", workflow="pack", status="refused", message="it is taken")
    assert story.is_refused(1, error) == ("fail ChildRefused at 1",)
    story.replays()


def test_a_child_with_other_arguments_is_a_divergence() -> None:
    async def before(ctx: Ctx) -> Any:
        await ctx.child("pack", 1)

    async def after(ctx: Ctx) -> Any:
        await ctx.child("pack", 2)

    story = Story(before)
    story.child_ends("pack")
    replayer = fresh(after)
    asked = replayer.feed(story.journal[0].event)
    with pytest.raises(Divergence, match=r"the result of child 'pack'.*with other arguments"):
        replayer.feed(story.journal[1].event)
    spawns = [each for each in asked if isinstance(each, commands.Spawn)]
    with pytest.raises(Divergence, match="child 'pack'"):
        divergence.check_effects(0, b"another", list(spawns))


def test_a_turn_starts_no_more_children_than_can_be_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(children, "BIRTHS_MAX", 3)
    monkeypatch.setattr(children, "NAMED_MAX", 2)

    async def many(ctx: Ctx, count: int, id: str = "") -> str:
        for _ in range(2):
            for n in range(count):
                ctx.child("pack", n, id=id and id + str(n), kept=True)
            await ctx.activity("next turn")
        return "fits"

    story = Story(lambda ctx: many(ctx, 3))
    story.returns("next turn")
    assert story.returns("next turn") == ("complete 'fits'",)
    for told in (Story(lambda ctx: many(ctx, 4)), Story(lambda ctx: many(ctx, 3, "c"))):
        assert told.last[-1] == f"fail {InvalidCall.__name__} at None"


def test_a_run_goes_on_as_a_new_one_with_what_nobody_has_read() -> None:
    async def code(ctx: Ctx) -> Any:
        try:
            kept = ctx.receive("a")  # answered, and nobody has looked
            assert await ctx.receive("b") == 1
            await ctx.activity("work")
            assert kept.done()
            ctx.continue_as_new("with", 2)
        finally:
            await ctx.activity("clean up")

    story = Story(code)
    story.gets("b", 1)
    for name in ("a", "b", "a"):
        story.gets(name, 0)
    assert story.returns("work") == ("#4 activity clean up()",)
    assert story.returns("clean up") == ("continue ('with', 2) with [2, 3, 4]",)
    story.replays()


def test_a_group_around_it_does_not_hide_that_a_run_goes_on() -> None:
    async def code(ctx: Ctx) -> Any:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.sleep(5))
            ctx.continue_as_new()

    assert Story(code).last[-1] == "continue () with []"
