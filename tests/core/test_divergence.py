"""How a difference between code and journal is told: what it is, why it may be, what to do."""

from __future__ import annotations

import asyncio

import pytest

from durable._core import events
from durable._core.children import Continued
from durable.errors import DIFFERENCES, Divergence
from tests.core.story import START, Code, Ctx, Story, fresh


async def charges_and_ships(ctx: Ctx) -> None:
    await ctx.activity("charge", 5)
    await ctx.activity("ship")


async def ships_first(ctx: Ctx) -> None:
    await ctx.activity("ship")
    await ctx.activity("charge", 5)


async def charges_more(ctx: Ctx) -> None:
    await ctx.activity("charge", 6)


async def sleeps_first(ctx: Ctx) -> None:
    await ctx.sleep(5)


async def waits_for_a_signal(ctx: Ctx) -> None:
    await ctx.receive("go")


async def returns(ctx: Ctx) -> None:
    return None


async def raises(ctx: Ctx) -> None:
    raise ValueError("no")


async def goes_on_anew(ctx: Ctx) -> None:
    raise Continued(())


async def charges_by_another_name(ctx: Ctx) -> None:
    await ctx.activity("pay", 5)


@pytest.mark.parametrize(
    ("code", "kind", "asked"),
    [
        (ships_first, "step", "activity 'ship' (op 1)"),
        (charges_more, "arguments", "activity 'charge' (op 1)"),
        (sleeps_first, "step", "a timer (op 1) due at 2026-01-01 00:00:05.000000"),
        (waits_for_a_signal, "step", "a signal 'go' (op 1)"),
        (charges_by_another_name, "name", "activity 'pay' (op 1)"),
        (returns, "over", "nothing: it has returned already"),
        (raises, "over", "nothing: it has failed already, with ValueError('no')"),
        (goes_on_anew, "over", "nothing: it has begun anew already"),
    ],
)
def test_an_answer_that_the_code_does_not_ask_for(code: Code, kind: str, asked: str) -> None:
    story = Story(charges_and_ships)
    story.returns("charge")
    with pytest.raises(Divergence) as caught:
        story.goes_on_with(code)
    told = caught.value
    assert (told.position, told.kind, told.asked) == (1, kind, asked)
    assert told.recorded.startswith("the result of activity 'charge' (op 1)")
    assert (told.cause, told.advice) == DIFFERENCES[kind]
    assert f"Likely cause: {told.cause}.\nWhat to do: {told.advice}." in str(told)


def test_a_sleep_of_another_length() -> None:
    async def longer(ctx: Ctx) -> None:
        await ctx.sleep(6)

    story = Story(sleeps_first)
    story.time_comes()
    with pytest.raises(Divergence, match="due at 2026-01-01 00:00:05") as caught:
        story.goes_on_with(longer)
    assert caught.value.kind == "time"


def test_a_step_that_is_gone() -> None:
    async def both(ctx: Ctx) -> None:
        await asyncio.gather(ctx.activity("a"), ctx.activity("b"))

    async def one(ctx: Ctx) -> None:
        await ctx.activity("a")

    story = Story(both)
    story.returns("b")
    with pytest.raises(Divergence, match="nothing under op 2 at this point") as caught:
        story.goes_on_with(one)
    assert caught.value.kind == "gone"
    assert caught.value.site is None


def test_news_for_nobody_and_a_second_start() -> None:
    replayer = fresh(returns)
    with pytest.raises(Divergence, match="it has not begun") as caught:
        replayer.feed(events.CancelRequested(0, START))
    assert caught.value.kind == "journal"
    replayer.feed(events.Started(0, START))
    with pytest.raises(Divergence, match="it has already begun"):
        replayer.feed(events.Started(1, START))


def test_the_line_that_asked_then_and_the_line_where_the_code_stands_now() -> None:
    told = Divergence(position=3, recorded="a", asked="nothing", kind="gone")
    seen = told.seen("shop.py:12", "activity 'ship' (op 3)", "shop.py:14")
    assert "holds a, asked for at shop.py:12; but" in str(seen)
    assert "for nothing; it waits for activity 'ship' (op 3) at shop.py:14." in str(seen)
    assert (seen.recorded_at, seen.site, seen.kind) == ("shop.py:12", "shop.py:14", "gone")
    own = Divergence(position=3, recorded="a", asked="b", site="shop.py:13")
    assert own.seen(None, "c", "shop.py:14").site == "shop.py:13"


def test_a_turn_is_told_by_its_event_and_a_fork_by_its_run() -> None:
    sent = Divergence(position=3, recorded="a turn that sent nothing", asked="a", kind="sent")
    seen = sent.seen("shop.py:12", None, None, event="activity 'pay'", whose="order-1 shop")
    assert "sent nothing, after activity 'pay' of shop.py:12; but the code" in str(seen)
    assert str(seen).endswith(": durable fork order-1 shop --at 3")
    over = Divergence(position=3, recorded="a", asked="b", kind="over")
    assert "durable fork" not in str(over), "no code could go on from there"


def test_a_cause_and_an_advice_are_parts_of_sentences() -> None:
    for cause, advice in DIFFERENCES.values():
        assert not cause.endswith(".")
        assert not advice.endswith(".")
        assert (cause + advice)[0].islower()
