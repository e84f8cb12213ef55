"""What attempts tell of themselves: with their run's commits on its way to the database, or back
from there. Most runs have nothing of it, since their activities are quick."""

from __future__ import annotations

import asyncio
from collections.abc import Container

from .._store.protocol import Note
from .streaming import Publisher


class Noted:
    def __init__(self) -> None:
        self.notes: dict[int, Note] = {}  # to be written, by op
        self.streaming: dict[int, Publisher] = {}  # attempts that have published, by op
        self.ops: frozenset[int] = frozenset()  # that may have a note in the database
        self.found: dict[int, Note] = {}  # of an earlier owner, until they are taken up
        self.awaiting: dict[int, asyncio.Future[bool]] = {}  # who waits for a note, by op

    @property
    def has_news(self) -> bool:
        return bool(self.notes or self.streaming)

    @property
    def is_over(self) -> bool:
        return not (self.has_news or self.ops or self.found or self.awaiting)

    def find(self, found: dict[int, Note]) -> None:
        """What an earlier owner has begun and not ended."""
        self.found, self.ops = found, frozenset(found)

    def take(self, still_open: Container[int]) -> tuple[tuple[Note, ...], tuple[int, ...]]:
        """Notes to be written, and ops whose notes are to go: what is not open has ended."""
        notes = tuple(note for op, note in self.notes.items() if op in still_open)
        ended = tuple(op for op in self.ops if op not in still_open)
        left = (op for op in self.ops if op in still_open)
        self.ops, self.notes = frozenset([*left, *(note.op for note in notes)]), {}
        return notes, ended

    def tell(self, written: bool) -> None:
        """The notes that were sent are written; or the run has left, and none will be."""
        for op in [op for op in self.awaiting if op not in self.notes or not written]:
            waiter = self.awaiting.pop(op)
            if not waiter.done():
                waiter.set_result(written)

    def drop(self) -> None:
        """The run has no owner any more: what is not written yet is for nobody."""
        self.notes, self.streaming = {}, {}
