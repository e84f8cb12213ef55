"""A stage for two or three real sessions: a store, workers, and strangers with open
transactions of their own. Nothing sleeps: a session that must be seen waiting is looked up in
Postgres until it does. ``MemoryStage`` has no sessions, and so only what the verbs do."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Self
from uuid import UUID

import asyncpg
from msgspec.structs import replace

from durable._store.family import NewRun
from durable._store.memory.store import Store as MemoryStore
from durable._store.memory.tables import Tables
from durable._store.postgres import journal, statements
from durable._store.postgres.store import Store as PostgresStore
from durable._store.protocol import (
    Advance,
    Birth,
    Close,
    Delivered,
    Delivery,
    Effects,
    JournalRow,
    Letter,
    Park,
    Registration,
    Started,
    Verdict,
)
from durable._store.verbs import Heartbeat, Store

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def row(run: int, position: int, kind: str = "activity", **fields: Any) -> JournalRow:
    given = {"op": position, "name": "step", "input": b"\x90", "result": b"\xc0", "failure": None,
             "at": NOW, "site": "shop.py:1", "digest": bytes(16), "seq": None,
             "key": os.urandom(16), **fields}  # fmt: skip
    return JournalRow(run=run, position=position, kind=kind, **given)


def turn(run: int, position: int, *, claim: int = 1, rows: int = 1, **effects: Any) -> Advance:
    """``rows`` events from ``position`` on, and the effects of their turns."""
    events = [
        row(run, at, "started" if at == 0 else "activity")
        for at in range(position, position + rows)
    ]
    return Advance(run, claim, events, effects.pop("after", None), Effects(**effects))


def _after(advance: Advance, keys: Mapping[tuple[int, int], bytes]) -> bytes | None:
    if advance.after is not None and advance.after[:1] != b"@":
        return advance.after
    if advance.after is not None:
        first = int(advance.after[1:])
    elif advance.rows:
        first = advance.rows[0].position
    else:
        first = 1 + max((at for run, at in keys if run == advance.run), default=-1)
    return keys.get((advance.run, first - 1), os.urandom(16)) if first else None


def birth(id: str, *, explicit: bool = True, workflow: str = "order") -> Birth:
    return Birth(id, explicit, workflow, "default", 0, bytes(16), "1", b"\x90", b"digest")


def message(to: int, key: str, *, op: int | None = None) -> Delivery:
    return Delivery(to, "signal", "shipped", key, b"\xc3", op)


def new_run(id: str, if_exists: str = "use", **given: Any) -> NewRun:
    usual = NewRun(id, "order", "default", 0, b"\x90", b"digest", if_exists, True, os.urandom(16))
    return usual._replace(**given)


def completed() -> Close:
    return Close("completed", b"\xc0", None, None, 9)


def failed(failed_at: int | None, next_op: int = 9) -> Close:
    return Close("failed", None, b"\x80", failed_at, next_op)


def parked(seen: int = 0, due_at: datetime | None = None) -> Park:
    return Park(due_at, seen, "a signal", "shop.py:7")


class Stage:
    def __init__(self, dsn: str, schema: str = "durable") -> None:
        self.dsn = dsn
        self.schema = schema
        self._exits = AsyncExitStack()
        self.store: Store
        self.observer: asyncpg.Connection[Any]

    async def __aenter__(self) -> Self:
        self.store = await self.another_store()
        self.observer = await self.stranger()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exits.aclose()

    # Who is on the stage

    async def another_store(self) -> Store:
        store = await PostgresStore.open(self.dsn, name="test", schema=self.schema)
        self._exits.push_async_callback(store.close)
        return store

    async def stranger(self) -> asyncpg.Connection[Any]:
        """Anybody's session, with Postgres' own settings."""
        connection: asyncpg.Connection[Any] = await asyncpg.connect(self.dsn)

        async def leave() -> None:
            connection.terminate()

        self._exits.push_async_callback(leave)
        return connection

    async def worker(self, *, build: str = "1", workflows: Iterable[str] = ("order",)) -> UUID:
        _, worker = await self.beating(build=build, workflows=workflows)
        return worker

    async def beating(
        self, *, build: str = "1", workflows: Iterable[str] = ("order",)
    ) -> tuple[Heartbeat, UUID]:
        heartbeat = await self.store.open_heartbeat()
        self._exits.push_async_callback(heartbeat.close)
        registration = Registration(
            UUID(bytes=os.urandom(16)),
            "host:1",
            "boot/1",
            1,
            2,
            tuple(workflows),
            ("default",),
            build,
            15.0,
        )
        await heartbeat.register(registration)
        return heartbeat, registration.worker

    # What they do

    async def commit(
        self, worker: UUID, *advances: Advance, patient: bool = False
    ) -> list[Verdict]:
        chained = await self.chained(*advances)
        return await self.store.journal.commit(worker, chained, patient=patient)

    async def chained(self, *advances: Advance) -> list[Advance]:
        """With the key of the row that each goes on from, which an owner would know; one that
        is not there has some key. ``after=b"@3"`` is what stands before position 3."""
        known = await self.store.journal.read({(each.run, 0) for each in advances})
        keys = {(row.run, row.position): row.key for row in known}
        return [replace(each, after=_after(each, keys)) for each in advances]

    async def born(self, worker: UUID, *ids: str) -> list[int]:
        """Runs of this worker, each with its first event written."""
        keys = await self.store.runs.keys(len(ids))
        births = [turn(key, 0, birth=birth(id)) for key, id in zip(keys, ids, strict=True)]
        verdicts = await self.commit(worker, *births)
        assert verdicts == [Verdict.DONE] * len(ids)
        return keys

    async def start(self, id: str, if_exists: str = "use", **given: Any) -> Started:
        joined = given.pop("connection", None)
        return await self.store.runs.start(new_run(id, if_exists, **given), connection=joined)

    async def send(self, id: str, key: str, **given: Any) -> Delivered:
        letter = Letter("signal", "shipped", key, None)
        return await self.store.inbox.deliver(id, letter, **given)

    async def commit_on(
        self, connection: asyncpg.Connection[Any], worker: UUID, *advances: Advance
    ) -> Any:
        """The same statement that the store sends, in a transaction that the test holds."""
        sql = statements.load("journal", self.schema)["commit"]
        arguments = journal._arguments(await self.chained(*advances))
        return await connection.fetchrow(sql, worker, *arguments, False)

    # What can be seen

    async def waits(self, connection: asyncpg.Connection[Any], doing: Coroutine[Any, Any, Any]
                    ) -> asyncio.Task[Any]:  # fmt: skip
        """Let a session do something, and return once it is seen waiting for a lock."""
        task = asyncio.create_task(doing)
        await self.until_waiting("pid = $1", connection.get_server_pid(), task)
        return task

    async def until_waiting(self, where: str, value: object, task: asyncio.Task[Any]) -> None:
        query = f"select count(*) from pg_stat_activity where wait_event_type = 'Lock' and {where}"
        while not await self.observer.fetchval(query, value):
            assert not task.done(), f"it did not wait: {task}"

    async def value(self, query: str, *arguments: object) -> Any:
        return await self.observer.fetchval(query, *arguments)

    async def now(self) -> datetime:
        now: datetime = await self.value("select durable.now()")
        return now

    async def voids(self, run: int, position: int) -> int:
        query = "select voids from durable.journal where run = $1 and position = $2"
        voids: int = await self.value(query, run, position)
        return voids

    async def run(self, run: int) -> Any:
        return await self.observer.fetchrow("select * from durable.run where run = $1", run)

    async def kinds(self, run: int) -> list[str]:
        rows = await self.observer.fetch(
            "select kind from durable.journal where run = $1 order by position", run
        )
        return [each["kind"] for each in rows]

    async def inbox(self, run: int) -> list[tuple[int, str, str]]:
        rows = await self.observer.fetch(
            "select seq, kind, key from durable.inbox where run = $1 order by seq", run
        )
        return [tuple(each) for each in rows]


class MemoryStage(Stage):
    """The same workers and verbs, on the store in memory."""

    def __init__(self) -> None:
        super().__init__("in memory")
        self.tables = Tables()

    async def __aenter__(self) -> Self:
        self.store = await self.another_store()
        return self

    async def another_store(self) -> Store:
        return MemoryStore(self.tables)

    async def now(self) -> datetime:
        return self.tables.now()

    async def voids(self, run: int, position: int) -> int:
        return self.tables.voids[run, position]

    async def run(self, run: int) -> Any:
        return asdict(self.tables.run[run]) if run in self.tables.run else None

    async def kinds(self, run: int) -> list[str]:
        return [row.kind for row in self.tables.journal[run]]

    async def inbox(self, run: int) -> list[tuple[int, str, str]]:
        return [(each.seq, each.kind, key) for key, each in self.tables.inbox[run].items()]
