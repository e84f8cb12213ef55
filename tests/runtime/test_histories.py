"""What recovery holds in memory: a page of histories, however many runs come back at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from durable import Context, Durable, Signal, activity, workflow
from durable._runtime.instance import Instance
from durable._store.postgres import journal
from durable.testing import History, replay

RUNS, STEPS, PAGE = 10, 20, 25

opened = asyncio.Event()


@activity
async def one_of_many(n: int) -> int:
    return n + 1


@activity
async def waits_for_the_door() -> None:
    await opened.wait()


@workflow
async def many_steps_then_waits(ctx: Context) -> int:
    n = 0
    for _ in range(STEPS):
        n = await ctx.activity(one_of_many, n)
    await ctx.activity(waits_for_the_door)
    return n


@pytest.mark.once
async def test_histories_of_many_runs_are_replayed_page_by_page(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened.clear()
    async with Durable(dsn, serve=[many_steps_then_waits], grace=0) as app:
        handles = [await app.start(many_steps_then_waits) for _ in range(RUNS)]
        while min([(await each.describe()).events for each in handles]) <= STEPS:
            await asyncio.sleep(0.01)

    held, most, replayed = 0, 0, 0
    pages, replay = journal.Journal.pages, Instance.replay

    async def counted(self: journal.Journal, wanted: Any) -> AsyncIterator[list[Any]]:
        nonlocal held, most
        async for page in pages(self, wanted):
            held += len(page)
            most = max(most, held)
            yield page

    def fed(self: Instance, history: list[Any]) -> None:
        nonlocal held, replayed
        held -= len(history)
        replayed += len(history)
        replay(self, history)

    monkeypatch.setattr(journal, "PAGE_ROWS", PAGE)
    monkeypatch.setattr(journal.Journal, "pages", counted)
    monkeypatch.setattr(Instance, "replay", fed)
    opened.set()
    async with Durable(dsn, serve=[many_steps_then_waits]) as app:
        results = [await app.handle(each.id, many_steps_then_waits).result() for each in handles]

    assert results == [STEPS] * RUNS
    assert replayed >= RUNS * (STEPS + 1)
    assert most <= PAGE + STEPS + 2  # and what is left of one run


go = Signal[None]("histories/go")


@activity(record_start=True)
async def stays_under_way() -> None:
    await opened.wait()


@workflow
async def begins_when_told(ctx: Context) -> None:
    await ctx.receive(go)
    await ctx.activity(stays_under_way)


@pytest.mark.once
async def test_what_began_since_a_run_was_looked_at_is_no_part_of_its_history(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened.clear()
    async with Durable(dsn, serve=[begins_when_told], grace=0) as app:
        handle = await app.start(begins_when_told, id="a")
        while (await handle.describe()).events < 1:
            await asyncio.sleep(0.01)
        recorded = app.store.listing.recorded

        async def and_then_it_goes_on(runs: Any) -> Any:
            found = await recorded(runs)
            await handle.signal(go)
            while not (await app.store.journal.notes(runs))[runs[0]]:
                await asyncio.sleep(0.01)
            return found

        monkeypatch.setattr(app.store.listing, "recorded", and_then_it_goes_on)
        history = await History.of(app, "a")
        assert replay(history).waits_for == "a signal 'histories/go' (op 1)"
        monkeypatch.undo()
        assert len((await History.of(app, "a")).notes) == 1
        opened.set()
        await handle.result()
