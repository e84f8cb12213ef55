"""Workers of two versions come and go under load; what must hold of their runs is looked at.

The old code cannot read what the new one has written behind its patch, so a run that has taken the
patch may be stuck for as long as only old code is there, and no other may be, ever.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg

from durable import Client
from durable.errors import RunStuck
from tests.end_to_end.rollout import go

ROOT = Path(__file__).resolve().parents[3]
VERSIONS = BEFORE, AFTER = "before", "after"
PATIENCE_SECONDS = 60.0
LOOKS_WITHIN = timedelta(seconds=12)  # on a machine that is busy with other things

STUCK_IN_VAIN = """
select r.id, r.report from durable.run r
where r.status = 'stuck' and not exists (
    select from durable.journal j where j.run = r.run and j.patches is not null)
"""
# Beside new code, for longer than it takes to look: both as of the same moment.
STUCK_TOO_LONG = """
select r.id, r.report from durable.run r
where r.status = 'stuck' and r.stuck_at < now() - $1::interval and exists (
    select from durable.worker w
    where w.state = 'live' and w.build = 'after' and w.started_at < now() - $1::interval
        and w.beat_at > now() - interval '5 s')
"""
COUNTS = """
select count(*) filter (where r.closed_at is not null) as ended,
    count(*) filter (where r.status = 'stuck') as stuck,
    count(*) filter (where exists (
        select from durable.journal j where j.run = r.run and j.patches is not null)) as patched,
    count(*) filter (where exists (
        select from durable.journal j
        where j.run = r.run and j.position = 0 and j.patches is null) and exists (
        select from durable.journal j where j.run = r.run and j.patches is not null)) as crossed
from durable.run r where r.workflow = 'rollout/order'
"""
BROKEN = """
select r.id, r.status, r.result::text as result, count(j.run) as events,
    max(j.position) + 1 as length
from durable.runs r join durable.journal j on j.run = r.run
where r.workflow like 'rollout/%'
group by r.id, r.status, r.result, r.run
having r.status <> 'completed' or count(j.run) <> max(j.position) + 1
"""


class Broken(AssertionError):
    """What must not be, with what the workers have said."""


class Rollout:
    """One database, workers of two versions, and orders that go on meanwhile."""

    def __init__(self, dsn: str, *, seed: int = 1, rounds: int = 3, pause: float = 0.05) -> None:
        self.dsn, self.rounds, self.pause = dsn, rounds, pause
        self.chance = random.Random(seed)
        self.workers: list[tuple[str, subprocess.Popen[bytes]]] = []
        self.ids: list[str] = []
        self.stuck_most = 0
        self._leads: set[asyncio.Task[None]] = set()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`

    def start(self, version: str) -> None:
        module = f"tests.end_to_end.rollout.{version}"
        process = subprocess.Popen(
            [sys.executable, "-m", "durable", "worker", module, "--database", self.dsn,
             "--build", version, "--grace", "1"],
            cwd=ROOT, env=os.environ, stdout=self._log, stderr=self._log,
        )  # fmt: skip
        self.workers.append((version, process))

    def live(self, version: str) -> list[subprocess.Popen[bytes]]:
        return [process for of, process in self.workers if of == version]

    async def stop(self, process: subprocess.Popen[bytes], *, kill: bool = False) -> None:
        self.workers = [each for each in self.workers if each[1] is not process]
        (process.kill if kill else process.terminate)()
        code = await asyncio.to_thread(process.wait, PATIENCE_SECONDS)
        if not kill and code != 0:
            raise Broken(f"a worker that was told to leave ended with {code}; {self.said()}")

    def end(self) -> None:
        for each in self._leads:
            each.cancel()
        for _, process in self.workers:
            process.kill()
            process.wait()
        self._log.close()

    def said(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")[-4000:]

    def order(self, client: Client) -> None:
        """One more, which is led on as long as it needs news."""
        self.ids.append(f"order-{len(self.ids)}")
        lead = asyncio.create_task(self._lead(client, self.ids[-1]))
        self._leads.add(lead)
        lead.add_done_callback(self._leads.discard)

    async def _lead(self, client: Client, id: str) -> None:
        handle = await client.start("rollout/order", id, self.rounds, id=id)
        for n in range(self.rounds):
            await asyncio.sleep(self.pause * (0.5 + self.chance.random()))
            await handle.signal(go, n, key=f"{id}/{n}")

    async def led(self) -> None:
        """All messages that are to come have been sent."""
        await asyncio.gather(*self._leads)

    async def look(self, connection: asyncpg.Connection[Any]) -> dict[str, int]:
        """Counts; and nothing is stuck but what the old code cannot read, while the new is away."""
        found = await connection.fetch(STUCK_IN_VAIN)
        if found:
            raise Broken(f"stuck, and no patch is in its journal: {[*map(dict, found)]}")
        found = await connection.fetch(STUCK_TOO_LONG, LOOKS_WITHIN)
        if found:
            raise Broken(f"stuck, and new code is there for long: {[*map(dict, found)]}")
        counts = dict(await connection.fetchrow(COUNTS) or {})
        self.stuck_most = max(self.stuck_most, counts["stuck"])
        return counts

    async def finish(self, client: Client, connection: asyncpg.Connection[Any]) -> dict[str, int]:
        """With new code there, every order ends, and as it must."""
        await self.led()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                for id in self.ids:
                    result = await _result(client, id)
                    steps = [f"{id}/{n}{what} done" for n in range(self.rounds)
                             for what in ("", "/part")]  # fmt: skip
                    if result != steps:
                        raise Broken(f"{id} has ended with {result}")
        except TimeoutError:
            counts = await self.look(connection)
            raise Broken(f"{id} does not end ({counts}); {self.said()}") from None
        broken = await connection.fetch(BROKEN)
        if broken:
            raise Broken(f"{[*map(dict, broken)]}")
        return await self.look(connection)


async def _result(client: Client, id: str) -> Any:
    """Of a run that may be stuck still: the new code has just come."""
    while True:
        try:
            return await client.handle(id).result()
        except RunStuck:
            await asyncio.sleep(0.05)
