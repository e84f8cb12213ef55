"""The stage: a Postgres of its own with the audit's triggers, PgBouncer where there is one, three
workers and two clients as processes, and the road of each to the database."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import asyncpg

from durable._migrating import migrate
from durable._postgres import liveness
from durable.embedded import EmbeddedPostgres
from tests.poolers import PROGRAM, Pooler
from tests.proof import evidence, history
from tests.proof.history import note

from .plants import PLANTS
from .roads import Road

ROOT = Path(__file__).resolve().parents[2]

WORKERS, CLIENTS = 3, 2

# All connections of the stage, in peace, are about half of these.
CONNECTIONS_MAX = 90

# fsync is off: a crash of Postgres loses nothing that it has written, only one of the machine
# does. What was acknowledged is written: `synchronous_commit` stays on.
SETTINGS = {"jit": "off", "fsync": "off", "max_connections": str(CONNECTIONS_MAX)}

# The shortest there is: what is stopped for longer is taken over.
LEASE_SECONDS = 3.0

# How long a call waits for an answer, for a process that is made quicker.
CALL_SECONDS = 3.0

LEAVE_SECONDS = 60.0


def faketime() -> str | None:
    """The library that shows a process another time, if it is installed."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    return str(found[0]) if found else None


@dataclass(frozen=True)
class Manner:
    """How a process lives. ``skew`` is what its wall clock is off by, in seconds."""

    skew: float = 0.0
    pooled: bool = False
    notifies: bool = True
    quick: bool = True  # about the times of the product, which are made for hours


@dataclass(eq=False)
class Actor:
    """A role, whoever plays it now."""

    name: str
    role: str
    road: Road
    process: subprocess.Popen[bytes] | None = None
    manner: Manner = Manner()
    is_leaving: bool = False
    taken: asyncio.Lock = field(default_factory=asyncio.Lock)  # by a fault

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)


class Stage:
    """``folder`` keeps the history, the ledgers and the logs; it is the evidence."""

    def __init__(self, folder: Path, *, seed: int, plant: str | None) -> None:
        self.folder, self.seed, self.plant = folder, seed, plant
        self.chance = random.Random(seed)
        self.actors: list[Actor] = []
        self.pooler: Pooler | None = None
        self.server_taken = asyncio.Lock()
        self.away_seconds = 0.0  # set by who deals the faults
        self._admin_taken = asyncio.Lock()
        self._admin: asyncpg.Connection[Any] | None = None

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        try:
            await self._set()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _set(self) -> None:
        history.write_to(self.folder / "history")
        self._stack.callback(history.write_to, None)
        # Postgres cannot run as root, and its account must get in: not every folder lets it.
        self._base = Path(tempfile.mkdtemp(prefix="durable-chaos-pg-", dir="/tmp"))
        self._base.chmod(0o755)
        self._stack.callback(shutil.rmtree, self._base, ignore_errors=True)
        self.server = EmbeddedPostgres(self._base / "pg", settings=SETTINGS)
        await asyncio.to_thread(self.server.start)
        self._stack.push_async_callback(self._stop_for_good)
        self.dsn = self.server.url()
        await migrate(self.dsn)
        await evidence.install(self.dsn)
        if self.plant and (sql := PLANTS[self.plant].sql):
            await self.execute(sql())
        if PROGRAM is not None:
            self.pooler = Pooler(self.dsn)
            await asyncio.to_thread(self.pooler.__enter__)
            self._stack.callback(self.pooler.__exit__)
        for role, count in (("worker", WORKERS), ("client", CLIENTS)):
            for n in range(count):
                road = await self._stack.enter_async_context(Road(self.dsn))
                self.actors.append(Actor(f"{role}{n}", role, road))
        self._stack.push_async_callback(self._clear)
        for actor in self.actors:
            self.begin(actor, Manner())
        watching = asyncio.create_task(self._watch())
        self._stack.callback(watching.cancel)

    async def _stop_for_good(self) -> None:
        await asyncio.to_thread(self.server.stop)  # that which stands by then

    async def _clear(self) -> None:
        for actor in self.actors:
            if actor.process is not None:
                for number in (signal.SIGCONT, signal.SIGKILL):
                    with suppress(ProcessLookupError):
                        actor.signal(number)
                actor.process.wait()
        if self._admin is not None:
            self._admin.terminate()

    # Processes

    def of(self, role: str) -> list[Actor]:
        return [each for each in self.actors if each.role == role]

    @asynccontextmanager
    async def one(self, *roles: str) -> AsyncIterator[Actor]:
        """One that no other fault has in hand, and that lives."""
        while True:
            free = [each for each in self.actors if each.role in roles and not each.taken.locked()]
            if free:
                break
            await asyncio.sleep(0.05)
        actor = self.chance.choice(free)
        async with actor.taken:
            yield actor

    def begin(self, actor: Actor, manner: Manner) -> None:
        actor.road.lead_to(
            self.pooler.dsn(self.dsn) if manner.pooled and self.pooler else self.dsn)  # fmt: skip
        order = {
            "name": actor.name, "role": actor.role, "dsn": actor.road.dsn, "seed": self.seed,
            "folder": str(self.folder), "lease": LEASE_SECONDS, "plant": self.plant,
            "call_seconds": CALL_SECONDS if manner.quick else None,
        }  # fmt: skip
        around = {
            **os.environ,
            history.CLOCK: repr(history.now() - time.monotonic()),
            "DURABLE_NOTIFY": "on" if manner.notifies else "off",
        }
        if manner.skew and (library := faketime()):
            around |= {"LD_PRELOAD": library, "FAKETIME": f"{manner.skew:+.0f}s",
                       "FAKETIME_DONT_FAKE_MONOTONIC": "1"}  # fmt: skip
        actor.manner, actor.is_leaving = manner, False
        # Until it listens the signal must not kill it; that it is ignored is inherited.
        before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with (self.folder / f"{actor.name}.log").open("ab") as log:
            actor.process = subprocess.Popen(
                [sys.executable, "-m", "bench.chaos.worker", json.dumps(order)],
                cwd=ROOT, env=around, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        signal.signal(signal.SIGTERM, before)

    async def ended(self, actor: Actor) -> int:
        assert actor.process is not None
        while (code := actor.process.poll()) is None:
            await asyncio.sleep(0.01)
        return code

    async def kill(self, actor: Actor) -> None:
        actor.is_leaving = True
        actor.signal(signal.SIGKILL)
        await self.ended(actor)

    async def leave(self, actor: Actor) -> None:
        """It is told to end, and must do so in order."""
        assert actor.process is not None
        actor.is_leaving = True
        code = None
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_SECONDS):
                while (code := actor.process.poll()) is None:
                    actor.signal(signal.SIGTERM)
                    await asyncio.sleep(0.1)
        note("exit", of=actor.process.pid, code=code, name=actor.name)
        if code is None:
            actor.signal(signal.SIGUSR1)  # where does it stand?
            await asyncio.sleep(0.5)
            await self.kill(actor)

    async def _watch(self) -> None:
        """Nobody ends unless told."""
        while True:
            for actor in self.actors:
                code = actor.process and actor.process.poll()
                if actor.process and code is not None and not actor.is_leaving:
                    note("exit", of=actor.process.pid, code=code, name=actor.name)
                    self.begin(actor, actor.manner)
            await asyncio.sleep(0.1)

    # The server

    async def execute(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        async with self._admin_taken:
            if self._admin is None or self._admin.is_closed():
                self._admin = await asyncpg.connect(self.dsn)
            try:
                if arguments:
                    return await self._admin.fetch(query, *arguments)
                await self._admin.execute(query)
            except asyncio.CancelledError:
                self._admin.terminate()  # it is in the middle of something
                raise
            return []

    async def stop_server(self, number: int) -> None:
        """Fast (SIGINT), or at once (SIGQUIT): a crash."""
        await asyncio.to_thread(self._stop_server, number)

    def _stop_server(self, number: int) -> None:
        pid = (self.server.directory / "postmaster.pid").read_text().split("\n", 1)[0]
        os.kill(int(pid), number)
        while liveness.ping(self.server._socket) != "down" or liveness.has_process(
            self.server.directory
        ):
            time.sleep(0.01)

    async def start_server(self) -> None:
        """The same data under a new server."""
        old, self.server = self.server, EmbeddedPostgres(self._base / "pg", settings=SETTINGS)
        await asyncio.to_thread(self.server.start)
        await asyncio.to_thread(old.stop)
