"""Where the runs of an environment live: in memory, or in a schema of their own on Postgres.

A world knows its time, which stands still until it is set, and what comes next in it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from importlib import resources
from typing import Any, NamedTuple, Protocol

import asyncpg

from .._migrating import migrate
from .._store.memory.runs import is_overdue
from .._store.memory.store import Store as MemoryStore
from .._store.memory.tables import CLAIMABLE, Tables
from .._store.opening import open_store
from .._store.postgres import statements
from .._store.protocol import Registration
from .._store.verbs import Store


class Coming(NamedTuple):
    """What a worker will find in the database."""

    due: bool  # it may claim a run now
    mail: bool  # one of its runs has an unread message
    overdue: bool  # a deadline has passed
    next: datetime | None  # when a run that it serves is due, or a deadline passes
    farewell: bool  # a run has ended whose children are to be told


class World(Protocol):
    async def open(self) -> Store: ...
    async def set_time(self, now: datetime) -> None: ...
    async def coming(self, worker: Registration) -> Coming: ...
    async def waits(self, runs: Sequence[int]) -> list[str]:
        """What each of these runs waits for, in words."""
        ...

    async def close(self) -> None: ...


class MemoryWorld:
    def __init__(self, now: datetime) -> None:
        self._now = now
        self._tables = Tables(lambda: self._now)

    async def open(self) -> Store:
        return MemoryStore(self._tables)

    async def set_time(self, now: datetime) -> None:
        self._now = now

    async def coming(self, worker: Registration) -> Coming:
        now, row = self._now, self._tables.worker.get(worker.worker)
        dues: list[datetime] = []
        deadlines: list[datetime] = []
        mail = False
        for run in self._tables.run.values():
            if run.deadline is not None and run.closed_at is None:
                deadlines.append(run.deadline)
            if run.due_at is None:
                continue
            mail = mail or run.worker == worker.worker
            if run.worker is None and run.status in CLAIMABLE and row and row.serves(run):
                dues.append(run.due_at)
        due = any(each <= now for each in dues)
        overdue = any(is_overdue(run, now) for run in self._tables.run.values())
        later = (each for each in [*dues, *deadlines] if each > now)
        farewell = bool(self._tables.farewell)
        return Coming(due, mail, overdue, min(later, default=None), farewell)

    async def waits(self, runs: Sequence[int]) -> list[str]:
        rows = [self._tables.run[key] for key in runs if key in self._tables.run]
        return [told(each.id, each.waits_for, each.waits_at) for each in rows]

    async def close(self) -> None:
        """Nothing is left."""


class PostgresWorld:
    """A schema of a random name, made here and dropped at the end; its ``now()`` is ours."""

    def __init__(self, dsn: str, now: datetime) -> None:
        self._dsn = dsn
        self._now = now
        self.schema = f"durable_test_{os.getpid()}_{os.urandom(4).hex()}"
        script = resources.files("durable.testing") / "worlds.sql"
        parts = script.read_text(encoding="utf-8").split(";\n\n")
        self._sql = [statements.with_schema(part, self.schema) for part in parts]
        self._connection: asyncpg.Connection[Any] | None = None

    async def open(self) -> Store:
        await migrate(self._dsn, self.schema)
        # The URL has just been proved.
        self._connection = await asyncpg.connect(self._dsn)
        await self._connection.execute(self._sql[0])
        await self.set_time(self._now)
        return await open_store(self._dsn, name="worker", schema=self.schema)

    async def set_time(self, now: datetime) -> None:
        await self._one().execute(self._sql[1], now)

    async def coming(self, worker: Registration) -> Coming:
        row = await self._one().fetchrow(
            self._sql[2], worker.worker, list(worker.workflows), list(worker.queues), worker.build
        )
        assert row is not None
        return Coming(*row)

    async def waits(self, runs: Sequence[int]) -> list[str]:
        rows = await self._one().fetch(self._sql[3], list(runs))
        return [told(*row) for row in rows]

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            await connection.execute(self._sql[4])
        finally:
            connection.terminate()

    def _one(self) -> asyncpg.Connection[Any]:
        assert self._connection is not None
        return self._connection


def told(id: str, waits_for: str | None, waits_at: str | None) -> str:
    where = f" ({waits_at})" if waits_at else ""
    return f"run {id!r} waits for {waits_for or 'a worker'}{where}"
