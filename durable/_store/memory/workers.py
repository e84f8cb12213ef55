"""The ``worker`` table in memory: the verdicts of ``workers.sql`` and ``worker.sql``.

Whether a worker lives is judged by the machine's clock, however the time of runs may jump.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from ..protocol import DOUBTFUL_FROM, Beat, Hint, Registration, Suspect
from .runs import is_overdue
from .tables import CLAIMABLE, Tables, Worker, verb

LATE = timedelta(seconds=1.5)  # as in beat

ASIDE = frozenset({"unserved", "stuck"})


class Heartbeat:
    """Belongs to the loop that opens it, as on Postgres."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._worker: UUID | None = None
        self._loop = asyncio.get_running_loop()
        self.on_news: Callable[[], object] = lambda: None
        tables.listeners[Hint.DUE][self] = self._hear

    @verb
    def register(self, registration: Registration) -> None:
        self._worker = registration.worker
        row = Worker(registration, started_at=self._tables.now(), beat_at=self._tables.machine())
        self._tables.worker.setdefault(registration.worker, row)

    @verb
    def beat(self, worker: UUID) -> Beat:
        tables, moment, machine = self._tables, self._tables.now(), self._tables.machine()
        row = tables.worker.get(worker)
        is_alive = row is not None and row.state == "live"
        if row is not None and is_alive:
            row.beat_at = machine
        due = [
            (run.due_at, run) for run in tables.run.values()
            if run.worker is None and run.status in CLAIMABLE
            and run.due_at is not None and run.due_at <= moment
        ]  # fmt: skip
        aside = bool(due) or any(
            run.status in ASIDE and row is not None and row.serves(run)
            for run in tables.run.values()
        )
        overdue = any(is_overdue(run, moment) for run in tables.run.values())
        coming = (
            run.due_at for run in tables.run.values()
            if row is not None and run.worker is None and run.status in CLAIMABLE
            and run.due_at is not None and run.due_at > moment
            and run.queue in row.registration.queues
        )  # fmt: skip
        mail = any(run.due_at is not None for run in tables.owned_by(worker))
        suspects = any(
            each.registration.worker != worker
            and (each.state == "dead" or each.beat_at < machine - LATE)
            for each in tables.worker.values()
        )
        return Beat(
            is_alive,
            moment,
            min((at for at, run in due if row and row.serves(run)), default=None),
            any(tables.owned_by(worker)),
            mail,
            overdue,
            min(coming, default=None),
            suspects,
            aside,
            bool(tables.farewell),
        )

    async def close(self) -> None:
        with self._tables.lock:
            self._tables.listeners[Hint.DUE].pop(self, None)
            row = self._tables.worker.get(self._worker) if self._worker is not None else None
            if row is not None:
                row.holds_lock = False

    def _hear(self) -> None:
        """Somebody hints, in whatever loop he is."""
        try:
            self._loop.call_soon_threadsafe(self.on_news)
        except RuntimeError:
            self._tables.listeners[Hint.DUE].pop(self, None)  # its loop is closed: nobody listens


class Workers:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    @verb
    def suspects(self, judge: UUID) -> list[Suspect]:
        machine = self._tables.machine()
        up_for = (machine - self._tables.up_since).total_seconds()
        return [
            Suspect(
                r.worker,
                r.name,
                row.state,
                r.host,
                r.pid,
                r.pid_started,
                row.beat_at,
                silent_for=(machine - row.beat_at).total_seconds(),
                lease=r.lease_seconds,
                lock_is_free=not row.holds_lock,
                server_up_for=up_for,
            )
            for row in self._tables.worker.values()
            for r in [row.registration]
            if r.worker != judge
        ]

    @verb
    def take_over(self, worker: UUID, *, judged_at: datetime | None = None) -> int:
        tables = self._tables
        row = tables.worker.get(worker)
        if row is None or (judged_at is not None and row.beat_at > judged_at):
            return 0
        row.state = "dead"
        runs = list(tables.owned_by(worker))
        for run in runs:
            if len(tables.journal[run.run]) > run.length_at_claim:
                run.crashes = 0
            elif run.crashes < DOUBTFUL_FROM or run.on_trial == 1:
                run.crashes += 1
            elif run.on_trial:
                run.crashes = max(run.crashes, DOUBTFUL_FROM + 1)
            run.worker, run.on_trial = None, 0
            run.status = "pending" if run.paused_at is None else "paused"
            run.make_due(tables.now())
        del tables.worker[worker]
        return len(runs)

    @verb
    def deregister(self, worker: UUID) -> None:
        row = self._tables.worker.get(worker)
        if row is None:
            return
        row.state = "dead"
        if not any(self._tables.owned_by(worker)):
            del self._tables.worker[worker]
