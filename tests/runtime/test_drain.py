"""Leaving the block, whatever holds the database."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from durable import Context, Durable, activity, workflow
from durable._runtime import worker


@activity
async def waits_for_a_go(name: str) -> str:
    await gates[name].wait()
    return name


gates: dict[str, asyncio.Event] = {}


@workflow
async def gated(ctx: Context, name: str) -> str:
    return await ctx.activity(waits_for_a_go, name)


async def test_a_turn_that_waits_for_a_stranger_does_not_outlive_its_worker(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "WRITE_SECONDS", 0.3)
    gates["a"] = asyncio.Event()
    before = asyncio.all_tasks()
    stranger: asyncpg.Connection[Any] = await asyncpg.connect(dsn)
    async with Durable(dsn, serve=[gated], grace=0) as app:
        await app.start(gated, "a", id="a")
        transaction = stranger.transaction()
        await transaction.start()
        await stranger.execute("select from durable.run where id = 'a' for update")
        gates["a"].set()
        live = app._worker
        assert live is not None
        async with asyncio.timeout(20):
            while not live.committer._aside:
                await asyncio.sleep(0.005)
    assert asyncio.all_tasks() == before
    await transaction.rollback()
    await stranger.close()
    async with Durable(dsn, serve=[gated]) as app:
        assert await app.handle("a", gated).result() == "a"
