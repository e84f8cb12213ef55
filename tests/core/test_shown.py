"""What a workflow publishes goes with its turn; what it promises is answered by others."""

from __future__ import annotations

import asyncio

import pytest

from durable._core import divergence, events
from durable.errors import Divergence

from .story import SEED, START, Ctx, Story, fresh

assert SEED


def test_what_is_published_is_part_of_the_turn() -> None:
    async def code(ctx: Ctx) -> None:
        ctx.publish("log", "a")
        ctx.publish("log", "b")
        await ctx.activity("work")
        ctx.publish("log", "c")

    story = Story(code)
    assert story.last == ("#1 publish stream log 'a'", "#2 publish stream log 'b'",
                          "#3 activity work()")  # fmt: skip
    assert story.returns("work") == ("#4 publish stream log 'c'", "complete None")
    story.replays()


def test_a_turn_shows_no_more_than_its_limit() -> None:
    fits: list[bool] = []

    async def code(ctx: Ctx) -> None:
        fits.append(ctx.publish("log", "a", size=10))
        fits.append(ctx.publish("log", "b", size=1))
        await ctx.sleep(1)
        fits.append(ctx.publish("log", "c", size=9))

    story = Story(code)
    story.time_comes()
    assert fits == [True, False, True]
    assert story.last == ("#4 publish stream log 'c'", "complete None")


def test_other_words_are_no_divergence_but_another_stream_is() -> None:
    def asked(name: str, value: str) -> bytes | None:
        async def code(ctx: Ctx) -> None:
            ctx.publish(name, value)
            await ctx.sleep(1)

        effects = fresh(code).feed(events.Started(0, START))
        recorded = divergence.digest_of(each for each in effects if hasattr(each, "value"))  # type: ignore[misc]
        divergence.check_effects(0, recorded, effects)
        with pytest.raises(Divergence, match="a value for stream"):
            divergence.check_effects(0, b"other", effects)
        return recorded

    assert asked("log", "step 1") == asked("log", "first step")
    assert asked("log", "a") != asked("tokens", "a")


def test_a_promise_is_answered_by_its_op() -> None:
    async def code(ctx: Ctx) -> object:
        first, second = ctx.promise("a"), ctx.promise("b")
        return await asyncio.gather(first, second)

    story = Story(code)
    assert story.last == ("#1 promise a", "#2 promise b")
    assert story.is_answered("b", 2) == ()
    assert story.is_answered("a", 1) == ("complete [1, 2]",)
    story.replays()


def test_a_rejection_is_raised_and_the_run_may_fail_with_it() -> None:
    async def code(ctx: Ctx) -> None:
        await ctx.promise("a")

    story = Story(code)
    assert story.is_answered("a", ValueError("no")) == ("fail ValueError at 1",)
    story.replays()


def test_a_promise_that_is_given_up_is_open_no_more() -> None:
    async def code(ctx: Ctx) -> str:
        try:
            async with asyncio.timeout(60):
                await ctx.promise("a")
        except TimeoutError:
            return "too late"
        return "in time"

    story = Story(code)
    assert story.time_comes() == ("#2 drop", "complete 'too late'")
    assert story.replayer.open == {}
    story.replays()


def test_a_promise_nobody_awaits_is_named_at_the_end() -> None:
    async def code(ctx: Ctx) -> None:
        ctx.promise("a")

    said, dropped, ended = Story(code).last[1:]
    assert "promise 'a'" in said and "still pending" in said
    assert (dropped, ended) == ("#1 drop", "complete None")


def test_an_answer_to_what_is_no_promise_is_told() -> None:
    async def code(ctx: Ctx) -> None:
        await ctx.activity("a")

    story = Story(code)
    with pytest.raises(Divergence, match="the answer to promise 'a'"):
        story.feed(events.Answered(1, START, 1, "promise", "a", b"", True))
