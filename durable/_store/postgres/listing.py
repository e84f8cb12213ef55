"""Runs as people look at them, and the removal of those that nobody looks at any more.

On a connection of its own: no list holds up a worker's calls.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import msgspec

from ..protocol import JournalRow, Message, Note, Unwritable
from .runs import twice
from .statements import Noun

# Deleted in one statement: it locks these runs, and writes about as many rows of WAL.
DELETE_RUNS, DELETE_EVENTS = 1_000, 20_000

ADOPT_SECONDS = 60.0  # for one statement with a whole history

# With none of these, a list probes workflow after workflow.
_PICKY = {"running", "uncommon", "rare", "workflow", "id_prefix", "parent", "closed_since",
          "closed_until"}  # fmt: skip


class Listing(Noun):
    async def describe(self, id: str, meant: int | None = None) -> dict[str, Any] | None:
        """The run that the id names, or the run ``meant``, payloads readable; None if there is
        none."""
        row = await self._line.fetchrow(self._sql["describe"], id, meant)
        return None if row is None else _described(row)

    async def page(
        self,
        filters: Mapping[str, Any],
        *,
        oldest_first: bool,
        limit: int,
        beyond: tuple[datetime, int] | None,
    ) -> list[dict[str, Any]]:
        """Runs after a (created_at, run), the youngest first if not the oldest. ``filters``
        hold an argument for each ``filter_`` of ``listing.sql`` that is wanted."""
        wanted: dict[str, tuple[Any, ...]] = {name: (each,) for name, each in filters.items()}
        if "id_prefix" in wanted:
            wanted["id_prefix"] = (like(filters["id_prefix"]),)
        if "status" in wanted and filters["status"] != "completed":
            wanted["running" if filters["status"] == "running" else "uncommon"] = ()
        elif "statuses" in wanted and "completed" not in filters["statuses"]:
            wanted["rare"] = ()
        if beyond is not None:
            wanted["beyond"] = beyond
        arguments = [each for values in wanted.values() for each in values]
        is_picky = not _PICKY.isdisjoint(wanted)
        query = self._page(tuple(wanted), is_picky=is_picky, oldest_first=oldest_first)
        rows = await self._line.fetch(query, *arguments, *(limit,) * (1 if is_picky else 2))
        return [_described(row) for row in rows]

    def _page(self, filters: tuple[str, ...], *, is_picky: bool, oldest_first: bool) -> str:
        sql = self._sql
        found = sql["found" if is_picky else "found_everywhere"]
        found = found.replace("filters", " ".join(sql[f"filter_{name}"] for name in filters))
        query = sql["page"].replace("(found)", f"({found})")
        if oldest_first:
            query = query.replace(" desc", "").replace("r.run) < (", "r.run) > (")
        first, *rest = query.split("?")
        return first + "".join(f"${n}{part}" for n, part in enumerate(rest, start=1))

    async def history(self, id: str) -> list[dict[str, Any]]:
        """The events of the run that the id names, payloads readable."""
        return [_described(row) for row in await self._line.fetch(self._sql["history"], id)]

    async def selected(
        self, statuses: Sequence[str], workflow: str | None, limit: int | None
    ) -> list[int]:
        """Keys of the runs that stand so, the youngest first: all as of one moment."""
        query = self._sql["selected_anywhere" if "completed" in statuses else "selected"]
        found = await self._line.fetch(query, list(statuses), workflow, limit)
        return [row["run"] for row in found]

    async def recorded(self, runs: Sequence[int]) -> list[dict[str, Any]]:
        """What replay needs of these runs beside their journals; ``events``: how long those are."""
        found = await self._line.fetch(self._sql["recorded"], list(runs))
        return [{**row, "notes": tuple(Note(*each) for each in row["notes"])} for row in found]

    async def adopt(
        self,
        recorded: Mapping[str, Any],
        events: Sequence[JournalRow],
        voids: Mapping[int, int],
        notes: Sequence[Note],
        unread: Sequence[Message],
        parent: int | None,
    ) -> tuple[int | None, str | None]:
        """Bring in a run of another database: its key here; or None, and how the run stands that
        has its id. ``voids``: which event each ``voided`` one takes back, by position.

        Raises:
            Unwritable: the database refuses these values.
        """
        lists = [events, [each._asdict() for each in notes], [each._asdict() for each in unread]]
        run, rows, *others = (msgspec.json.encode(each).decode() for each in (recorded, *lists))
        key = await self._line.fetchval(self._sql["key"])
        sent = (run, rows, list(voids), list(voids.values()), *others, parent, key)
        query, within = self._sql["adopt"], ADOPT_SECONDS
        try:
            row = await twice(lambda: self._line.fetchrow(query, *sent, within=within))
        except asyncpg.PostgresError as error:
            raise Unwritable(f"The database refuses the run: {error}") from error
        return row["key"], row["taken"]

    async def counts(self) -> dict[str, int]:
        """How many runs stand in each status."""
        rows = await self._line.fetch(self._sql["counts"])
        return {row["status"]: row["count"] for row in rows}

    async def delete(
        self,
        *,
        older_than: timedelta,
        status: Sequence[str] | None,
        workflow: str | None,
        dry_run: bool,
    ) -> int:
        """Remove closed runs with all their rows, batch by batch; returns how many."""
        before = await self._line.fetchval(self._sql["time_before"], older_than)
        which = (before, status, workflow)
        if dry_run:
            count: int = await self._line.fetchval(self._sql["count_closed"], *which)
            return count
        total = 0
        at, run = None, None
        while True:
            deleted, at, run = await self._line.fetchrow(
                self._sql["delete_closed"], *which, at, run, DELETE_RUNS, DELETE_EVENTS
            )
            if at is None:
                return total
            total += deleted


def like(prefix: str) -> str:
    """The pattern of texts that begin with ``prefix``."""
    return re.sub(r"([\\%_])", r"\\\1", prefix) + "%"


def _described(row: Any) -> dict[str, Any]:
    described = dict(row)
    for name in ("input", "result", "failure"):
        text = described[name]
        described[name] = None if text is None else json.loads(text)
    return described
