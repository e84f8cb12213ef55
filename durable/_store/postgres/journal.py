"""The ``journal`` table: turns are committed to it, histories are read from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any
from uuid import UUID

import asyncpg

from ...errors import LeaseLost, StoreError
from ..protocol import Advance, JournalRow, Unavailable, Unwritable, Verdict
from . import statements
from .line import Line

# SQLSTATE that the database functions raise for a worker that was declared dead.
FENCED = "DU001"

# A race with an earlier send of the same rows, whose session lives on: it has committed now,
# so the next try finds its keys. Each try waits for one such session at most.
RACES_MAX = 5

# A page of history: large enough that a usual run is one page, small enough to hold in memory
# many times over.
PAGE_BYTES = 4 * 1024 * 1024
PAGE_ROWS = 10_000

# SQLSTATEs that mean "these values cannot be written": class 22 (data exception), class 54
# (a limit of the program), and of class 23 the checks. Nothing else is the batch's fault.
_DATA_ERRORS = ("22", "54")
_DATA_ERROR_STATES = frozenset({"23502", "23514"})

_ROW_OVERHEAD = 64  # as in journal.sql

_NONE = (None,)


class Journal:
    """``aside`` is a second connection, for turns that wait in the lock queue."""

    def __init__(self, line: Line, aside: Line, reading: Line, schema: str) -> None:
        self._line = line
        self._aside = aside
        self._reading = reading
        self._sql = statements.load("journal", schema)

    async def commit(
        self, worker: UUID, advances: Sequence[Advance], *, patient: bool = False
    ) -> list[Verdict]:
        """Write the turns of many runs in one transaction; the answers in the order given.

        Waits for no stranger's lock: a turn that needs one is left out, and may be sent again
        alone with ``patient``, which queues for it (for half a second at most).

        Raises:
            LeaseLost: this worker was declared dead. Nothing was written.
            Unavailable: unknown whether it was written, or refused for now. Send the same
                advances again.
            Unwritable: a value among them cannot be written. Nothing was.
        """
        statement, arguments = _arguments(worker, advances, patient)
        query = self._sql[statement]
        line = self._aside if patient else self._line
        races = 0
        while True:
            try:
                row = await line.fetchrow(query, *arguments)
            except asyncpg.UniqueViolationError as error:
                races += 1
                if races > RACES_MAX:
                    raise _refusal(error) from error
            except asyncpg.PostgresError as error:
                if patient and isinstance(error, asyncpg.LockNotAvailableError):
                    return [Verdict.LEFT_OUT]
                raise _refusal(error) from error
            else:
                return _verdicts(advances, row["verdicts"], row["parked"])

    async def read(self, wanted: Iterable[tuple[int, int]]) -> list[JournalRow]:
        """Histories: of each (run, from position) all events from there on, in order."""
        starts = sorted(wanted)
        read: list[JournalRow] = []
        while starts:
            rows = await self._reading.fetch(
                self._sql["read"],
                [run for run, _ in starts],
                [start for _, start in starts],
                PAGE_BYTES,
                PAGE_ROWS,
            )
            page = [JournalRow(*row) for row in rows]
            read += page
            if len(page) < PAGE_ROWS and sum(map(_size, page)) < PAGE_BYTES:
                break
            last = page[-1]
            later = [each for each in starts if each[0] > last.run]
            starts = [(last.run, last.position + 1), *later]
        return read


def _refusal(error: asyncpg.PostgresError) -> StoreError:
    state = error.sqlstate or ""
    if state == FENCED:
        return LeaseLost(str(error))
    if state[:2] in _DATA_ERRORS or state in _DATA_ERROR_STATES:
        return Unwritable(str(error))
    return Unavailable(f"the commit was refused: {error}")


def _size(row: JournalRow) -> int:
    return _ROW_OVERHEAD + len(row.input or b"") + len(row.result or b"") + len(row.failure or b"")


def _arguments(worker: UUID, advances: Sequence[Advance], patient: bool) -> tuple[str, list[Any]]:
    """The statement's name and its arguments: one array per column."""
    rows = list(chain.from_iterable([advance.rows for advance in advances]))
    arguments: list[Any] = [
        worker,
        [advance.run for advance in advances],
        [advance.claim for advance in advances],
        [advance.rows[0].position if advance.rows else advance.at for advance in advances],
        [advance.rows[0].key if advance.rows else None for advance in advances],
        *_columns(rows),
        patient,
    ]
    births = [(a.run, *a.birth) for a in advances if a.birth is not None]
    closes = [(a.run, *a.close) for a in advances if a.close is not None]
    parks = [(a.run, *a.park) for a in advances if a.park is not None]
    deliveries = [(a.run, *delivery) for a in advances for delivery in a.deliveries]
    notes = [(a.run, *note) for a in advances for note in a.notes]
    ended = [(a.run, op) for a in advances for op in a.ended]
    if not (births or closes or parks or deliveries or notes or ended):
        return "commit", arguments
    for values, width in (
        (births, 10), (closes, 6), (parks, 5), (deliveries, 7), (notes, 10), (ended, 2)
    ):  # fmt: skip
        arguments += zip(*values, strict=True) if values else _NONE * width
    return "commit_all", arguments


def _columns(rows: Sequence[JournalRow]) -> list[Any]:
    """One array per column, as ``commit.sql`` lists them. To send an element costs more Python
    than to look it up: what is the same in many rows goes once, as a *shape*, and a column
    without any value does not go at all."""
    shapes: dict[tuple[Any, ...], int] = {}
    which: list[int] = []
    for row in rows:
        shape = (row.kind, row.name, row.at, row.site)
        which.append(shapes.setdefault(shape, len(shapes) + 1))
    run, position, op, _, _, input, result, failure, _, _, digest, seq, key = (
        zip(*rows, strict=True) if rows else ((),) * len(JournalRow._fields)
    )
    sparse = [column if any(each is not None for each in column) else None
              for column in (input, result, failure, digest, seq)]  # fmt: skip
    kinds = zip(*shapes, strict=True) if shapes else ((), (), (), ())
    return [run, position, op, *sparse, key, which, *kinds]


def _verdicts(
    advances: Sequence[Advance], verdicts: list[str] | None, parked: list[int] | None
) -> list[Verdict]:
    away = set(parked or ())
    if verdicts is None:
        if not away:
            return [Verdict.DONE] * len(advances)
        return [Verdict.PARKED if a.run in away else Verdict.DONE for a in advances]
    return [
        (Verdict.PARKED if advance.run in away else Verdict.DONE)
        if verdict == "go"
        else Verdict(verdict)
        for advance, verdict in zip(advances, verdicts, strict=True)
    ]
