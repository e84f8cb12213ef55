"""Worker processes for tests, and conditions to wait for."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg

from durable import Client
from tests.end_to_end.shop import WORLD

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 45.0


class Workers:
    """``durable worker`` processes on one database; all are ended with the test. Their activities
    reach the outside world at ``world``."""

    def __init__(self, dsn: str, *, world: str | None = None) -> None:
        self.dsn = dsn
        self.world = world or dsn
        self.running: list[subprocess.Popen[bytes]] = []
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        module = "tests.end_to_end.shop"
        process = subprocess.Popen(
            [sys.executable, "-m", "durable", "worker", module, "--database", self.dsn, *options],
            cwd=ROOT,
            env={**os.environ, "WORLD": self.world},
            stdout=self.log,
            stderr=self.log,
        )
        self.running.append(process)
        return process

    def end(self) -> None:
        for process in self.running:
            process.kill()
            process.wait()
        self.log.close()

    def said(self) -> str:
        self.log.seek(0)
        return self.log.read().decode(errors="replace")[-6000:]


async def make_world(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(WORLD)
    await connection.close()


async def until(condition: Callable[[], Awaitable[bool]], workers: Workers | None = None) -> None:
    """Wait until a condition of other processes holds."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"it did not come true; {workers.said() if workers else ''}") from None


async def count(client: Client, status: str) -> int:
    return (await client.count_by_status()).get(status, 0)


async def check_promises(dsn: str, names: list[str]) -> None:
    """What must hold of every order, whatever happened to the workers.

    Bookings: exactly once. Acts: at least once, all tries of one act under one key, and none
    begun after its result was recorded. Journals: no gaps. Outcomes: right.
    """
    connection = await asyncpg.connect(dsn)
    try:
        bookings = await connection.fetch("select name, count(*) from world.booking group by name")
        assert {row["name"]: row["count"] for row in bookings} == dict.fromkeys(names, 1)
        results = await connection.fetch(
            "select id, status, result::text from durable.runs where id = any($1)", names
        )
        assert len(results) == len(names)
        for row in results:
            n = row["id"]
            assert row["status"] == "completed", dict(row)
            wanted = [f"{n}/charge done", 1, f"{n}/pack done", f"{n}/label done", f"{n}/ship done"]
            assert row["result"] == str(wanted).replace("'", '"')
        keys = await connection.fetch(
            "select name, count(distinct key) as keys from world.act group by name"
        )
        assert {row["keys"] for row in keys} == {1}
        assert len(keys) == 4 * len(names)
        late = await connection.fetch(
            "select a.name, a.at, h.at as recorded from world.act a join durable.history h"
            " on h.kind = 'activity' and h.result #>> '{}' = a.name || ' done'"
            # A young worker's clock is late by the way of its first answer, which is long on a
            # machine that is starved; whoever acts again does so after a takeover, later.
            " where a.at > h.at + interval '1 s'"
        )
        assert not late, [dict(row) for row in late]
        gaps = await connection.fetch(
            "select run from durable.journal group by run"
            " having count(*) <> max(position) + 1 or min(position) <> 0"
        )
        assert not gaps
    finally:
        await connection.close()
