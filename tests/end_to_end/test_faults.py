"""Workers as real processes: killed, stopped and continued; Postgres restarted under load."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from durable import Client, Context, Durable, workflow
from durable._migrating import migrate
from durable._postgres import liveness
from durable._runtime import instance
from durable.embedded import EmbeddedPostgres
from tests.end_to_end.processes import Workers, check_promises, count, make_world, until


@pytest.fixture
def workers(dsn: str) -> Iterator[Workers]:
    workers = Workers(dsn)
    yield workers
    workers.end()


async def start_orders(client: Client, names: list[str]) -> None:
    await asyncio.gather(*(client.start("order", name, id=name) for name in names))


async def test_kill_9_at_random_points_loses_and_doubles_nothing(workers: Workers) -> None:
    seed = int(os.environ.get("DURABLE_TEST_SEED", random.randrange(10**6)))
    chance = random.Random(seed)
    print(f"DURABLE_TEST_SEED={seed}")
    await make_world(workers.dsn)
    names = [f"o{i}" for i in range(40)]
    async with Client(workers.dsn) as client:
        await start_orders(client, names)
        victims = [workers.start(), workers.start()]
        for target in sorted(chance.randrange(1, 36) for _ in range(3)):
            goal = min(len(names), target)

            async def reached(goal: int = goal) -> bool:
                return await count(client, "completed") >= goal

            await until(reached, workers)
            victim = victims.pop(chance.randrange(len(victims)))
            victim.kill()
            victim.wait()
            victims.append(workers.start())

        async def finished() -> bool:
            return await count(client, "completed") == len(names)

        await until(finished, workers)
    await check_promises(workers.dsn, names)


async def test_a_worker_that_was_stopped_past_its_lease_commits_nothing(workers: Workers) -> None:
    await make_world(workers.dsn)
    names = [f"s{i}" for i in range(20)]
    async with Client(workers.dsn) as client:
        stopped = workers.start("--lease", "3")
        await start_orders(client, names)

        async def begun() -> bool:
            return await count(client, "running") > 0

        await until(begun, workers)
        stopped.send_signal(signal.SIGSTOP)
        workers.start("--lease", "3")

        async def finished() -> bool:
            return await count(client, "completed") == len(names)

        await until(finished, workers)
        before = await journal(workers.dsn)
        stopped.send_signal(signal.SIGCONT)

        async def reborn() -> bool:
            return len(await client.store.workers.suspects(uuid4())) == 2

        await until(reborn, workers)
        assert await journal(workers.dsn) == before
    await check_promises(workers.dsn, names)


async def journal(dsn: str) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            "select run, position, key from durable.journal order by 1, 2"
        )
        return [tuple(row.values()) for row in rows]
    finally:
        await connection.close()


async def test_sigterm_hands_runs_over_at_once(workers: Workers) -> None:
    await make_world(workers.dsn)
    names = [f"t{i}" for i in range(20)]
    async with Client(workers.dsn) as client:
        first = workers.start("--grace", "0.01")
        await start_orders(client, names)

        async def begun() -> bool:
            return await count(client, "running") > 0

        await until(begun, workers)
        first.terminate()
        assert await asyncio.to_thread(first.wait, 20) == 0
        assert await count(client, "running") == 0
        workers.start()

        async def finished() -> bool:
            return await count(client, "completed") == len(names)

        await until(finished, workers)
    await check_promises(workers.dsn, names)


async def test_postgres_restarted_under_load_costs_time_only() -> None:
    """A server of its own: a fast shutdown and a crash, while a worker works."""
    base = await asyncio.to_thread(open_directory)
    server = EmbeddedPostgres(base / "pg", settings={"jit": "off"})
    await asyncio.to_thread(server.start)
    workers = Workers(server.url())
    names = [f"r{i}" for i in range(30)]
    try:
        await migrate(workers.dsn)
        await make_world(workers.dsn)
        async with Client(workers.dsn) as client:
            await start_orders(client, names)
        workers.start()
        for number in (signal.SIGINT, signal.SIGQUIT):  # fast, immediate
            await until(lambda: some_booked(workers.dsn), workers)
            server = await asyncio.to_thread(restarted, server, number)
        async with Client(workers.dsn) as client:

            async def finished() -> bool:
                return await count(client, "completed") == len(names)

            await until(finished, workers)
        await check_promises(workers.dsn, names)
    finally:
        workers.end()
        await asyncio.to_thread(server.stop)
        shutil.rmtree(base, ignore_errors=True)


@workflow
async def sleeps_through(ctx: Context, seconds: float) -> float:
    due = ctx.now() + timedelta(seconds=seconds)
    await ctx.sleep(seconds)
    return (ctx.now() - due).total_seconds()


async def test_sleepers_outlast_a_crash_of_postgres_and_are_never_early(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(instance, "PARK_AFTER", timedelta(seconds=0.1))
    base = await asyncio.to_thread(open_directory)
    server = EmbeddedPostgres(base / "pg", settings={"jit": "off"})
    await asyncio.to_thread(server.start)
    try:
        async with Durable(server.url(), serve=[sleeps_through]) as app:
            handles = [await app.start(sleeps_through, 2.0) for _ in range(20)]
            while (await app.count_by_status()) != {"waiting": 20}:
                await asyncio.sleep(0.01)
            server = await asyncio.to_thread(restarted, server, signal.SIGQUIT)
            late = [await handle.result() for handle in handles]
        assert min(late) >= 0
    finally:
        await asyncio.to_thread(server.stop)
        shutil.rmtree(base, ignore_errors=True)


async def test_kill_9_in_the_middle_of_attempts_is_told_to_the_next_owner(workers: Workers) -> None:
    """What may run once is not run again, and the rest goes on where its heartbeat stood."""
    await make_world(workers.dsn)
    async with Client(workers.dsn) as client:
        handle = await client.start("payment", "p", id="p")
        first = workers.start()
        shown = (
            "select count(*) = 2 from durable.running"
            " where next_at is null and (details is not null or activity = 'pay')"
        )

        async def under_way() -> bool:
            acts = "select count(*) = 2 from world.act"
            return bool(await value(workers.dsn, acts) and await value(workers.dsn, shown))

        await until(under_way, workers)
        first.kill()
        first.wait()
        workers.start()
        assert await handle.result() == ["unknown, tried 1", 2, True, {"copied": 50}]
    counts = (
        "select array_agg(n order by n) from (select count(*) as n from world.act group by name) a"
    )
    assert await value(workers.dsn, counts) == [1, 2]
    assert await value(workers.dsn, "select count(*) from durable.running") == 0


async def value(dsn: str, query: str) -> Any:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def open_directory() -> Path:
    base = Path(tempfile.mkdtemp(prefix="durable-test-"))
    base.chmod(0o755)  # the account that runs Postgres must get in
    return base


def restarted(
    server: EmbeddedPostgres, number: int, *, settings: Mapping[str, str] = MappingProxyType({})
) -> EmbeddedPostgres:
    """The same data under a new server, after the old one was told to end by a signal."""
    os.kill(int((server.directory / "postmaster.pid").read_text().split("\n", 1)[0]), number)
    while liveness.ping(server._socket) == "ready" or liveness.has_process(server.directory):
        time.sleep(0.01)
    again = EmbeddedPostgres(server.directory, settings={"jit": "off", **settings})
    again.start()
    server.stop()
    return again


async def some_booked(dsn: str) -> bool:
    try:
        connection = await asyncpg.connect(dsn)
    except (OSError, asyncpg.PostgresError):
        return False
    try:
        return bool(await connection.fetchval("select count(*) > 0 from world.booking"))
    finally:
        await connection.close()
