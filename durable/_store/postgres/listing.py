"""Runs as people look at them."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from . import statements
from .line import Line


class Listing:
    def __init__(self, line: Line, schema: str) -> None:
        self._line = line
        self._sql = statements.load("listing", schema)

    async def describe(self, id: str) -> dict[str, Any] | None:
        """The run that the id names, payloads readable; None if there is none."""
        row = await self._line.fetchrow(self._sql["describe"], id)
        return None if row is None else _described(row)

    async def page(
        self,
        *,
        status: str | None,
        workflow: str | None,
        limit: int,
        before: tuple[datetime, int] | None,
    ) -> list[dict[str, Any]]:
        """The youngest runs before a (created_at, run)."""
        at, run = before if before is not None else (None, None)
        rows = await self._line.fetch(self._sql["page"], status, workflow, at, run, limit)
        return [_described(row) for row in rows]

    async def history(self, id: str) -> list[dict[str, Any]]:
        """The events of the run that the id names, payloads readable."""
        return [_described(row) for row in await self._line.fetch(self._sql["history"], id)]

    async def counts(self) -> dict[str, int]:
        """How many runs stand in each status."""
        rows = await self._line.fetch(self._sql["counts"])
        return {row["status"]: row["count"] for row in rows}


def _described(row: Any) -> dict[str, Any]:
    described = dict(row)
    for name in ("input", "result", "failure"):
        text = described[name]
        described[name] = None if text is None else json.loads(text)
    return described
