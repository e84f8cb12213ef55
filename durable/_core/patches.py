"""Which way a run's code goes where it was changed: ``ctx.patched("id")``.

A question is answered within a turn, and the answer stands in the row of that turn's event: a turn
whose row is not written yet goes the new way, and its row will carry the id; a recorded one goes
the way that its row tells. So each turn is replayed as it was, and later turns of the same run go
the new way as soon as there is new code.

An id that the row carries and nobody asks for means that the code which knew it is gone, unless the
code says that it has retired the patch. A retiring turn carries the id with a mark: whoever still
asks goes the new way from there on, and nobody has to.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import InvalidCall
from . import commands, divergence

if TYPE_CHECKING:
    from .replayer import Replayer

RETIRED = "~"  # before an id, in a row: it may be forgotten

# A row holds them all; an id that is made in a loop would have no end.
PATCHES_MAX = 100


NO_IDS: frozenset[str] = frozenset()


class Patches:
    __slots__ = ("_asked", "_replayer", "_retired", "_settled", "_turn", "recorded")

    def __init__(self, replayer: Replayer) -> None:
        # Weakly: what refers to itself waits for the garbage collector.
        self._replayer: Replayer = weakref.proxy(replayer)
        self.recorded: Sequence[str] | None = None  # what the turn's row carries; None: not written
        self._asked: tuple[str, ...] = ()  # in the turn that has asked last, and
        self._turn = 0  # that turn: the journal's length with its event
        self._retired = NO_IDS  # by this code
        self._settled = NO_IDS  # by whatever code wrote the journal

    def ask(self, id: str) -> bool:
        """Whether the code goes the new way here.

        Raises:
            InvalidCall: nobody may ask now; or this code has retired the patch.
        """
        self._replayer.check_turn()
        if id in self._retired:
            raise InvalidCall(
                f"Patch {id!r} is retired in this code, and asked for as well. An id stands for "
                "one change: take another one for this."
            )
        self._note(id)
        recorded = self.recorded
        if recorded is None or id in recorded or id in self._settled:
            return True
        return RETIRED + id in recorded

    def retire(self, id: str) -> None:
        """This code knows the new way alone."""
        self._replayer.check_turn()
        self._retired |= {id}
        self._note(RETIRED + id)

    def check(self, position: int, recorded: Sequence[str]) -> None:
        """The turn of this row has asked for what the row carries, if that still matters.

        Raises:
            Divergence: it has not.
        """
        self._settled |= {id[1:] for id in recorded if id.startswith(RETIRED)}
        asked = self._asked if self._turn == self._replayer.events else ()
        for id in recorded:
            if not (id.startswith(RETIRED) or id in asked or id in self._retired):
                raise divergence.unasked_patch(position, id)

    def _note(self, id: str) -> None:
        replayer = self._replayer
        if self._turn != replayer.events:
            self._turn, self._asked = replayer.events, ()
        if id in self._asked or replayer._loop.dead:
            return
        if len(self._asked) == PATCHES_MAX:
            raise InvalidCall(
                f"{PATCHES_MAX} patches are asked for without an await in between, and then "
                f"{id!r}. An id names a change of the code; it is not made of values."
            )
        self._asked += (id,)
        replayer._ask(commands.Patched(id))
