"""Cancellation as the code sees it: clean-up, shields, scopes, and a second cancel."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio

from .story import Ctx, Story


def test_a_second_cancel_interrupts_the_clean_up() -> None:
    async def careful(ctx: Ctx) -> None:
        try:
            await ctx.activity("work")
        finally:
            try:
                await ctx.activity("clean up")
            finally:
                await ctx.activity("leave")

    story = Story(careful)
    assert story.is_cancelled() == ("#1 drop", "#2 activity clean up()")
    assert story.is_cancelled() == ("#2 drop", "#3 activity leave()")
    assert story.returns("leave") == ("stop",)
    story.replays()


def test_what_is_shielded_in_the_clean_up_goes_on_through_a_second_cancel() -> None:
    async def careful(ctx: Ctx) -> None:
        try:
            await ctx.activity("work")
        finally:
            undo = ctx.activity("clean up")
            try:
                await asyncio.shield(undo)
            except asyncio.CancelledError:
                await undo

    story = Story(careful)
    assert story.is_cancelled() == ("#1 drop", "#2 activity clean up()")
    assert story.is_cancelled() == ()
    assert story.returns("clean up") == ("stop",)
    story.replays()


def test_a_cancel_that_is_caught_is_no_end() -> None:
    async def stubborn(ctx: Ctx) -> Any:
        try:
            await ctx.activity("work")
        except asyncio.CancelledError:
            return await ctx.activity("instead")

    story = Story(stubborn)
    assert story.is_cancelled() == ("#1 drop", "#2 activity instead()")
    assert story.returns("instead", "kept") == ("complete 'kept'",)
    story.replays()


def test_a_cancel_reaches_into_anyio_s_groups_and_leaves_a_shielded_scope_to_finish() -> None:
    async def careful(ctx: Ctx) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: ctx.activity("beside"))
            try:
                await ctx.activity("work")
            finally:
                with anyio.CancelScope(shield=True):
                    await ctx.activity("clean up")

    story = Story(careful)
    asked = story.is_cancelled()
    assert "#3 activity clean up()" in asked
    assert story.returns("clean up")[-1] == "stop"
    story.replays()
