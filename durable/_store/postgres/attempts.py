"""The ``attempt`` table: what is under way, as the owner's commits have noted it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from ..protocol import Note
from . import statements
from .line import Line


class Attempts:
    def __init__(self, line: Line, schema: str) -> None:
        self._line = line
        self._sql = statements.load("attempts", schema)

    async def read(self, runs: Sequence[int]) -> dict[int, list[Note]]:
        """What earlier owners of these runs have begun and not ended, by run."""
        notes: dict[int, list[Note]] = defaultdict(list)
        if runs:
            for run, *note in await self._line.fetch(self._sql["read"], runs):
                notes[run].append(Note(*note))
        return notes
