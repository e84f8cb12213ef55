"""What ``durable replay`` tells: how many runs fit, and each place where others do not."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .output import clean, clean_lines

if TYPE_CHECKING:
    from .._judging import Verdict

# Runs that are named of each place where the code does not fit; JSON names all.
NAMED_MAX = 20

# Why runs do not fit, in words, in the order in which they are told.
KINDS = {
    "diverges": "would diverge",
    "unreadable": "with a recorded value that no longer fits",
    "unknown": "not defined in these modules",
    "breaks": "cannot be replayed",
}


class Tally:
    """What came out, as it is told at the end."""

    def __init__(self, *, verbose: bool, skip_unknown: bool) -> None:
        self.misfits: list[Verdict] = []
        self._fit: list[Verdict] = []
        self._count = 0
        self._verbose = verbose
        self._skip_unknown = skip_unknown

    def add(self, verdict: Verdict) -> None:
        if self._skip_unknown and verdict.kind == "unknown":
            return
        self._count += 1
        if not verdict.fits:
            self.misfits.append(verdict)
        elif self._verbose:
            self._fit.append(verdict)

    def facts(self) -> dict[str, Any]:
        told: dict[str, Any] = {"replayed": self._count, "fit": self._count - len(self.misfits)}
        told["misfits"] = [dataclasses.asdict(each) for each in sorted(self.misfits, key=_order)]
        if self._verbose:
            told["fits"] = [dataclasses.asdict(each) for each in sorted(self._fit, key=_order)]
        return told

    def lines(self, seconds: float) -> Iterator[str]:
        for each in sorted(self._fit, key=_order):
            where = f" at {each.site}" if each.site else ""
            yield clean(f"fits  {each.workflow}  {each.id}  {each.how}{where}")
        groups: dict[tuple[Any, ...], list[Verdict]] = {}
        for each in sorted(self.misfits, key=_order):
            key = (each.workflow, each.kind, each.position, each.site)
            groups.setdefault(key, []).append(each)
        for same in groups.values():
            yield from _misfits(same)
        yield self._summary(seconds)

    def _summary(self, seconds: float) -> str:
        runs = "1 run" if self._count == 1 else f"{self._count:,} runs"
        told = f"{runs} replayed in {seconds:.1f} s"
        if not self.misfits:
            return f"{told}: " + ("all fit." if self._count else "there are none.")
        kinds = [(words, sum(each.kind == kind for each in self.misfits))
                 for kind, words in KINDS.items()]  # fmt: skip
        parts = [f"{count:,} {words}" for words, count in kinds if count]
        stuck = sum(each.status == "stuck" for each in self.misfits)
        if stuck:
            parts.append(f"{stuck:,} of them are stuck already")
        return f"{told}: {self._count - len(self.misfits):,} fit, {', '.join(parts)}."


def _misfits(same: Sequence[Verdict]) -> Iterator[str]:
    """Runs that fail at one place, and why; the words are those of the first."""
    first = same[0]
    where = f", {first.site}" if first.site else ""
    at = f" at position {first.position}{where}" if first.kind == "diverges" else ""
    runs = "1 run" if len(same) == 1 else f"{len(same):,} runs"
    yield clean(f"{first.workflow}{at}: {KINDS[first.kind]} ({runs})")
    for each in same[:NAMED_MAX]:
        yield clean(f"  {each.id}") + ("  (stuck already)" if each.status == "stuck" else "")
    if len(same) > NAMED_MAX:
        yield f"  and {len(same) - NAMED_MAX:,} more: -o json names them"
    yield clean_lines(first.why or "", indent="    ")
    yield ""


def _order(verdict: Verdict) -> tuple[Any, ...]:
    order = list(KINDS)
    place = order.index(verdict.kind) if verdict.kind in KINDS else len(order)
    return place, verdict.workflow, verdict.position, verdict.run
