"""What runs show, in virtual time: who reads lets it pass."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

import durable
from durable import Context, State, Stream, activity, workflow
from durable.testing import Environment, Stalled

days = State[int]("shown.days")
diary = Stream[str]("shown.diary")


@activity(name="shown.writes")
async def writes(words: list[str]) -> None:
    for word in words:
        durable.attempt().publish(diary, word)
        await asyncio.sleep(0)


@workflow(name="shown.month")
async def month(ctx: Context) -> str:
    for day in range(30):
        ctx.set(days, day + 1)
        ctx.publish(diary, f"day {day + 1}")
        await ctx.sleep(days=1)
    await ctx.activity(writes, ["the", "end"])
    return "over"


@workflow(name="shown.waits")
async def waits(ctx: Context) -> bool:
    ctx.publish(diary, "asked")
    return await ctx.promise(bool, name="approval")


@workflow(name="shown.goes_on")
async def goes_on(ctx: Context, part: int) -> None:
    ctx.publish(diary, f"part {part}")
    await ctx.sleep(days=1)
    if part < 3:
        ctx.continue_as_new(part + 1)
    ctx.set(days, part)


async def test_runs_that_go_on_as_new_ones_are_one_stream(env: Environment) -> None:
    handle = await env.start(goes_on, 0)
    for after in range(4):
        read = [item.value async for item in handle.stream(diary, after=after)]
        assert read == [f"part {n}" for n in range(after, 4)]
    assert await handle.state(days) == 3


async def test_a_month_is_read_in_a_moment(env: Environment) -> None:
    handle = await env.start(month)
    read = [item.value async for item in handle.stream(diary)]
    assert read == [*(f"day {n + 1}" for n in range(30)), "the", "end"]
    assert await handle.state(days) == 30
    assert await handle.result() == "over"


async def test_changes_come_as_the_days_go_by(env: Environment) -> None:
    handle = await env.start(month)
    began = env.now()
    async for day in handle.changes(days):
        if day == 10:
            break
    assert 9 <= (env.now() - began).days <= 10


async def test_what_never_comes_is_given_up_in_words(make: Callable[..., Environment]) -> None:
    async with make(patience=0.05) as env:
        handle = await env.start(waits)
        with pytest.raises(Stalled, match="promise 'approval'"):
            async for item in handle.stream(diary):
                assert item.value == "asked"
