"""What is left of a trial: the history, the audit, and how the tables stand in the end."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import asyncpg

from durable._store import verbs
from durable._store.postgres.store import Store
from durable._store.protocol import JournalRow
from tests.proof import history

Row = dict[str, Any]

PLACES = (
    "run", "journal", "inbox", "outcome", "worker", "result", "input", "state", "stream",
    "answer", "farewell",
)  # fmt: skip


@dataclass
class Evidence:
    """``late`` is how far the database's clock may be behind this machine's, in seconds;
    ``replays`` is kept by ``replayed.py``."""

    history: list[Row]
    audit: list[Row]
    tables: dict[str, list[Row]]
    journals: dict[int, list[JournalRow]]
    bookings: list[Row]
    now: dt.datetime
    late: float
    id_of: dict[int, str] = field(default_factory=dict)
    replays: dict[int, Any] = field(default_factory=dict)

    def seen(self, *kinds: str) -> list[Row]:
        return [each for each in self.history if each["kind"] in kinds]

    def writes(self, place: str, *what: str) -> list[Row]:
        return [each for each in self.audit if each["place"] == place
                and (not what or each["what"] in what)]  # fmt: skip

    def run_of(self, id: str) -> list[int]:
        """All of them, in the order in which they were begun."""
        return sorted(run for run, known in self.id_of.items() if known == id)


async def install(dsn: str) -> None:
    """The audit schema, in a database that has ours."""
    sql = (resources.files("tests.proof") / "audit.sql").read_text(encoding="utf-8")
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


async def forget(connection: asyncpg.Connection[Any]) -> None:
    """A stage swept clean, for the next trial."""
    await connection.execute(
        "set session_replication_role = replica; "  # no triggers
        + "; ".join(f"delete from durable.{each}" for each in (*PLACES, "attempt"))
        + "; delete from audit.entry; delete from audit.booking; "
        "set session_replication_role = origin"
    )


async def gather(dsn: str, path: Path | None, **known: list[Row]) -> Evidence:
    connection = await asyncpg.connect(dsn)
    store = await Store.open(dsn, name="evidence")
    try:
        return await gather_on(connection, store, path, **known)
    finally:
        await store.close()
        await connection.close()


async def gather_on(
    connection: asyncpg.Connection[Any], store: verbs.Store, path: Path | None, **known: list[Row]
) -> Evidence:
    before = dt.datetime.now(dt.UTC)
    now: dt.datetime = await connection.fetchval("select clock_timestamp()")
    tables = {
        place: [dict(each) for each in await connection.fetch(f"select * from durable.{place}")]
        for place in PLACES
    }
    tables["journal"].sort(key=lambda row: (row["run"], row["position"]))
    entries = [dict(e) for e in await connection.fetch("select * from audit.entry order by n")]
    _decode(entries)
    bookings = [dict(each) for each in await connection.fetch("select * from audit.booking")]
    journals: dict[int, list[JournalRow]] = {row["run"]: [] for row in tables["run"]}
    for row in await store.journal.read([(run, 0) for run in journals]):
        journals[row.run].append(row)
    seen = [] if path is None else history.read(path)
    ids = {row["run"]: row["id"] for row in tables["run"]}
    late = max(0.0, (before - now).total_seconds()) + 0.001
    return Evidence(seen + known.get("more", []), entries, tables, journals, bookings, now,
                    late, ids)  # fmt: skip


def _decode(entries: list[Row]) -> None:
    for each in entries:
        for key in ("row", "before"):
            if isinstance(each[key], str):
                each[key] = json.loads(each[key])
        each["at"] = each["at"].timestamp()
