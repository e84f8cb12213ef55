"""Workers of one process that lose their runs: to each other, or from memory."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg

from durable import Durable
from durable._runtime.ghosts import reconcile
from durable._runtime.worker import LiveWorker


def worker_of(app: Durable) -> LiveWorker:
    assert app._worker is not None
    return app._worker


async def fall_silent(app: Durable) -> None:
    """This worker is declared dead, and does not notice: what it does is a zombie's."""
    worker = worker_of(app)
    worker.draining = True  # it claims nothing, and does not begin again
    await worker.store.workers.take_over(worker.registration.worker)


async def evict(app: Durable) -> None:
    """Every run leaves memory, and is loaded again as after a claim."""
    worker = worker_of(app)
    while any(each.in_flight or each.is_queued for each in worker.active.values()):
        await asyncio.sleep(0.005)
    for instance in list(worker.active.values()):
        worker.forget(instance)
    await reconcile(worker)


async def rows(dsn: str, query: str, *arguments: object) -> list[dict[str, Any]]:
    connection = await asyncpg.connect(dsn)
    try:
        return [dict(each) for each in await connection.fetch(query, *arguments)]
    finally:
        await connection.close()


async def until_rows(dsn: str, query: str, *, count: int = 1) -> list[dict[str, Any]]:
    """What a query finds, once it finds so many rows."""
    connection = await asyncpg.connect(dsn)
    try:
        async with asyncio.timeout(20):
            while len(found := await connection.fetch(query)) != count:
                await asyncio.sleep(0.01)
        return [dict(each) for each in found]
    finally:
        await connection.close()
