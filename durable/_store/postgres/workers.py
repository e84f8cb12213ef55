"""The ``worker`` table: who lives, and what happens to the runs of those who do not."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from ..protocol import Beat, Hint, Registration, Suspect, Unavailable
from . import statements
from .connecting import Session
from .line import Line
from .statements import Noun

log = logging.getLogger("durable.worker")

BEAT_CALL_SECONDS = 2.5

# Runs taken back in one statement: it locks them all.
BATCH = 1_000

# How often a takeover asks for the dead worker's row, each time for half a second; what holds
# it longer is ended by Postgres itself (idle in transaction) or by TCP.
TRIES = 20

Backends = Callable[[], list[tuple[int, datetime]]]


class Heartbeat:
    """A worker's own row, on a connection of its own, in the loop that beats."""

    def __init__(self, line: Line, schema: str, backends: Backends, *, listens: bool) -> None:
        self._line = line
        self._sql = statements.load("workers", schema)
        self._backends = backends
        self._listens = listens
        self._settled: Session | None = None  # it listens, and holds the advisory lock
        self._answered: Session | None = None  # that of the latest beat
        self.on_news: Callable[[], object] = lambda: None  # somebody says that something is due

    async def register(self, registration: Registration) -> None:
        """Begin to live: the lock first, then the row that judges look at."""
        await self._settle(registration.worker)
        told = *registration, self._holds_lock()
        await self._line.fetch(self._sql["register"], *told, within=BEAT_CALL_SECONDS)

    async def beat(self, worker: UUID) -> Beat:
        """Say that this worker lives, and learn what it wants to know; one statement.

        Raises:
            Unavailable: no answer, or the connection is not that of the last beat: a gap, after
                which this worker may not judge others.
        """
        before, self._answered = self._answered, None
        if not self._is_settled():
            await self._settle(worker)
        backends = self._backends()
        try:
            row = await self._line.fetchrow(
                self._sql["beat"],
                worker,
                [pid for pid, _ in backends],
                [started for _, started in backends],
                self._holds_lock(),
                within=BEAT_CALL_SECONDS,
            )
        except asyncpg.PostgresError as error:
            raise Unavailable(f"the heartbeat was refused: {error}") from error
        self._answered = self._line.session
        if before is not None and before is not self._answered:
            raise Unavailable("the connection was lost since the last heartbeat, and is back")
        return Beat(*row)

    async def close(self) -> None:
        await self._line.close()

    async def _settle(self, worker: UUID) -> None:
        """Listen, and try to hold the lock that tells judges of a dropped connection. A session
        of ours that is dying may still have it; then the next beat tries again. Behind a pooler
        neither means anything: a lock would outlive us, and hints would go to nobody."""
        try:
            await self._line.call(self._listen, within=BEAT_CALL_SECONDS)
            session = self._line.session
            pooled = session is None or session.pooled
            if pooled or await self._line.fetchval(
                self._sql["lock"], worker, within=BEAT_CALL_SECONDS
            ):
                self._settled = session
        except asyncpg.PostgresError as error:
            raise Unavailable(f"the heartbeat was refused: {error}") from error

    async def _listen(self, connection: asyncpg.Connection[Any]) -> None:
        """Before the beat, which finds what was due earlier. Hints are never needed."""
        session = self._line.session
        if self._listens and session is not None and not session.pooled:
            await connection.add_listener(Hint.DUE, self._heard)

    def _heard(self, *_: object) -> None:
        self.on_news()

    def _is_settled(self) -> bool:
        return self._settled is not None and self._settled is self._line.session

    def _holds_lock(self) -> bool:
        session = self._line.session
        return session is not None and session is self._settled and not session.pooled


class Workers(Noun):
    async def suspects(self, judge: UUID) -> list[Suspect]:
        """All other workers, with what tells whether they live."""
        return [Suspect(*row) for row in await self._line.fetch(self._sql["suspects"], judge)]

    async def take_over(self, worker: UUID, *, judged_at: datetime | None = None) -> int:
        """Declare a worker dead and hand back its runs. Any number of judges may do this, at
        once and again. Returns how many runs went back now.

        With ``judged_at``, the ``beat_at`` that it was judged by, it is spared if it has
        beaten since.

        Raises:
            Unavailable: its row, or a run of it, stays locked; try again later.
        """
        if not await self._mark_dead(worker, judged_at):
            return 0
        count = 0
        while True:
            taken = await self._line.fetch(self._sql["take_back"], worker, BATCH)
            count += len(taken)
            if not taken:
                break
        if await self._line.fetchval(self._sql["bury"], worker) is None:
            log.debug("worker %s is not buried yet, or was by somebody else", worker)
        return count

    async def deregister(self, worker: UUID) -> None:
        """The orderly end: nothing is left to take over, or the others will."""
        await self._mark_dead(worker, None)
        await self._line.fetchval(self._sql["bury"], worker)

    async def _mark_dead(self, worker: UUID, judged_at: datetime | None) -> bool:
        for _ in range(TRIES):
            try:
                dead: bool = await self._line.aside.fetchval(
                    self._sql["mark_dead"], worker, judged_at
                )
            except asyncpg.LockNotAvailableError:
                await self._end_backends(worker)
            else:
                return dead
        raise Unavailable(f"a session holds the row of worker {worker} and does not end")

    async def _end_backends(self, worker: UUID) -> None:
        try:
            rows = await self._line.fetch(self._sql["end_backends"], worker)
            hidden = any(row["hidden"] for row in rows)
        except asyncpg.InsufficientPrivilegeError:
            hidden = True
        if hidden:
            log.warning(
                "sessions of dead worker %s are another role's, and hold its row; they end by "
                "themselves, after ten seconds or so. To make takeovers quick let all workers use "
                "one role, or grant pg_signal_backend and pg_read_all_stats to this one.",
                worker,
            )
