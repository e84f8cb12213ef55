"""The stores in memory and on Postgres, at one time, asked the same (``test_same_calls.py``)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import fields
from datetime import datetime, timedelta
from importlib import resources
from itertools import zip_longest
from typing import Any, Self

import asyncpg
from msgspec import structs

from durable._store.memory.store import Store as MemoryStore
from durable._store.memory.tables import Run, Tables, Worker
from durable._store.postgres.store import Store as PostgresStore
from durable._store.protocol import JournalRow, Registration
from durable._store.verbs import Store

from .stage import NOW

PLACES = {
    "run": "order by run",
    "journal": "order by run, position",
    "inbox": "order by run, seq",
    "input": "order by run",
    "result": "order by run",
    "attempt": "order by run, op",
    "answer": "order by run, seq",
    "state": "order by run, name",
    "stream": "order by run, name, seq",
    "farewell": "order by run",
    "worker": "order by worker",
}
CLEAN = "; ".join(
    [
        *(f"delete from durable.{place}" for place in PLACES),
        "alter sequence durable.run_key restart",
    ]
)
VIRTUAL_TIME = (resources.files("durable.testing") / "worlds.sql").read_text().split(";\n\n")[0]
RUN_COLUMNS = [each.name for each in fields(Run)]
BY_CHANCE = ("terminated", "voided")  # their keys are the store's own


class Both:
    """The two stores. Theirs is a database with our schema, whose time is ours as well."""

    def __init__(self, postgres: Store, connection: Any) -> None:
        self.now = NOW
        self.tables = Tables(lambda: self.now)
        self._stores = (MemoryStore(self.tables), postgres)
        self._connection = connection

    @classmethod
    async def open(cls, dsn: str) -> Self:
        connection = await asyncpg.connect(dsn)
        await connection.execute(VIRTUAL_TIME)
        return cls(await PostgresStore.open(dsn, name="twin"), connection)

    async def close(self) -> None:
        await self._stores[1].close()
        self._connection.terminate()

    async def begin(self) -> None:
        """Both are empty."""
        await self._connection.execute(CLEAN)
        self.tables.__init__(lambda: self.now)  # type: ignore[misc]
        await self.pass_time(0.0, since=NOW)

    async def pass_time(self, seconds: float, since: datetime | None = None) -> None:
        self.now = (since or self.now) + timedelta(seconds=seconds)
        await self._connection.execute("update durable.virtual_time set at = $1", self.now)

    async def register(self, registration: Registration) -> None:
        """A row, as a heartbeat writes it."""
        row = Worker(registration, started_at=self.now, beat_at=self.tables.machine())
        self.tables.worker.setdefault(registration.worker, row)
        sql = """
            insert into durable.worker (worker, name, state, host, pid, pid_started, workflows,
                queues, build, lease_seconds, locks, started_at, beat_at)
            values ($1, $2, 'live', $3, $4, $5, $6, $7, $8, $9, false, $10, now())
            on conflict do nothing"""
        told = registration
        await self._connection.execute(
            sql, told.worker, told.name, told.host, told.pid,
            told.pid_started, list(told.workflows), list(told.queues), told.build,
            told.lease_seconds, self.now,
        )  # fmt: skip

    async def ask(self, call: Callable[[Store], Awaitable[Any]]) -> Any:
        """The answer of both, which must be one."""
        answers: list[Any] = []
        for store in self._stores:
            try:
                answers.append(_in_order(await call(store)))
            except Exception as error:  # what it is, is the answer
                answers.append(type(error))
        assert answers[0] == answers[1], answers
        return answers[0]

    async def compare(self) -> None:
        """All that stands in the tables."""
        for place, order in PLACES.items():
            query = f"select * from durable.{place} {order}"
            theirs = [dict(each) for each in await self._connection.fetch(query)]
            mine: list[dict[str, Any]] = getattr(self, f"_{place}")()
            columns = mine[0].keys() if mine else ()
            found = [{name: each[name] for name in columns} for each in theirs]
            for each in [*mine, *found]:
                if each.get("kind") in BY_CHANCE:
                    each["key"] = None
            assert not (differing := list(_differing(mine, found))), (place, differing)

    # The tables in memory, as rows

    def _run(self) -> list[dict[str, Any]]:
        rows = sorted(self.tables.run.values(), key=lambda run: run.run)
        told = [{name: getattr(run, name) for name in RUN_COLUMNS} for run in rows]
        return [{name: _plain(value) for name, value in each.items()} for each in told]

    def _journal(self) -> list[dict[str, Any]]:
        rows = [row for key in sorted(self.tables.journal) for row in self.tables.journal[key]]
        return [{name: getattr(row, name) for name in row.__struct_fields__} for row in rows]

    def _inbox(self) -> list[dict[str, Any]]:
        return [{**message._asdict(), "key": key} for run in sorted(self.tables.inbox)
                for key, message in self.tables.inbox[run].items()]  # fmt: skip

    def _input(self) -> list[dict[str, Any]]:
        known = sorted(self.tables.input.items())
        return [{"run": run, "args": args, "digest": digest} for run, (args, digest) in known]

    def _result(self) -> list[dict[str, Any]]:
        names = ("result", "failure", "failed_at", "next_op", "reason", "heir")
        return [{"run": run, **{name: getattr(each, name) for name in names}}
                for run, each in sorted(self.tables.result.items())]  # fmt: skip

    def _attempt(self) -> list[dict[str, Any]]:
        return [{"run": run, "worker": worker, **note._asdict()}
                for (run, _), (worker, note) in sorted(self.tables.attempt.items())]  # fmt: skip

    def _answer(self) -> list[dict[str, Any]]:
        known = sorted(self.tables.answer.items())
        return [{"run": run, **reply._asdict()} for (run, _), reply in known]

    def _state(self) -> list[dict[str, Any]]:
        return [{"run": run, "name": name, "version": version, "value": value}
                for (run, name), (version, value) in sorted(self.tables.state.items())]  # fmt: skip

    def _stream(self) -> list[dict[str, Any]]:
        return [{"run": run, "name": name, **row.item._asdict()}
                for (run, name), rows in sorted(self.tables.stream.items())
                for row in rows]  # fmt: skip

    def _farewell(self) -> list[dict[str, Any]]:
        return [{"run": run, "length": n} for run, n in sorted(self.tables.farewell.items())]

    def _worker(self) -> list[dict[str, Any]]:
        known = sorted(self.tables.worker.items())
        return [{"worker": key, "state": row.state} for key, row in known]


def _differing(mine: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> Iterator[Any]:
    """Of each row its key, and what differs in it."""
    nothing: dict[str, Any] = {}
    for one, other in zip_longest(mine, theirs, fillvalue=nothing):
        names = [name for name in {**one, **other} if one.get(name, 0) != other.get(name, 0)]
        if names:
            yield list(one.values())[:2], {name: (one.get(name), other.get(name)) for name in names}


def _plain(value: Any) -> Any:
    """As an array of Postgres: null if there is nothing in it."""
    return (list(value) or None) if isinstance(value, tuple) else value


def _in_order(answer: Any) -> Any:
    """What comes in no order, in one; keys that a store has drawn are the same to us."""
    if isinstance(answer, list) and answer and isinstance(answer[0], tuple):
        return sorted(answer, key=lambda each: str(each[:2]))
    if isinstance(answer, list) and answer and isinstance(answer[0], JournalRow):
        return [structs.replace(each, key=b"") if each.kind in BY_CHANCE else each
                for each in answer]  # fmt: skip
    return answer
