"""Runs that go on as new ones: nothing sent is lost or doubled on the way, and who knows the run
follows it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from durable import Client, Context, Durable, Signal, State, Status, workflow
from durable._runtime import instance
from durable.errors import InvalidCall
from tests.end_to_end.processes import until

number = Signal[int]("continuing.number")
word = Signal[str]("continuing.word")
rounds = State[int]("continuing.rounds")


@workflow(name="continuing.counts")
async def counts(ctx: Context, left: int, seen: list[int]) -> list[int]:
    """Takes three numbers per run, and looks at words only in the last."""
    ctx.set(rounds, left)
    seen += [await ctx.receive(number) for _ in range(3)]
    if left:
        ctx.continue_as_new(left - 1, seen)
    last = await ctx.receive(word)
    return [*seen, len(last)]


@workflow(name="continuing.in_a_group")
async def in_a_group(ctx: Context, left: int) -> str:
    if not left:
        return "done"
    async with asyncio.TaskGroup() as group:
        group.create_task(ctx.sleep(days=1))
        ctx.continue_as_new(left - 1)
    return "it does not come here"


@workflow(name="continuing.as_child")
async def as_child(ctx: Context, left: int) -> int:
    try:
        if left:
            ctx.continue_as_new(left - 1)
    except Exception:
        return -1
    return await ctx.receive(number)


@workflow(name="continuing.parent")
async def parent(ctx: Context) -> Any:
    child = await ctx.start_child(as_child, 3, id="heir")
    child.signal(number, 11)
    return await child.result()


@workflow(name="continuing.leaves")
async def leaves(ctx: Context, left: int) -> str:
    if left:
        await ctx.start_child(as_child, 0, id="left-behind")
        ctx.continue_as_new(0)
    return "gone on"


@workflow(name="continuing.wrongly")
async def wrongly(ctx: Context) -> str:
    try:
        ctx.continue_as_new("with", "arguments")
    except InvalidCall as error:
        return str(error)


@workflow(name="continuing.endless")
async def endless(ctx: Context, count: int) -> None:
    for _ in range(count):
        await ctx.receive(number)
    await ctx.receive(word)


SERVED: list[Any] = [counts, in_a_group, as_child, parent, leaves, wrongly, endless]


@pytest_asyncio.fixture
async def app(dsn: str, rehearsed: bool) -> AsyncIterator[Durable]:
    async with Durable(dsn, serve=SERVED) as app:
        yield app


async def test_messages_are_there_for_the_next_run_in_order_and_each_once(
    app: Durable, dsn: str
) -> None:
    handle = await app.start(counts, 2, [], id="counts", priority=1, deadline=3600)
    await handle.signal(word, "early")
    async with Client(dsn) as client:
        for n in range(9):
            await client.handle("counts").signal(number, n, key=str(n))
    assert await handle.result() == [*range(9), 5]
    run = await handle.describe()
    assert (run.status, run.priority, run.deadline is not None) == (Status.COMPLETED, 1, True)
    assert await app.handle("counts", counts).result() == [*range(9), 5]
    assert await handle.status() is Status.COMPLETED


async def test_what_was_sent_before_the_run_began_goes_along(dsn: str, app: Durable) -> None:
    handle = await app.start(counts, 1, [], id="early", delay=0.05)
    for n in range(7):
        await handle.signal(number, n)
    await handle.signal(word, "at last")
    assert await handle.result() == [0, 1, 2, 3, 4, 5, 7]


async def test_states_and_handles_follow_the_run(app: Durable) -> None:
    handle = await app.start(counts, 2, [], id="followed")
    for n in range(3):
        await handle.signal(number, n)

    async def has_gone_on() -> bool:
        return await handle.state(rounds) == 1

    await until(has_gone_on)
    for n in range(3, 6):
        await handle.signal(number, n)  # by the handle of the first run
    await handle.cancel()
    with pytest.raises(Exception, match="cancelled"):
        await handle.result()


async def test_a_group_does_not_hold_the_run_back(app: Durable) -> None:
    assert await app.run(in_a_group, 2, id="group") == "done"


async def test_a_child_that_goes_on_answers_its_parent_in_the_end(app: Durable) -> None:
    assert await app.run(parent) == 11


async def test_children_are_not_taken_along(app: Durable) -> None:
    assert await app.run(leaves, 1) == "gone on"

    async def stopped() -> bool:
        return await app.handle("left-behind").status() is Status.CANCELLED

    await until(stopped)


async def test_arguments_that_do_not_fit_are_refused_before_anything_is_done(app: Durable) -> None:
    assert "wrongly" in await app.run(wrongly)


async def test_a_long_journal_is_told_of_with_its_line(
    app: Durable, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instance, "LONG_FROM", 10)
    handle = await app.start(endless, 25, id="endless")
    with caplog.at_level(logging.WARNING):
        for n in range(15):
            await handle.signal(number, n)

        async def is_told() -> bool:
            return "events, at" in caplog.text

        await until(is_told)
        for n in range(15, 25):
            await handle.signal(number, n)
        await handle.signal(word, "enough")
        await handle.result()
    told = [each.getMessage() for each in caplog.records if "events, at" in each.getMessage()]
    assert told and all("test_continuing.py:" in each for each in told)
    assert len(told) <= 2, "as it reaches ten, and twenty, however often it is loaded"
