"""Results of activities whose run had left this process when they came: after a takeover, say.
Should the run come back, they answer it, and nothing runs again. Nothing is waited for here."""

from __future__ import annotations

from .._core import commands
from .arrivals import Result

# So many, the latest ones: mostly another worker has the run, and nobody will ask.
KEPT_MAX = 100


class Kept:
    def __init__(self) -> None:
        self._kept: dict[tuple[int, int], tuple[commands.Run, Result]] = {}

    def add(self, run: int, command: commands.Run, result: Result) -> None:
        if command.kind == "activity":  # a transaction's outcome stands in the database
            self._kept[run, command.op] = command, result
            if len(self._kept) > KEPT_MAX:
                del self._kept[next(iter(self._kept))]

    def take(self, run: int, command: commands.Run) -> Result | None:
        """The result of that op, if it is still the same one."""
        asked, result = self._kept.pop((run, command.op), (None, None))
        is_same = asked is not None and (asked.name, asked.digest) == (command.name, command.digest)
        return result if is_same else None
