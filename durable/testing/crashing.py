"""Deaths of the worker in an environment, at moments that a test names.

A dead worker has no say in what becomes of it: its attempts end, what it had not written is lost,
and its runs are taken over, by itself under another name. As after a real crash nothing is left but
what the database holds.

What is written is counted by run, so that a moment in one environment can be named in another that
does the same: the nth commit of a run, before it is written or after.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple
from uuid import UUID

from .._store.protocol import Advance, JournalRow, Verdict
from .._store.verbs import Journal
from ..errors import LeaseLost


class Moment(NamedTuple):
    """Around the nth commit of a run: before it is written, or when it was and nobody knows."""

    run: int
    nth: int
    when: Literal["before", "after"]


class Written(NamedTuple):
    """One commit of one run."""

    run: int
    nth: int
    is_birth: bool
    rows: tuple[JournalRow, ...]
    ops: tuple[int, ...]  # of activities about whose attempts it notes something

    def moments(self) -> list[Moment]:
        """When a worker may die around it. A run whose birth was not written never was."""
        after = Moment(self.run, self.nth, "after")
        return [after] if self.is_birth else [Moment(self.run, self.nth, "before"), after]


class CrashingJournal:
    """A journal that counts what is written, and at the given moment calls ``die`` instead of
    answering. Chance is taken out of what is written: one seed for one run, in every environment.
    """

    def __init__(self, journal: Journal, die: Callable[[], None], moment: Moment | None) -> None:
        self.written: list[Written] = []
        self.is_over = False  # the moment has come
        self._journal = journal
        self.read, self.pages, self.notes = journal.read, journal.pages, journal.notes
        self._die = die
        self._moment = moment
        self._counts: defaultdict[int, int] = defaultdict(int)

    async def commit(
        self, worker: UUID, advances: Sequence[Advance], *, patient: bool = False
    ) -> list[Verdict]:
        if self._is_now(advances, "before"):
            self._crash()
        for each in advances:
            _seed(each)
        verdicts = await self._journal.commit(worker, advances, patient=patient)
        done = [advance for advance, verdict in zip(advances, verdicts, strict=True)
                if verdict in (Verdict.DONE, Verdict.PARKED)]  # fmt: skip
        dies = self._is_now(done, "after")
        for each in done:
            nth = self._counts[each.run]
            self._counts[each.run] += 1
            effects = each.effects
            is_born = effects is not None and effects.birth is not None
            ops = () if effects is None else tuple(note.op for note in effects.notes)
            self.written.append(Written(each.run, nth, is_born, tuple(each.rows), ops))
        if dies:
            self._crash()
        return verdicts

    def _is_now(self, advances: Iterable[Advance], when: str) -> bool:
        moment = self._moment
        return (
            moment is not None
            and not self.is_over
            and when == moment.when
            and any((each.run, self._counts[each.run]) == moment[:2] for each in advances)
        )

    def _crash(self) -> None:
        self.is_over = True
        self._die()
        raise LeaseLost("The worker has died, as the test wanted.")


def seed_of(name: str) -> bytes:
    """All chance of a run, when nothing is left to chance."""
    return hashlib.blake2b(name.encode(), digest_size=16).digest()


def _seed(advance: Advance) -> None:
    effects = advance.effects
    if effects is None:
        return
    effects.children = tuple(
        each._replace(seed=seed_of(f"{advance.run}:{each.op}")) for each in effects.children
    )
    if effects.heir is not None:
        effects.heir = effects.heir._replace(seed=seed_of(f"after {advance.run}"))
