"""Near the bounds, in small: `python -m bench bounds` goes all the way."""

from __future__ import annotations

import asyncio
import gc
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from durable import Context, Durable, activity, workflow
from durable._codec import values
from durable._postgres import binaries


@activity
async def gives_back(value: str) -> str:
    return value


@workflow
async def steps_near_bounds(ctx: Context, count: int, size: int) -> int:
    value = "x" * size
    for _ in range(count):
        value = await ctx.activity(gives_back, value)
    return len(value)


@workflow
async def sleeps_many_times_at_once(ctx: Context, count: int) -> int:
    due = ctx.now() + timedelta(seconds=0.3)
    await asyncio.gather(*(ctx.sleep_until(due) for _ in range(count)))
    assert ctx.now() >= due
    return count


SESSIONS = "select count(*) from pg_stat_activity where datname = current_database()"
SERVED: list[Any] = [steps_near_bounds, sleeps_many_times_at_once]


async def test_a_thousand_timers_of_one_run_are_due_at_once(dsn: str) -> None:
    async with Durable(dsn, serve=SERVED) as app:
        assert await app.run(sleeps_many_times_at_once, 1_000) == 1_000


async def test_the_largest_payloads_pass_in_and_out(dsn: str) -> None:
    size = values.PAYLOAD_BYTES_MAX - 64
    async with Durable(dsn, serve=SERVED) as app:
        lengths = await asyncio.gather(*(app.run(steps_near_bounds, 2, size) for _ in range(3)))
    assert lengths == [size] * 3


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors are counted on Linux")
async def test_runs_leave_no_tasks_descriptors_or_sessions_behind(dsn: str) -> None:
    watcher = await asyncpg.connect(dsn)
    try:
        async with Durable(dsn, serve=SERVED) as app:

            async def after(runs: int) -> tuple[int, int, int]:
                await asyncio.gather(*(app.run(steps_near_bounds, 3, 1) for _ in range(runs)))
                gc.collect()
                # (A line's own task is made at its first call, and stays.)
                known = "_poll", "Line._run"
                ours = [t for t in asyncio.all_tasks() if not any(k in repr(t) for k in known)]
                descriptors = _descriptors()
                return len(ours), descriptors, await watcher.fetchval(SESSIONS)

            before = await after(50)
            assert [b <= a for a, b in zip(before, await after(200), strict=True)] == [True] * 3
    finally:
        await watcher.close()


def _run(tool: Path, *arguments: str, given: bytes = b"") -> bytes:
    done = subprocess.run([tool, *arguments], input=given, check=True, capture_output=True)
    return done.stdout


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_a_copy_of_a_database_at_work_goes_on_elsewhere(dsn: str) -> None:
    """Its runs are the copy's own: the workers of the original are nobody there."""
    tool = binaries.find().directory / "pg_dump"
    if not tool.exists():
        pytest.skip("there is no pg_dump beside this Postgres")
    connection = await asyncpg.connect(dsn)
    version = connection.get_server_version().major
    if binaries.find().major < version:
        pytest.skip(f"{tool} is older than the server, a {version}")
    address = urlsplit(dsn)
    copied = address.path.strip("/") + "_copy"
    elsewhere = urlunsplit(address._replace(path=f"/{copied}"))
    await connection.execute(f'create database "{copied}"')
    try:
        async with Durable(dsn, serve=SERVED) as app:
            handles = [await app.start(steps_near_bounds, 200, 1, id=f"c{n}") for n in range(10)]
            dumped = await asyncio.to_thread(_run, tool, "--schema=durable", dsn)
            psql = tool.with_name("psql")
            await asyncio.to_thread(
                _run, psql, "-q", "-v", "ON_ERROR_STOP=1", elsewhere, given=dumped
            )
            async with Durable(elsewhere, serve=SERVED) as other:
                known = [other.handle(each.id, steps_near_bounds) for each in handles]
                there = await asyncio.gather(*(each.result() for each in known))
            here = await asyncio.gather(*(each.result() for each in handles))
        assert there == here == [1] * 10
    finally:
        await connection.execute(f'drop database "{copied}" with (force)')
        await connection.close()
