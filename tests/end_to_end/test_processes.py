"""``durable worker --processes``: several workers under one supervisor, with real runs and signals.

What a supervisor does with processes that end: ``tests/test_supervisor.py``.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import asyncpg
import pytest

from durable import Client
from durable._runtime.process import is_gone
from tests.end_to_end.processes import Workers, check_promises, count, make_world, until


@pytest.fixture
def workers(dsn: str) -> Iterator[Workers]:
    workers = Workers(dsn)
    yield workers
    workers.end()


async def live(dsn: str) -> dict[int, asyncpg.Record]:
    """The rows of the workers, by process."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch("select host, pid, pid_started, build from durable.worker")
    finally:
        await connection.close()
    return {row["pid"]: row for row in rows}


def builds(rows: dict[int, asyncpg.Record]) -> set[str]:
    return {row["build"] for row in rows.values()}


async def test_killed_replaced_and_drained_under_load_they_lose_nothing(workers: Workers) -> None:
    await make_world(workers.dsn)
    names = [f"p{i}" for i in range(60)]
    async with Client(workers.dsn) as client:
        supervisor = workers.start("--processes", "2", "--runs-max", "5", "--grace", "5")

        async def both() -> bool:
            return len(await live(workers.dsn)) == 2

        await until(both, workers)
        first = await live(workers.dsn)
        assert len(builds(first)) == 1, "all of a generation are one build"
        await asyncio.gather(*(client.start("order", name, id=name) for name in names))

        async def some() -> bool:
            return await count(client, "completed") >= 5

        await until(some, workers)
        os.kill(next(iter(first)), signal.SIGKILL)
        supervisor.send_signal(signal.SIGHUP)

        async def replaced() -> bool:
            now = await live(workers.dsn)
            return len(now) == 2 and builds(now).isdisjoint(builds(first))

        await until(replaced, workers)

        async def finished() -> bool:
            return await count(client, "completed") == len(names)

        await until(finished, workers)
        supervisor.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(supervisor.wait) == 0
        assert not await live(workers.dsn)
    await check_promises(workers.dsn, names)


async def test_no_process_outlives_its_supervisor(workers: Workers) -> None:
    supervisor = workers.start("--processes", "1")

    async def one() -> bool:
        return len(await live(workers.dsn)) == 1

    await until(one, workers)
    [row] = (await live(workers.dsn)).values()
    supervisor.kill()

    async def gone() -> bool:
        return is_gone(row["host"], row["pid"], row["pid_started"])

    await until(gone, workers)
    assert not await live(workers.dsn), "it has drained"
    assert "the supervisor is gone: draining" in workers.said()
