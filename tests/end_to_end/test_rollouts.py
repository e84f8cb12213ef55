"""Old and new workflow code side by side, forwards and back: runs begun on one finish on the other,
and none is stuck that should go on. Longer: `python -m bench deploys --minutes 5`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from bench.deploys import campaign
from durable import Client
from tests.end_to_end.processes import until
from tests.end_to_end.rollout import go
from tests.end_to_end.rollout.driver import AFTER, BEFORE, Rollout

PARKED = """
select count(*) from durable.run where status = 'waiting' and workflow = 'rollout/order'
"""


@pytest_asyncio.fixture
async def connection(dsn: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


async def test_a_run_begun_on_old_code_finishes_on_new_and_one_that_meets_the_old_waits(
    dsn: str, connection: asyncpg.Connection[Any]
) -> None:
    rollout = Rollout(dsn, rounds=2, pause=0.01)

    async def parked() -> bool:
        return int(await connection.fetchval(PARKED)) == 6

    async def stuck() -> bool:
        return (await rollout.look(connection))["stuck"] == 1

    try:
        async with Client(dsn) as client:
            rollout.start(BEFORE)
            handles = [await client.start("rollout/order", f"order-{n}", 2, id=f"order-{n}")
                       for n in range(6)]  # fmt: skip
            rollout.ids += [each.id for each in handles]
            await until(parked)
            rollout.start(AFTER)
            await until(lambda: _live(connection, 2))
            await rollout.stop(rollout.live(BEFORE)[0])
            await handles[0].signal(go, 0)  # goes on behind the patch
            await until(lambda: _patched(connection))
            await until(parked)
            await rollout.stop(rollout.live(AFTER)[0])
            rollout.start(BEFORE)
            await until(lambda: _live(connection, 1))
            await handles[0].signal(go, 1)
            await until(stuck)
            rollout.start(AFTER)  # it lives beside the one that could not: nothing else comes
            for n, each in enumerate(handles[1:] * 2):
                await each.signal(go, n)
            counts = await rollout.finish(client, connection)
            assert (counts["ended"], counts["stuck"]) == (6, 0)
    finally:
        rollout.end()


async def _live(connection: asyncpg.Connection[Any], count: int) -> bool:
    query = "select count(*) from durable.worker where state = 'live'"
    return int(await connection.fetchval(query)) == count


async def _patched(connection: asyncpg.Connection[Any]) -> bool:
    query = "select exists (select from durable.journal where patches is not null)"
    return bool(await connection.fetchval(query))


@pytest.mark.points
@pytest.mark.timeout(180)
async def test_deploys_forwards_and_back_under_load(dsn: str) -> None:
    told = await asyncio.wait_for(campaign(dsn, seconds=30, seed=1), 150)
    assert told["ended"] == told["orders"] > 20
    assert told["crossed"] > 0
