"""Code that is not deterministic fails in its first test, and says where it went another way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from durable import Context, RunStuck, activity, workflow
from durable.errors import InvalidCall
from durable.testing import Environment

runs: list[str] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    runs.clear()


@activity(name="testing/note")
async def note(what: str) -> str:
    return what


@workflow(name="testing/counts_its_runs")
async def counts_its_runs(ctx: Context) -> int:
    runs.append(ctx.id)
    await ctx.activity(note, f"run {len(runs)}")
    return await ctx.activity(lasts, len(runs))


@activity(name="testing/lasts")
async def lasts(number: int) -> int:
    return number


@workflow(name="testing/changes_its_mind")
async def changes_its_mind(ctx: Context) -> None:
    runs.append(ctx.id)
    if len(runs) % 2:
        await ctx.activity(note, "odd")
    else:
        await ctx.sleep(days=1)


@workflow(name="testing/steady")
async def steady(ctx: Context) -> list[str]:
    runs.append(ctx.id)
    both = await asyncio.gather(ctx.activity(note, "a"), ctx.activity(note, "b"))
    try:
        await ctx.sleep(1)
        await ctx.sleep(days=1)
    finally:
        runs.append("clean-up")
    return [*both, str(ctx.uuid4())[14]]


async def test_what_changes_from_run_to_run_is_stuck_with_the_difference(env: Environment) -> None:
    with pytest.raises(RunStuck, match="run again from its journal of 1 events") as caught:
        await env.run(changes_its_mind)
    assert "activity 'testing/note'" in caught.value.report
    assert "test_replay.py:" in caught.value.report


async def test_other_arguments_are_a_difference_too(env: Environment) -> None:
    with pytest.raises(RunStuck, match="A workflow must do the same each time"):
        await env.run(counts_its_runs)


async def test_never_keeps_runs_in_memory(make: Callable[..., Environment]) -> None:
    async with make(replay="never") as env:
        assert await env.run(counts_its_runs) == 1
        assert len(runs) == 1


async def test_what_is_deterministic_is_run_again_after_every_turn(env: Environment) -> None:
    assert await env.run(steady) == ["a", "b", "4"]
    assert runs.count("clean-up") > 1, "a run that is thrown out cleans up, and changes nothing"
    assert len(env.calls(note)) == 2


async def test_only_these_modes_are_known() -> None:
    with pytest.raises(InvalidCall, match="replay is 'always' or 'never'"):
        Environment(replay="sometimes")  # type: ignore[arg-type]
    with pytest.raises(InvalidCall, match="time is 'auto' or 'manual'"):
        Environment(time="real")  # type: ignore[arg-type]
