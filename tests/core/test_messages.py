"""Stories of messages: what comes, who takes it, and what goes back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from durable._core import commands, divergence, events
from durable.errors import DecodeError, Divergence
from tests.core.story import Ctx, Story, close_all


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_all()


def test_a_message_answers_the_receipt_that_waits() -> None:
    async def code(ctx: Ctx) -> Any:
        return await ctx.receive("shipped")

    story = Story(code)
    assert story.last == ("#1 receive shipped",)
    assert [type(each) for each in story.replayer.open.values()] == [commands.Receive]
    assert story.gets("shipped", 7) == ("complete 7",)
    story.replays()


def test_messages_wait_for_who_asks_and_come_in_order() -> None:
    async def code(ctx: Ctx) -> Any:
        await ctx.activity("pack")
        return [await ctx.receive("a"), await ctx.receive("b"), await ctx.receive("a")]

    story = Story(code)
    assert story.gets("a", 1) == ()
    assert story.gets("a", 2) == ()
    assert story.returns("pack") == ("#2 receive a", "#3 receive b")
    assert story.gets("b", 3) == ("#4 receive a", "complete [1, 3, 2]")
    story.replays()


def test_receipts_are_answered_in_the_order_in_which_they_were_asked_for() -> None:
    async def code(ctx: Ctx) -> Any:
        return await asyncio.gather(*(ctx.receive("a") for _ in range(3)))

    story = Story(code)
    for value in range(3):
        story.gets("a", value)
    assert story.last == ("complete [0, 1, 2]",)
    story.replays()


def test_a_receipt_that_timed_out_takes_nothing() -> None:
    async def code(ctx: Ctx) -> Any:
        try:
            async with asyncio.timeout(5):
                await ctx.receive("a")
        except TimeoutError:
            await ctx.activity("remind")
        return await ctx.receive("a")

    story = Story(code)
    assert story.last == ("#1 wait 5", "#2 receive a")
    assert story.time_comes() == ("#2 drop", "#3 activity remind()")
    assert story.gets("a", 1) == ()
    assert story.returns("remind") == ("#4 receive a", "complete 1")
    story.replays()


@pytest.mark.parametrize("ends", ["returns", "goes on"])
def test_a_message_that_the_code_never_asks_for_is_told_of_at_the_end(ends: str) -> None:
    async def code(ctx: Ctx) -> Any:
        await ctx.receive("a")
        if ends == "goes on":
            ctx.continue_as_new()

    story = Story(code)
    story.gets("foreign", 1)
    told = ("say signal 'foreign' was sent to this run, whose code never asked for it",)
    assert story.gets("a", 2)[:-1] == (told if ends == "returns" else ())
    story.replays()


@pytest.mark.parametrize("grouped", [False, True])
def test_a_message_whose_receipt_is_cancelled_in_its_turn_goes_back(grouped: bool) -> None:
    async def code(ctx: Ctx) -> Any:
        receipt = ctx.receive("a")

        async def takes() -> Any:
            return await (asyncio.gather(receipt, ctx.receive("b")) if grouped else receipt)

        receipt.add_done_callback(lambda _: task.cancel())  # runs before who awaits it
        task = asyncio.create_task(takes())
        await asyncio.wait([task])
        return [task.cancelled(), await ctx.receive("a"), await ctx.receive("a")]

    story = Story(code)
    story.gets("a", 1)
    assert story.gets("a", 2) == ("complete [True, 1, 2]",)
    story.replays()


def test_a_message_goes_back_from_a_task_that_is_cancelled_before_it_begins() -> None:
    async def code(ctx: Ctx) -> Any:
        await ctx.receive("go")
        tasks = [asyncio.create_task(ctx.receive("a")) for _ in range(2)]
        for each in tasks:
            each.cancel()
        await asyncio.wait(tasks)
        return [await ctx.receive("a"), await ctx.receive("a")]

    story = Story(code)
    story.gets("a", 1)
    story.gets("a", 2)
    assert story.gets("go")[-1] == "complete [1, 2]"
    story.replays()


def test_a_taken_message_does_not_go_back() -> None:
    async def code(ctx: Ctx) -> Any:
        receipt = ctx.receive("a")
        await receipt
        assert receipt.cancel() is False
        return await ctx.receive("a")

    story = Story(code)
    story.gets("a", 1)
    assert story.gets("a", 2) == ("complete 2",)
    story.replays()


def test_a_message_that_cannot_be_read_ends_the_turn_and_not_the_run() -> None:
    def read(value: object) -> object:
        raise DecodeError(expected="a number", why=f"it is {value!r}")

    async def code(ctx: Ctx) -> Any:
        try:
            await ctx.receive("a", read)
        finally:
            await ctx.activity("clean up")

    story = Story(code)
    with pytest.raises(DecodeError, match="a number"):
        story.gets("a", "text")


def test_what_is_sent_goes_with_its_turn_and_is_compared_on_replay() -> None:
    sent = "hello"

    async def code(ctx: Ctx) -> None:
        await ctx.activity("pack")
        ctx.send("other", "shipped", sent)
        ctx.send("third", "shipped", sent)

    story = Story(code)
    story.returns("pack")
    assert story.last == (
        "#2 send signal shipped 'hello' to other",
        "#3 send signal shipped 'hello' to third",
        "complete None",
    )
    story.replays()

    def turn() -> list[commands.Command]:
        fresh = Story(code).replayer
        command = fresh.open[1]
        assert isinstance(command, commands.Run)
        event = events.Answered(1, story.now, 1, "activity", "pack", command.digest, None)
        return fresh.feed(event)

    first = divergence.digest_of(e for e in turn() if isinstance(e, commands.Send))
    divergence.check_effects(1, first, turn())
    sent = "goodbye"
    with pytest.raises(Divergence, match="signal 'shipped' to run 'other'"):
        divergence.check_effects(1, first, turn())


def test_a_refusal_is_told_in_the_log() -> None:
    async def code(ctx: Ctx) -> None:
        ctx.send("nobody", "shipped", 1)
        await ctx.activity("pack")

    story = Story(code)
    asked = story.feed(events.Refused(1, story.now, 1, "there is no such run"))
    assert asked == ("say what was asked for by op 1 was refused: there is no such run",)
    story.replays()
