"""Where are the bounds, and what does it cost to come near them?

Parts, each by ``--only NAME``: ``live``: 20,000 waiting runs in one worker's memory, bytes each.
``journal``: one run of 50,000 events, run and then replayed by another worker. ``payloads``: 2 MiB
in and out of 200 steps. ``timers``: 10,000 of one run, due at once. ``leaks``: what 10,000 runs
leave behind in tasks, descriptors, connections and memory. ``disk``: the server's disk is full
(Linux, root). ``dump``: pg_dump under load, restored elsewhere, goes on there. Sleeping runs:
``python -m bench sleepers --runs 100000``.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import subprocess
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import click

from bench import told
from bench.measured import resident
from durable import Client, Context, Durable, Start, activity, workflow
from durable._codec import values
from durable._postgres import binaries
from durable._runtime import instance
from durable.cli.worker import quiet_collector
from durable.embedded import EmbeddedPostgres

LIVE, EVENTS, BIG, TIMERS, LEAKING = 20_000, 50_000, 200, 10_000, 10_000
DISK_MB = 256

gate = asyncio.Event()


@activity(name="bounds_step")
async def step(x: int) -> int:
    return x + 1


@activity(name="bounds_last")
async def last() -> None:
    await gate.wait()


@workflow(name="bounds_waits")
async def waits(ctx: Context) -> None:
    await ctx.sleep(3_000)


@workflow(name="bounds_long")
async def long(ctx: Context, n: int) -> int:
    value = 0
    for _ in range(n):
        value = await ctx.activity(step, value)
    await ctx.activity(last)
    return value


@activity(name="bounds_echo")
async def echo(text: str) -> str:
    return text


@workflow(name="bounds_big")
async def big(ctx: Context, steps: int) -> int:
    text = "x" * (values.PAYLOAD_BYTES_MAX - 64)
    for _ in range(steps):
        text = await ctx.activity(echo, text)
    return len(text)


@workflow(name="bounds_timers")
async def timers(ctx: Context, count: int, seconds: float) -> float:
    due = ctx.now() + timedelta(seconds=seconds)
    await asyncio.gather(*(ctx.sleep_until(due) for _ in range(count)))
    return (ctx.now() - due).total_seconds()


@workflow(name="bounds_short")
async def short(ctx: Context, n: int) -> int:
    value = 0
    for _ in range(n):
        value = await ctx.activity(step, value)
    return value


SERVED: list[Any] = [waits, long, big, timers, short]


async def live(dsn: str) -> dict[str, Any]:
    """Runs that wait in memory: nothing is put away here, since the timers are said to be near."""
    instance.PARK_AFTER = timedelta(hours=1)
    async with Durable(dsn, serve=SERVED, runs_max=2 * LIVE, grace=0) as app:
        await app.run(short, 1)
        gc.collect()
        before = resident()
        await app.start_many(Start(waits) for _ in range(LIVE))
        while app.health().runs < LIVE:
            await asyncio.sleep(0.1)
        await asyncio.sleep(2)
        gc.collect()
        used = resident() - before
        instance.PARK_AFTER = timedelta(seconds=5)
    return {"live_runs": LIVE, "live_bytes_each": used // LIVE}


async def journal(dsn: str) -> dict[str, Any]:
    gate.clear()
    async with Durable(dsn, serve=SERVED, grace=0) as app:
        begun = time.perf_counter()
        handle = await app.start(long, EVENTS, id="long")
        while (await handle.describe()).events < EVENTS:
            await asyncio.sleep(0.5)
        ran = time.perf_counter() - begun
    gate.set()
    before, begun = resident(), time.perf_counter()
    async with Durable(dsn, serve=SERVED) as app:
        assert await app.handle("long", long).result() == EVENTS
    took = time.perf_counter() - begun
    return {
        "journal_events": EVENTS,
        "journal_sequential_steps_per_s": round(EVENTS / ran),
        "journal_replayed_per_s": round(EVENTS / took),
        "journal_mb_of_worker": round((resident() - before) / 2**20, 1),
    }


async def payloads(dsn: str) -> dict[str, Any]:
    begun = time.perf_counter()
    async with Durable(dsn, serve=SERVED) as app:
        lengths = await asyncio.gather(*(app.run(big, BIG // 10) for _ in range(10)))
    assert set(lengths) == {values.PAYLOAD_BYTES_MAX - 64}
    return {"payload_mb_per_s": round(BIG * 4 / (time.perf_counter() - begun), 1)}


async def due_at_once(dsn: str) -> dict[str, Any]:
    async with Durable(dsn, serve=SERVED) as app:
        late = await app.run(timers, TIMERS, 10.0)
    return {"timers": TIMERS, "timers_last_late_s": round(late, 2)}


async def leaks(dsn: str) -> dict[str, Any]:
    async with Durable(dsn, serve=SERVED) as app, Client(dsn) as client:
        sessions = await asyncpg.connect(dsn)

        async def some() -> tuple[int, int, int, int]:
            for _ in range(5):
                await asyncio.gather(*(app.run(short, 3) for _ in range(LEAKING // 10)))
            gc.collect()
            count = await sessions.fetchval("select count(*) from pg_stat_activity")
            descriptors = _descriptors()
            # One that asks whether anything is still waited for ends by itself.
            tasks = [each for each in asyncio.all_tasks() if "_poll" not in repr(each)]
            return len(tasks), descriptors, count, resident()

        assert client
        before, after = await some(), await some()
        await sessions.close()
    names = ("tasks", "descriptors", "sessions", "bytes")
    return {f"leaked_{n}": b - a for n, a, b in zip(names, before, after, strict=True)}


def _run(tool: Path, *arguments: str, given: bytes = b"") -> bytes:
    done = subprocess.run([tool, *arguments], input=given, check=True, capture_output=True)
    return done.stdout


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@contextlib.contextmanager
def small_disk() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=755", "none", directory],
            check=True,
        )
        try:
            yield Path(directory)
        finally:
            subprocess.run(["umount", "-l", directory], check=True)


async def full_disk(_: str) -> dict[str, Any]:
    """Runs go on while the disk fills up; the server stops; the disk is freed; all are finished."""
    with small_disk() as directory:
        server = EmbeddedPostgres(directory / "pg", settings={"max_wal_size": "64MB"})
        server.start()
        stopped = time.monotonic()
        async with Durable(server.url(), serve=SERVED) as app:
            handles = [await app.start(short, 500, id=f"d{n}") for n in range(100)]
            filler = directory / "filler"
            with contextlib.suppress(OSError), filler.open("wb") as file:
                while True:
                    file.write(bytes(1 << 20))
                    file.flush()
            while app.health().ok and time.monotonic() - stopped < 60:
                await asyncio.sleep(0.1)
            reasons = app.health().reasons
            filler.unlink()
            with contextlib.suppress(Exception):
                server.stop()
            again = EmbeddedPostgres(directory / "pg", settings={"max_wal_size": "64MB"})
            again.start()
            results = await asyncio.gather(*(each.result() for each in handles))
        assert results == [500] * 100
        connection = await asyncpg.connect(again.url())
        events = await connection.fetchval(
            "select count(*) from durable.journal where kind = 'activity'"
        )
        await connection.close()
        again.stop()
    return {"disk_was_noticed": bool(reasons), "disk_runs": 100, "disk_events": events}


async def dump(dsn: str) -> dict[str, Any]:
    """A copy of a database at work goes on by itself, while the original does."""
    tool = binaries.find().directory / "pg_dump"
    connection = await asyncpg.connect(dsn)
    await connection.execute("drop database if exists copy")
    async with Durable(dsn, serve=SERVED) as app:
        handles = [await app.start(short, 2_000, id=f"c{n}") for n in range(50)]
        await asyncio.sleep(0.5)
        dumped = await asyncio.to_thread(_run, tool, "--schema=durable", dsn)
        await connection.execute("create database copy")
        elsewhere = dsn.replace("/postgres?", "/copy?")
        psql = tool.with_name("psql")
        await asyncio.to_thread(_run, psql, "-q", "-v", "ON_ERROR_STOP=1", elsewhere, given=dumped)
        copy = await asyncpg.connect(elsewhere)
        open_then = await copy.fetchval("select count(*) from durable.run where closed_at is null")
        await copy.close()
        async with Durable(elsewhere, serve=SERVED) as other:
            known = [other.handle(each.id, short) for each in handles]
            there = await asyncio.gather(*(each.result() for each in known))
        here = await asyncio.gather(*(each.result() for each in handles))
    await connection.close()
    assert there == here == [2_000] * 50
    return {"dump_runs_open": open_then, "dump_runs_finished_there": len(there)}


PARTS: dict[str, Callable[[str], Coroutine[Any, Any, dict[str, Any]]]] = {
    "live": live,
    "journal": journal,
    "payloads": payloads,
    "timers": due_at_once,
    "leaks": leaks,
    "disk": full_disk,
    "dump": dump,
}


@click.command(help=__doc__)
@click.option("--only", multiple=True, type=click.Choice([*PARTS]))
@told.json_option
def main(only: tuple[str, ...], as_json: bool) -> None:
    quiet_collector()
    report: dict[str, Any] = {"answers": "what it costs to come near the bounds"}
    for name in only or PARTS:
        with EmbeddedPostgres(settings={"jit": "off"}) as server:
            report |= asyncio.run(PARTS[name](server.url()))
    told.tell(report, as_json)
