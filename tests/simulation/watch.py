"""Looks at the database after each statement: what must hold whatever happens, holds at any moment.

It knows the tables and who sent what, and nothing of how the store comes to its verdicts.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from datetime import timedelta
from typing import Any
from uuid import UUID

from durable._core import commands
from durable._core.statuses import CLOSED, Status, may_become
from durable._runtime.lease import START_DEADLINE
from durable._runtime.work import Work
from durable._store.memory.tables import Run
from durable._store.protocol import Advance, JournalRow, Verdict

from .server import Server

BY_OTHERS = ("terminated", "voided")  # rows that another than the run's owner may write
ANSWERS = ("activity", "timer", "child", "promise")

OPENS = "open_heartbeat"  # whose answer is told by its address

# A worker reads its clock a moment after it has looked whether it may begin.
GRACE = 0.01


class Watch:
    """``broken``: what has gone wrong, in words. ``told``: what happened last; ``print``: a digest
    of all that happened."""

    def __init__(self, server: Server) -> None:
        self.broken: list[str] = []
        self.told: deque[str] = deque(maxlen=4_000)
        self.statements = 0
        self.counts: Counter[str] = Counter()  # of what was answered, for those who ask for enough
        self.moved_at = 0.0  # when a journal has grown last
        self.begun: dict[tuple[int, int], list[Begun]] = {}
        self.answered_at_claim: dict[tuple[int, int], frozenset[int]] = {}
        self._digest = hashlib.blake2b(digest_size=16)
        self._server = server
        self._tables = server.tables
        self._rows: dict[int, list[JournalRow]] = {}
        self._statuses: dict[int, str] = {}
        self._results: dict[int, Any] = {}
        self._owners: dict[int, tuple[UUID | None, int]] = {}
        self._live: set[UUID] = set()
        self._beats: dict[UUID, float] = {}  # when each worker's latest was carried out
        self._seen: dict[int, int] = {}  # of a run's inbox, by its owner
        self._keys: dict[str, tuple[int, int]] = {}

    @property
    def print(self) -> str:
        return self._digest.hexdigest()

    def tell(self, line: str) -> None:
        line = f"{self._server.loop.now:.6f} {line}"
        self._digest.update(line.encode())
        self.told.append(line[:400])

    def breaks(self, what: str) -> None:
        self.broken.append(f"{self._server.loop.now:.3f}: {what}")
        self.tell(f"BROKEN: {what}")

    # Statements

    def before(self, verb: str, args: tuple[Any, ...]) -> None:
        self._owners = {key: (run.worker, run.claim) for key, run in self._tables.run.items()}
        self._live = {key for key, row in self._tables.worker.items() if row.state == "live"}

    def after(self, who: str, noun: str, verb: str, args: tuple[Any, ...], answer: Any) -> None:
        self.statements += 1
        self.tell(f"{who} {noun}.{verb} {answer!r}" if verb != OPENS else f"{who} connects")
        if isinstance(answer, Exception):
            self.counts[type(answer).__name__] += 1
        elif verb == "take_over" and answer:
            self.counts["runs taken over"] += answer
        elif verb == "set_stuck" and answer is True:
            self.counts["runs stuck"] += 1
        if verb == "commit" and isinstance(answer, list):
            self._committed(args[0], args[1], answer)
        elif verb == "claim" and isinstance(answer, list):
            self._claimed(args[0], [self._tables.run[each.run] for each in answer])
        elif verb == "clear_due":
            for run, seen in args[1]:
                self._seen[run] = max(self._seen.get(run, 0), seen)
        elif verb == "beat" and getattr(answer, "alive", False):
            self._beats[args[0]] = self._server.loop.now
        for run in self._tables.run.values():
            self._look(run)

    def _committed(self, worker: UUID, advances: list[Advance], verdicts: list[Verdict]) -> None:
        """Only who owned a run, and lived, has written to it."""
        for advance, verdict in zip(advances, verdicts, strict=True):
            grew = len(self._tables.journal.get(advance.run, ())) - len(
                self._rows.get(advance.run, ())
            )
            owner = self._owners.get(advance.run, (worker, advance.claim))
            if grew and (owner != (worker, advance.claim) or worker not in self._live):
                self.breaks(f"run {advance.run}: {worker} wrote, and {owner} owned it")
            if advance.rows:
                self.counts[f"{verdict} commit" if grew else f"{verdict} again"] += 1
            park = advance.effects.park if advance.effects else None
            if verdict is Verdict.PARKED and park is not None:
                self._seen[advance.run] = max(self._seen.get(advance.run, 0), park.seen)

    def _claimed(self, worker: UUID, runs: list[Run]) -> None:
        for run in runs:
            before, _ = self._owners[run.run]
            if before is not None or worker not in self._live:
                self.breaks(f"run {run.run}: {worker} claimed it from {before}")
            self.answered_at_claim[run.run, run.claim] = frozenset(self._answered(run.run))

    def _answered(self, run: int) -> list[int]:
        """Ops that are answered."""
        return [row.op or 0 for row in self._counting(run) if row.kind in ANSWERS]

    def _counting(self, run: int) -> list[JournalRow]:
        """What its code sees: not what a retry took back, nor that it did."""
        journal, voids = self._tables.journal[run], self._tables.voids
        skipped = {voids.get((run, row.position)) for row in journal}
        return [row for row in journal if row.kind != "voided" and row.position not in skipped]

    # Runs

    def _look(self, run: Run) -> None:
        key, journal = run.run, self._tables.journal[run.run]
        known = self._rows.setdefault(key, [])
        if len(journal) != len(known):
            self._grew(run, journal, known)
        status = self._statuses.get(key, run.status)
        if status != run.status and not may_become(Status(status), Status(run.status)):
            self.breaks(f"run {key}: it was {status} and became {run.status}")
        self._statuses[key] = run.status
        if (run.worker is not None) != (run.status == "running"):
            self.breaks(f"run {key} is {run.status}, and owned by {run.worker}")
        if run.worker is not None and run.worker not in self._tables.worker:
            self.breaks(
                f"run {key} is owned by {run.worker}, who is gone: nobody will take it over"
            )
        self._look_at_end(run)
        self._look_at_mail(run, journal)

    def _grew(self, run: Run, journal: list[JournalRow], known: list[JournalRow]) -> None:
        key, self.moved_at = run.run, self._server.loop.now
        if any(mine is not theirs for mine, theirs in zip(known, journal, strict=False)):
            self.breaks(f"run {key}: its journal was changed")
        if len(journal) < len(known):
            self.breaks(f"run {key}: its journal was cut to {len(journal)}")
        for position in range(len(known), len(journal)):
            row = journal[position]
            if row.position != position or row.run != key:
                self.breaks(f"run {key}: {row.run}/{row.position} stands at {position}")
            if row.kind == "timer":
                self._look_at_timer(row)
        self._rows[key] = list(journal)
        times = [row.at for row in self._counting(key)]
        if times != sorted(times):
            self.breaks(f"run {key}: its time goes back: {times}")
        ops = self._answered(key)
        if len(ops) != len(set(ops)):
            self.breaks(f"run {key}: an op was answered twice: {ops}")
        read = [row.seq for row in journal if row.seq is not None]
        if read != sorted(set(read)) and not any(row.kind == "voided" for row in journal):
            self.breaks(f"run {key}: messages were read as {read}")
        sent = {each.seq for each in self._tables.inbox[key].values()}
        if not sent >= set(read):
            self.breaks(f"run {key}: {read} were read, {sent} were sent")

    def _look_at_timer(self, row: JournalRow) -> None:
        micros = int.from_bytes(row.digest or b"", "big", signed=True)
        due = commands.EPOCH + timedelta(microseconds=micros)
        if row.at < due or self._server.latest() < due:
            self.breaks(f"run {row.run}: the timer of op {row.op} was early; due {due}, {row.at}")

    def _look_at_end(self, run: Run) -> None:
        result = self._tables.result.get(run.run)
        is_closed = run.status in CLOSED
        if is_closed != (result is not None):
            self.breaks(f"run {run.run} is {run.status}, and its result is {result}")
        before = self._results.setdefault(run.run, result) if is_closed else None
        if is_closed and before is not result:
            self.breaks(f"run {run.run} has ended twice: {before}, {result}")
        if not is_closed:
            self._results.pop(run.run, None)

    def _look_at_mail(self, run: Run, journal: list[JournalRow]) -> None:
        """What nobody has read makes a run due that nobody owns, once it has begun."""
        read = max((row.seq or 0 for row in journal), default=0)
        unread = run.last_seq > max(read, self._seen.get(run.run, 0))
        if (
            unread and run.status in ("pending", "waiting") and run.started_at is not None
            and run.due_at is None
        ):  # fmt: skip
            self.breaks(f"run {run.run} is {run.status} with unread mail, and not due")

    # Attempts

    def begins(self, worker: UUID, work: Work, key: str) -> None:
        """An attempt begins in some process."""
        instance, op = work.instance, work.command.op
        run, now = instance.run, self._server.loop.now
        self.tell(f"{worker} begins {work.command.name} of {run}, op {op}, attempt {work.number}")
        answered = self.answered_at_claim.get((run, instance.claim), frozenset())
        if op in answered:
            self.breaks(f"run {run}: op {op} began anew, though it was answered before the claim")
        if now - self._beats.get(worker, 0.0) > START_DEADLINE + GRACE:
            self.breaks(f"run {run}: op {op} began, {now - self._beats.get(worker, 0.0):.2f} s "
                        "after the last heartbeat")  # fmt: skip
        if self._keys.setdefault(key, (run, op)) != (run, op):
            self.breaks(f"run {run}: op {op} has the key of {self._keys[key]}")
        begun = Begun(key, len(self._tables.journal[run]), work.command.name)
        before = self.begun.setdefault((run, op), [])
        if before and before[0].key != key:
            self.breaks(f"run {run}: op {op} has two keys")
        before.append(begun)


class Begun:
    """An attempt: under which key, with how many events in the journal of its run."""

    __slots__ = ("events", "key", "name")

    def __init__(self, key: str, events: int, name: str) -> None:
        self.key = key
        self.events = events
        self.name = name
