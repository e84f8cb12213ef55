"""The ``run`` table: births, claims, and all that moves a run from outside its code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg

from ...errors import LeaseLost
from ..protocol import Claimed, HandBack, Outcome, Started
from . import statements
from .journal import FENCED
from .line import Line
from .patience import Patience


class Runs:
    def __init__(self, line: Line, patience: Patience, schema: str) -> None:
        self._line = line
        self._patience = patience
        self._sql = statements.load("runs", schema)

    async def keys(self, count: int) -> list[int]:
        """Run keys that nobody else will ever get."""
        return [row["run"] for row in await self._line.fetch(self._sql["keys"], count)]

    async def start(
        self,
        *,
        id: str,
        workflow: str,
        queue: str,
        priority: int,
        input: bytes,
        input_digest: bytes,
        if_exists: str,
        connection: Any = None,
    ) -> Started:
        """Start a run, or find the one that has the id. With ``connection`` (an asyncpg
        connection of the caller's) it joins the transaction there.

        Raises:
            StoreUnavailable: another transaction holds the id and does not end.
        """
        arguments = (id, workflow, queue, priority, input, input_digest, if_exists)
        if connection is not None:
            row = await connection.fetchrow(self._sql["start"], *arguments)
        else:
            row = await self._patience.fetchrow(f"id {id!r}", self._sql["start"], *arguments)
        return Started(*row)

    async def claim(
        self, worker: UUID, *, limit: int, versions: str | None = None
    ) -> list[Claimed]:
        """Take due runs that the worker serves. ``versions`` is noted on runs without any.

        Raises:
            LeaseLost: this worker was declared dead.
        """
        try:
            rows = await self._line.fetch(self._sql["claim"], worker, limit, versions)
        except asyncpg.PostgresError as error:
            if error.sqlstate == FENCED:
                raise LeaseLost(str(error)) from None
            raise
        return [Claimed(*row) for row in rows]

    async def owned(self, worker: UUID) -> list[Claimed]:
        """What stands as this worker's, whatever it remembers."""
        return [Claimed(*row) for row in await self._line.fetch(self._sql["owned"], worker)]

    async def hand_back(self, worker: UUID, runs: Sequence[HandBack]) -> list[int]:
        """Give runs up. Returns those that went; the others are locked by a stranger (try
        again) or not this worker's."""
        if not runs:
            return []
        rows = await self._line.fetch(self._sql["hand_back"], worker, *zip(*runs, strict=True))
        return [row["run"] for row in rows]

    async def set_stuck(
        self, worker: UUID, run: int, claim: int, *, report: str, build: str
    ) -> bool:
        """No code of this build can continue the run. False if it is not the worker's."""
        row = await self._patience.fetchrow(
            f"run {run}", self._sql["set_stuck"], worker, run, claim, report, build
        )
        return row is not None

    async def sweep_unserved(self) -> int:
        """Set aside due runs that nobody serves, and bring back those that somebody serves
        now; likewise stuck ones, when another build has come. Returns how many came back."""
        await self._line.fetch(self._sql["set_unserved"])
        served = await self._line.fetch(self._sql["set_served"])
        revived = await self._line.fetch(self._sql["revive_stuck"])
        return len(served) + len(revived)

    async def current(self, id: str) -> int | None:
        """The run that the id names now."""
        run: int | None = await self._line.fetchval(self._sql["current"], id)
        return run

    async def outcomes(self, runs: Sequence[int]) -> list[Outcome]:
        """How these runs stand."""
        return [Outcome(*row) for row in await self._line.fetch(self._sql["outcomes"], list(runs))]

    async def retry(self, id: str) -> str | None:
        """Let a failed or stuck run go on. None if it does, ``absent``, or why not, in words."""
        row = await self._patience.fetchrow(f"run {id!r}", self._sql["retry"], id)
        refusal: str | None = row[0]
        return refusal
