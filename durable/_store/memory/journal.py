"""The ``journal`` table in memory: the verdicts of ``commit.sql``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from uuid import UUID

from ..protocol import Advance, Delivery, Effects, JournalRow, Note, Unwritable, Verdict
from . import family
from .streams import publish
from .tables import Result, Run, Tables, verb


class Journal:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    @verb
    def commit(
        self, worker: UUID, advances: Sequence[Advance], *, patient: bool = False
    ) -> list[Verdict]:
        self._tables.fence(worker)
        _check_texts(advances)
        self._bear(worker, advances)
        verdicts = [self._verdict(worker, advance) for advance in advances]
        going = [a for a, verdict in zip(advances, verdicts, strict=True) if verdict is None]
        for advance in going:
            self._write(worker, advance)
            effects = _effects(advance)
            publish(self._tables, advance.run, effects.publishes)
            for child in effects.children:
                family.bear(self._tables, self._tables.run[advance.run], child)
        self._deliver(going)
        for advance in going:
            self._close(advance)
        return [
            verdict or (Verdict.PARKED if self._park(advance) else Verdict.DONE)
            for advance, verdict in zip(advances, verdicts, strict=True)
        ]

    @verb
    def read(self, wanted: Iterable[tuple[int, int]]) -> list[JournalRow]:
        journal = self._tables.journal
        return [row for run, start in sorted(wanted) for row in journal[run][start:]]

    async def pages(self, wanted: Iterable[tuple[int, int]]) -> AsyncIterator[list[JournalRow]]:
        for each in sorted(wanted):
            yield await self.read([each])

    @verb
    def notes(self, runs: Sequence[int]) -> dict[int, list[Note]]:
        notes: defaultdict[int, list[Note]] = defaultdict(list)
        for (run, _), (_, note) in self._tables.attempt.items():
            if run in runs:
                notes[run].append(note)
        return notes

    def _bear(self, worker: UUID, advances: Sequence[Advance]) -> None:
        moment = self._tables.now()
        births = [(a.effects.birth, a.run) for a in advances if a.effects and a.effects.birth]
        for birth, key in sorted(births, key=lambda pair: pair[0].id):
            run = Run(
                run=key,
                id=birth.id,
                workflow=birth.workflow,
                queue=birth.queue,
                priority=birth.priority,
                status="running",
                worker=worker,
                claim=1,
                seed=birth.seed,
                versions=birth.versions,
                deadline=birth.deadline,
                created_at=moment,
                started_at=moment,
            )
            self._tables.insert(run, birth.input, birth.input_digest)

    def _verdict(self, worker: UUID, advance: Advance) -> Verdict | None:
        """What stands in the way of an advance; None if it is to be written."""
        run = self._tables.run.get(advance.run)
        rows = self._tables.journal[advance.run]
        first = advance.rows[0].position if advance.rows else None
        there = rows[first] if first is not None and first < len(rows) else None
        effects = _effects(advance)
        if run is None:
            return Verdict.TAKEN if effects.birth is not None else Verdict.LOST
        is_ours = (run.worker, run.claim) == (worker, advance.claim)
        if there is not None and advance.rows and there.key == advance.rows[0].key:
            if is_ours or effects.close is not None:
                return Verdict.DONE
            return Verdict.PARKED if effects.park is not None else Verdict.LOST
        if is_ours:
            fits = advance.after == (rows[-1].key if rows else None)
            return None if fits else Verdict.LOST
        is_away = run.worker is None and run.status in ("waiting", "paused")
        put_away = is_away and run.claim == advance.claim
        return Verdict.PARKED if first is None and put_away else Verdict.LOST

    def _write(self, worker: UUID, advance: Advance) -> None:
        effects = _effects(advance)
        for note in effects.notes:
            known = self._tables.attempt.get((advance.run, note.op))
            if known is None or known[0] != worker or known[1].nth < note.nth:
                self._tables.attempt[advance.run, note.op] = worker, note
        self._tables.journal[advance.run].extend(advance.rows)
        for row in advance.rows:
            if row.kind == "voided":
                self._tables.voids[advance.run, row.position] = row.position - 1
        for reply in effects.replies:
            self._tables.answer.setdefault((advance.run, reply.seq), reply)
        for op in effects.ended:
            self._tables.attempt.pop((advance.run, op), None)

    def _deliver(self, advances: Sequence[Advance]) -> None:
        """All targets as they stand before any of these turns closes or parks."""
        tables = self._tables
        for advance in advances:
            for each in _effects(advance).deliveries:
                target = family.target_of(tables, advance.run, each)
                if target is not None and target.closed_at is None:
                    line = family.generations(tables, target)
                    if not any(each.key in tables.inbox[run.run] for run in line):
                        tables.accept(target, each.kind, each.name, each.key, each.payload, None)
                elif each.kind != "cancel":  # which is done, then
                    self._refuse(advance.run, each)

    def _refuse(self, sender: int, sent: Delivery) -> None:
        run = self._tables.run[sender]
        why = "absent" if family.target_of(self._tables, sender, sent) is None else "closed"
        key = f"refused/{sent.to or sent.target}/{sent.key}"
        self._tables.accept(run, "refused", why, key, None, sent.op)

    def _close(self, advance: Advance) -> None:
        close = _effects(advance).close
        if close is not None:
            result = Result(
                close.result, close.failure, close.failed_at, close.next_op, close.reason
            )
            run = self._tables.run[advance.run]
            family.close(self._tables, run, close.status, result, _effects(advance).heir)

    def _park(self, advance: Advance) -> bool:
        run, park = self._tables.run[advance.run], _effects(advance).park
        if park is None or run.last_seq != park.seen:
            return False
        run.status = "waiting" if run.paused_at is None else "paused"
        run.worker, run.due_at, run.read_seq = None, park.due_at, park.seen
        run.waits_for, run.waits_at = park.waits_for, park.waits_at
        return True


def _effects(advance: Advance) -> Effects:
    return advance.effects or _NONE


_NONE = Effects()


def _check_texts(advances: Sequence[Advance]) -> None:
    """What Postgres cannot write as text.

    Raises:
        Unwritable
    """
    for advance in advances:
        for row in advance.rows:
            for text in (row.name, row.site):
                if text is not None and ("\0" in text or not _is_utf8(text)):
                    raise Unwritable(f"invalid text: {text!r}")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
