"""The ``run`` table: births, claims, and all that moves a run from outside its code."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID

import asyncpg

from ...errors import LeaseLost
from ..family import NewRun
from ..protocol import (
    Claimed,
    HandBack,
    Letter,
    Message,
    Outcome,
    Started,
    Swept,
    Unavailable,
)
from .journal import FENCED
from .libraries import join
from .statements import Noun

T = TypeVar("T")

log = logging.getLogger("durable")

# Starts in one statement. Each explicit id is a lock of Postgres' shared table, which has room
# for 6,400 by default and is everybody's. (10,000 halved until they fit are 16 times 625.)
START_MAX, START_BYTES = 625, 8 * 1024 * 1024

# Runs told of their deadline in one statement: it locks them. Likewise children, that theirs has
# ended.
EXPIRE_MAX, CHILDREN_MAX = 1_000, 500


class Runs(Noun):
    async def keys(self, count: int) -> list[int]:
        """Run keys that nobody else will ever get."""
        return [row["run"] for row in await self._line.fetch(self._sql["keys"], count)]

    async def start(
        self, new: NewRun, *, first: Letter | None = None, connection: Any = None
    ) -> Started:
        """Start a run, or find the one that has the id. With ``connection`` (an asyncpg
        connection of the caller's) it joins the transaction there. A run that is started has
        the message ``first`` in its inbox; one that was there is sent nothing.

        Raises:
            StoreUnavailable: another transaction holds the id and does not end.
        """
        sent: tuple[Any, ...] = (self._sql["start"], *new)
        if first is not None:
            sent = (self._sql["start_with_message"], *new, *first)
        if connection is not None:
            return Started(*(await join(connection, *sent))[0])
        what = f"id {new.id!r}"
        return Started(*await twice(lambda: self._line.patiently(what, *sent)))

    async def start_many(
        self, new: Sequence[NewRun], *, waits: bool = True, connection: Any = None
    ) -> list[Started | None]:
        """As many starts, in few statements. None for what is to be sent alone: the database
        refuses it, or somebody holds its id, and does not let go of it soon (or it is not to be
        waited for). It costs the others nothing."""
        query, arguments = self._sql["start_many"], [*zip(*new, strict=True), waits]
        if connection is not None:
            return [Started(*row) for row in await join(connection, query, *arguments)]
        if len(new) <= START_MAX and sum(len(each.input) for each in new) <= START_BYTES:
            try:
                rows = await twice(lambda: self._line.fetch(query, *arguments))
                return [None if row["run"] is None else Started(*row) for row in rows]
            except asyncpg.PostgresError:
                log.debug("one of %d starts is refused: looking for it", len(new))
        if len(new) == 1:
            return [None]
        middle = len(new) // 2
        halves = new[:middle], new[middle:]
        return [each for half in halves for each in await self.start_many(half, waits=waits)]

    async def claim(
        self,
        worker: UUID,
        *,
        limit: int,
        versions: str | None = None,
        doubtful_max: int = 1,
    ) -> list[Claimed]:
        """Take due runs that the worker serves. ``versions`` is noted on runs without any.
        Of doubtful ones it gets ``doubtful_max``, on trial together.

        Raises:
            LeaseLost: this worker was declared dead.
        """
        try:
            rows = await self._line.fetch(self._sql["claim"], worker, limit, versions, doubtful_max)
        except asyncpg.PostgresError as error:
            if error.sqlstate == FENCED:
                raise LeaseLost(str(error)) from None
            raise
        return [
            Claimed._make((run, *claim, tuple(Message(run, *each) for each in messages or ())))
            for run, *claim, messages in rows
        ]

    async def acquit(self, worker: UUID, runs: Sequence[int]) -> None:
        """Doubtful runs of this worker have lived on: its death will not count against them."""
        await self._line.fetch(self._sql["acquit"], worker, runs)

    async def look(self, run: int) -> Claimed | None:
        """What it takes to replay a run, whoever has it."""
        row = await self._line.fetchrow(self._sql["look"], run)
        return Claimed(*row) if row is not None else None

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
        row = await self._line.patiently(
            f"run {run}", self._sql["set_stuck"], worker, run, claim, report, build
        )
        return row is not None

    async def sweep_unserved(self) -> Swept:
        """Set aside due runs that nobody serves, and bring back those that somebody serves
        now; likewise stuck ones, when another build has come."""
        unserved = await self._line.fetch(self._sql["set_unserved"])
        served = await self._line.fetch(self._sql["set_served"])
        revived = await self._line.fetch(self._sql["revive_stuck"])
        return Swept(len(unserved), len(served) + len(revived))

    async def current(self, id: str) -> int | None:
        """The run that the id names now."""
        run: int | None = await self._line.fetchval(self._sql["current"], id)
        return run

    async def expire(self) -> int:
        """Ask runs to cancel whose deadline has passed. Returns how many were asked; as many as
        ``EXPIRE_MAX`` if there may be more."""
        return len(await self._line.fetch(self._sql["expire"], EXPIRE_MAX))

    async def settled(self, runs: Sequence[int]) -> list[Outcome]:
        """Those of these runs that are over, stuck, or ``absent``."""
        return [Outcome(*row) for row in await self._line.fetch(self._sql["settled"], list(runs))]

    async def outcomes(self, runs: Sequence[int]) -> list[Outcome]:
        """How these runs stand."""
        return [Outcome(*row) for row in await self._line.fetch(self._sql["outcomes"], list(runs))]

    async def children(self, run: int) -> list[int]:
        """The operations by which a run has children."""
        return [row["parent_op"] for row in await self._line.fetch(self._sql["children"], run)]

    async def tell_children(self) -> bool:
        """Do with some children of a closed run what they were begun with. False if there are no
        more of such runs."""
        return await self._line.fetchval(self._sql["tell_children"], CHILDREN_MAX) is not None

    async def retry(self, id: str, meant: int | None = None) -> str | None:
        """Let a failed or stuck run go on, or refuse if the id names another than ``meant``. None
        if it does, ``absent``, or why not, in words."""
        return await self._from_outside("retry", id, meant)

    async def restart(self, id: str, meant: int, seed: bytes) -> int | None:
        """Begin the run ``meant`` anew in its place: the key of the new one. None if the id names
        another."""
        sent = f"id {id!r}", self._sql["restart"], id, meant, seed
        run: int | None = (await twice(lambda: self._line.patiently(*sent)))[0]
        return run

    async def terminate(self, id: str, reason: str | None, meant: int | None = None) -> str | None:
        """Close an open run at once. None if that was done, else ``absent``, or the status of a
        closed run."""
        return await self._from_outside("terminate", id, reason, meant)

    async def pause(self, id: str, holds: bool, meant: int | None = None) -> str | None:
        """Let a run hold, or go on. None if it will, else as ``terminate``."""
        return await self._from_outside("pause", id, holds, meant)

    async def pin(self, id: str, build: str | None, meant: int | None = None) -> str | None:
        """Name the build whose workers alone may take a run up. Answers as ``pause``."""
        return await self._from_outside("pin", id, build, meant)

    async def claims(self, worker: UUID, runs: Sequence[int]) -> dict[int, int]:
        """Those of these runs that are still this worker's, with the claim that says so."""
        rows = await self._line.fetch(self._sql["claims"], worker, list(runs))
        return {row["run"]: row["claim"] for row in rows}

    async def _from_outside(self, verb: str, id: str, *args: Any) -> str | None:
        row = await self._line.patiently(f"run {id!r}", self._sql[verb], id, *args)
        refusal: str | None = row[0]
        return refusal


async def twice(call: Callable[[], Awaitable[T]]) -> T:
    """What is sent again after a lost answer, if it can tell that it has happened already."""
    try:
        return await call()
    except Unavailable:
        return await call()
