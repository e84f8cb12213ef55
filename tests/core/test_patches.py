"""Code that was changed while runs of it were open: which way each turn goes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable._core import commands
from durable._core.patches import PATCHES_MAX
from durable._core.updates import STILL
from durable.errors import Divergence, InvalidCall
from tests.core.story import Ctx, Story, told


async def old(ctx: Ctx) -> None:
    await ctx.activity("charge")
    await ctx.activity("ship")


async def new(ctx: Ctx) -> None:
    await ctx.activity("charge")
    if ctx.patched("mail"):
        await ctx.activity("mail")
    await ctx.activity("ship")


async def retired(ctx: Ctx) -> None:
    await ctx.activity("charge")
    ctx.retire_patch("mail")
    await ctx.activity("mail")
    await ctx.activity("ship")


async def cleaned(ctx: Ctx) -> None:
    await ctx.activity("charge")
    await ctx.activity("mail")
    await ctx.activity("ship")


def test_a_run_that_has_not_come_so_far_goes_the_new_way() -> None:
    story = Story(old)
    story.goes_on_with(new)
    assert story.returns("charge") == ("patched mail", "#2 activity mail()")
    story.replays()


def test_a_run_that_has_passed_goes_the_old_way_and_again_so_after_each_restart() -> None:
    story = Story(old)
    story.returns("charge")
    story.goes_on_with(new)
    story.goes_on_with(new)
    assert story.returns("ship") == ("complete None",)


def test_the_row_of_the_turn_that_asks_carries_the_id_and_no_other() -> None:
    story = Story(new)
    story.returns("charge")
    story.returns("mail")
    assert [turn.patches for turn in story.journal] == [[], ["mail"], []]


def test_an_id_is_carried_once_however_often_a_turn_asks() -> None:
    async def asking(ctx: Ctx) -> list[bool]:
        return [ctx.patched("a"), ctx.patched("b"), ctx.patched("a")]

    story = Story(asking)
    assert story.last == ("patched a", "patched b", "complete [True, True, True]")
    story.replays()


def test_a_loop_takes_the_new_way_from_its_next_round_on() -> None:
    async def before(ctx: Ctx) -> None:
        for _ in range(3):
            await ctx.activity("poll")

    async def after(ctx: Ctx) -> None:
        for _ in range(3):
            await ctx.activity("poll")
            if ctx.patched("rest"):
                await ctx.sleep(60)

    story = Story(before)
    story.returns("poll")
    story.goes_on_with(after)
    assert story.returns("poll") == ("patched rest", "#3 wait 60")
    story.goes_on_with(after)
    assert story.time_comes() == ("#4 activity poll()",)
    story.goes_on_with(after)


def test_parallel_tasks_ask_in_turns_of_their_own() -> None:
    async def both(ctx: Ctx) -> list[bool]:
        async def one(name: str) -> bool:
            await ctx.activity(name)
            return ctx.patched("x")

        return list(await asyncio.gather(one("a"), one("b")))

    async def before(ctx: Ctx) -> None:
        await asyncio.gather(ctx.activity("a"), ctx.activity("b"))

    story = Story(before)
    story.returns("b")
    story.goes_on_with(both)
    assert story.returns("a") == ("patched x", "complete [True, False]")
    story.goes_on_with(both)


def test_asked_in_the_first_turn_the_start_carries_it() -> None:
    async def asking(ctx: Ctx) -> bool:
        return ctx.patched("x")

    story = Story(asking)
    assert story.journal[0].patches == ["x"]
    story.replays()


def test_an_id_that_nobody_asks_for_is_a_divergence() -> None:
    story = Story(new)
    story.returns("charge")
    with pytest.raises(Divergence, match="the way of patch 'mail'") as caught:
        story.goes_on_with(cleaned)
    assert caught.value.position == 1


def test_a_change_without_a_patch_that_asks_for_the_same_is_found_when_it_is_rolled_back() -> None:
    async def priced(ctx: Ctx) -> int:
        price = 2 if ctx.patched("price") else 1
        await ctx.activity("charge")
        return price

    async def cheap(ctx: Ctx) -> int:
        await ctx.activity("charge")
        return 1

    story = Story(priced)
    with pytest.raises(Divergence, match="patch 'price'"):
        story.goes_on_with(cheap)


def test_a_retired_patch_goes_the_new_way_and_may_have_been_asked_for() -> None:
    story = Story(new)
    story.returns("charge")
    story.goes_on_with(retired)
    assert story.returns("mail") == ("#3 activity ship()",)


def test_what_a_retiring_turn_has_recorded_needs_nobody_who_asks() -> None:
    story = Story(retired)
    assert story.returns("charge") == ("patched ~mail", "#2 activity mail()")
    story.goes_on_with(cleaned)
    assert story.returns("mail") == ("#3 activity ship()",)


def test_code_that_still_asks_goes_on_after_code_that_has_retired_the_patch() -> None:
    """In a rolling deploy both are there, and a run may come back to the older one."""
    story = Story(retired)
    story.returns("charge")
    story.goes_on_with(new)
    assert story.returns("mail") == ("#3 activity ship()",)
    story.goes_on_with(retired)


def test_retired_at_the_top_the_whole_run_goes_the_new_way() -> None:
    async def topped(ctx: Ctx) -> None:
        ctx.retire_patch("mail")
        await cleaned(ctx)

    story = Story(topped)
    story.returns("charge")
    story.goes_on_with(new)
    story.returns("mail")
    story = Story(new)
    story.returns("charge")
    story.goes_on_with(topped)


def test_an_id_stands_for_one_change() -> None:
    async def confused(ctx: Ctx) -> None:
        ctx.retire_patch("x")
        ctx.patched("x")

    assert Story(confused).last == ("patched ~x", "fail InvalidCall at None")


def test_ids_made_of_values_are_refused_before_a_row_is_full_of_them() -> None:
    async def many(ctx: Ctx) -> int:
        n = 0
        try:
            for n in range(2 * PATCHES_MAX):
                ctx.patched(f"x{n}")
        except InvalidCall:
            return n
        return -1

    assert Story(many).last[-1] == f"complete {PATCHES_MAX}"


def test_a_query_and_the_check_of_an_update_cannot_ask() -> None:
    async def code(ctx: Ctx) -> None:
        ctx.replayer.updates.answer("way", lambda: ctx.patched("x"))
        await ctx.receive("end")

    story = Story(code)
    with pytest.raises(InvalidCall, match=STILL[:40]):
        story.replayer.updates.ask("way")

    async def checked(ctx: Ctx) -> None:
        async def add(value: Any) -> None:
            return None

        def is_new(value: Any) -> None:
            ctx.patched("x")

        ctx.on("add", add, check=is_new)
        await ctx.receive("end")

    story = Story(checked)
    (line,) = story.is_asked("add", 1)
    assert "rejected" in line
    assert STILL[:20] in line


def test_who_only_asks_and_yields_for_ever_makes_no_progress() -> None:
    async def circling(ctx: Ctx) -> None:
        while ctx.patched("x"):
            await asyncio.sleep(0)

    with pytest.raises(Divergence, match="only yield to each other"):
        Story(circling)


def test_clean_up_in_a_run_that_is_put_away_may_ask() -> None:
    asked: list[bool] = []

    async def code(ctx: Ctx) -> None:
        try:
            await ctx.activity("a")
        finally:
            asked.append(ctx.patched("x"))

    story = Story(code)
    story.replayer.close()
    assert asked == [True]


def test_a_patch_is_no_effect_of_its_turn() -> None:
    """What a turn sends is compared by a digest, which a patch does not change."""
    assert told(commands.Patched("x")) == "patched x"
    assert not isinstance(commands.Patched("x"), commands.Effect)
