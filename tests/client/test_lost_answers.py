"""The connection breaks while a run is begun anew: it begins once, and its handle comes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from durable import Client, Context, workflow
from durable.testing import History
from tests.proof.proxy import Link, Parted, Point, Proxy


@workflow(name="lost_answers/waits")
async def waits(ctx: Context) -> None:
    await ctx.sleep(3600)


@pytest_asyncio.fixture
async def proxy(dsn: str) -> AsyncIterator[Proxy]:
    async with Proxy(dsn) as proxy:
        yield proxy


async def cut(_: Link) -> None:
    raise Parted


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_restart_happens_once(proxy: Proxy, dsn: str, after: bool) -> None:
    async with Client(dsn) as client, Client(proxy.dsn) as unlucky:
        await client.start(waits, id="a")
        proxy.aim(Point("restart", 1, after), cut)
        again = await unlucky.handle("a").restart()
        assert proxy.struck.is_set()
        assert [each.status async for each in client.list()] == ["pending", "terminated"]
        assert await again.status() == "pending"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("id", ["b", None])
async def test_a_fork_is_made_once(
    proxy: Proxy, dsn: str, database: asyncpg.Connection[Any], after: bool, id: str | None
) -> None:
    async with Client(dsn) as client, Client(proxy.dsn) as unlucky:
        await client.start(waits, id="a")
        await database.execute(
            "insert into durable.journal (run, position, kind, at, key)"
            " select run, 0, 'started', now(), uuid_send(gen_random_uuid()) from durable.run"
        )
        proxy.aim(Point("adopt", 1, after), cut)
        fork = await unlucky.handle("a").fork(at=1, id=id)
        assert proxy.struck.is_set()
        assert len(await client.list()) == 2
        assert len((await History.of(client, fork.id)).events) == 1
