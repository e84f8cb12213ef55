"""The ``journal`` table: turns are committed to it, histories are read from it; and ``attempt``,
what is under way, as these commits have noted it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from ...errors import LeaseLost, StoreError
from ..protocol import (
    Advance,
    Birth,
    Close,
    Effects,
    JournalRow,
    Note,
    Unavailable,
    Unwritable,
    Verdict,
)
from .line import Line
from .statements import Noun

# SQLSTATE that the database functions raise for a worker that was declared dead.
FENCED = "DU001"

# A race with an earlier send of the same rows, whose session lives on: it has committed now,
# so the next try finds its keys. Each try waits for one such session at most.
RACES_MAX = 5

# A page of history is decoded in one go, in the host's loop: 500 rows take about two
# milliseconds. Its bytes are small enough to hold in memory many times over.
PAGE_BYTES = 4 * 1024 * 1024
PAGE_ROWS = 500

# SQLSTATEs that mean "these values cannot be written": class 22 (data exception), class 54
# (a limit of the program), and of class 23 the checks. Nothing else is the batch's fault.
_DATA_ERRORS = ("22", "54")
_DATA_ERROR_STATES = frozenset({"23502", "23514"})

_ROW_OVERHEAD = 64  # as in journal.sql


class Journal(Noun):
    """Histories are ``reading`` on another line: commits wait for nobody."""

    def __init__(self, line: Line, reading: Line, schema: str) -> None:
        super().__init__(line, schema)
        self._reading = reading

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
        query, arguments = self._sql["commit"], _arguments(advances)
        line = self._line.aside if patient else self._line
        races = 0
        while True:
            try:
                words = await line.call(
                    lambda c: c.fetchval(query, worker, *arguments, patient), mine=not patient
                )
            except asyncpg.UniqueViolationError as error:
                races += 1
                if races > RACES_MAX:
                    raise _refusal(error) from error
            except asyncpg.PostgresError as error:
                if patient and isinstance(error, asyncpg.LockNotAvailableError):
                    return [Verdict.LEFT_OUT]
                raise _refusal(error) from error
            else:
                return _verdicts(advances, words)

    async def read(self, wanted: Iterable[tuple[int, int]]) -> list[JournalRow]:
        """Histories: of each (run, from position) all events from there on, in order."""
        return [row async for page in self.pages(wanted) for row in page]

    async def pages(self, wanted: Iterable[tuple[int, int]]) -> AsyncIterator[list[JournalRow]]:
        """The same, so much at a time as may be held in memory. While one page is used the next is
        on its way."""
        starts = sorted(wanted)
        if not starts:
            return
        ahead = asyncio.ensure_future(self._read(starts))
        try:
            while starts:
                page = [JournalRow(*row) for row in await ahead]
                if len(page) < PAGE_ROWS and sum(map(_size, page)) < PAGE_BYTES:
                    starts = []
                else:
                    last = page[-1]
                    later = [each for each in starts if each[0] > last.run]
                    starts = [(last.run, last.position + 1), *later]
                    ahead = asyncio.ensure_future(self._read(starts))
                yield page
        finally:
            ahead.cancel()

    async def _read(self, starts: Sequence[tuple[int, int]]) -> list[Any]:
        wanted = zip(*starts, strict=True)
        return await self._reading.fetch(self._sql["read"], *wanted, PAGE_BYTES, PAGE_ROWS)

    async def notes(self, runs: Sequence[int]) -> dict[int, list[Note]]:
        """What earlier owners of these runs have begun and not ended, by run."""
        notes: dict[int, list[Note]] = defaultdict(list)
        if runs:
            for run, *note in await self._reading.fetch(self._sql["notes"], runs):
                notes[run].append(Note(*note))
        return notes


def _refusal(error: asyncpg.PostgresError) -> StoreError:
    state = error.sqlstate or ""
    if state == FENCED:
        return LeaseLost(str(error))
    if state[:2] in _DATA_ERRORS or state in _DATA_ERROR_STATES:
        return Unwritable(str(error))
    return Unavailable(f"the commit was refused: {error}")


def _size(row: JournalRow) -> int:
    return _ROW_OVERHEAD + len(row.input or b"") + len(row.result or b"") + len(row.failure or b"")


class _Head(msgspec.Struct, gc=False):
    """An advance without what it wants written: what it is judged by."""

    run: int
    claim: int
    after: bytes | None


def _with_run(kind: Any) -> Any:
    """The effect with its run, as JSON wants it. There are two in the life of each run."""
    return msgspec.defstruct("_" + kind.__name__, ["run", *kind._fields], gc=False)


_Birth, _Close = _with_run(Birth), _with_run(Close)
_SEVERAL = "children", "deliveries", "publishes", "replies", "notes"

# Bytes in base64, times in ISO 8601, fields under their names: as `commit.sql` reads them.
_encode = msgspec.json.Encoder().encode


def _arguments(advances: Sequence[Advance]) -> tuple[str, str, str | None]:
    """Advances, rows and effects, each as JSON."""
    heads = [_Head(a.run, a.claim, a.after) for a in advances]
    rows = [row for advance in advances for row in advance.rows]
    effects = [(a.run, a.effects) for a in advances if a.effects is not None]
    return _json(heads), _json(rows), _json(_told(effects)) if effects else None


def _told(effects: list[tuple[int, Effects]]) -> dict[str, list[Any]]:
    """Births and closes, of which each run has one, are told in few instructions."""
    told: defaultdict[str, list[Any]] = defaultdict(list)
    if births := [(run, e.birth) for run, e in effects if e.birth is not None]:
        told["births"] = [_Birth(run, *birth) for run, birth in births]
        told["birth_run"] = [run for run, _ in births]
        told["birth_id"] = [birth.id if birth.explicit_id else None for _, birth in births]
    if closes := [(run, e.close) for run, e in effects if e.close is not None]:
        told["closes"] = [_Close(run, *close) for run, close in closes]
        told["close_run"] = [run for run, _ in closes]
    if parks := [(run, e.park) for run, e in effects if e.park is not None]:
        told["parks"] = [{"run": run, **park._asdict()} for run, park in parks]
        told["park_run"] = [run for run, _ in parks]
    for run, e in effects:
        if e.heir is not None:
            told["heirs"].append({"run": run, **e.heir._asdict()})
        if e.children or e.deliveries or e.publishes or e.replies or e.notes:
            for name in _SEVERAL:
                if several := getattr(e, name):
                    told[name] += [{"run": run, **each._asdict()} for each in several]
        if e.ended:
            told["ended"] += [{"run": run, "op": op} for op in e.ended]
    return told


def _json(value: object) -> str:
    try:
        return _encode(value).decode()
    except UnicodeEncodeError as error:  # half a character, in a name
        raise Unwritable(str(error)) from error


# What the function says of each, beside the verdicts themselves.
_WORDS = {"go": Verdict.DONE, "away": Verdict.PARKED, **{each.value: each for each in Verdict}}


def _verdicts(advances: Sequence[Advance], words: list[str] | None) -> list[Verdict]:
    return [Verdict.DONE] * len(advances) if words is None else [_WORDS[word] for word in words]
