"""The courses that one workflow takes, without a crash and with one, and how they differ.

A course is what is left when all is over: how the run ended, its journal and those of the runs
that it began, and which calls the outside world saw, by idempotency key. A crash may repeat a
call, under its key, and may change the order in which things that went on at once came to an end.
All else is a difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, NamedTuple

from .._codec.failures import decode_failure
from .._codec.values import Keywords, decode
from .._store.protocol import JournalRow
from ..errors import CodecError, shorten
from .cast import Call

OTHER_ANSWER = (
    "The same call came to something else. Whoever is called again with the same idempotency key "
    "(`durable.attempt().idempotency_key`) must answer the same; what cannot, a clock for one, "
    "needs a stand-in here."
)
UNKNOWN = (
    "After a crash in between nobody knows whether its only attempt has acted (attempts=1), and "
    "the workflow is told so. If it copes with that, say what must hold by check=...."
)
OTHER_KEY = (
    "Whoever is called takes it for another call, and does it twice. What the arguments are made "
    "of is not the same each time: a clock, chance, what is read from outside?"
)


class End(NamedTuple):
    """How a run ended."""

    status: str
    result: object = None
    failure: str | None = None  # in words

    def __str__(self) -> str:
        if self.status == "completed":
            return f"completed with {self.result!r}"
        return self.status + (f": {self.failure}" if self.failure else "")


@dataclass(frozen=True, slots=True)
class Course:
    end: End
    journals: Mapping[tuple[str, int], list[JournalRow]]  # by id, and the nth run that had it
    calls: Mapping[str, tuple[str, Call]]  # by idempotency key, with the activity's name


class Difference(NamedTuple):
    position: int | None  # in the journal of that run, if it is there
    text: str


def difference(first: Course, other: Course) -> Difference | None:
    """What the other course has otherwise, told; None if nothing that counts."""
    for which in dict.fromkeys([*first.journals, *other.journals]):
        rows, others = first.journals.get(which, []), other.journals.get(which, [])
        if which not in first.journals or which not in other.journals:
            where = "with" if which in other.journals else "without"
            return Difference(None, f"Run {which[0]!r} was begun only {where} the crash.")
        found = _in_journal(which[0], rows, others)
        if found is not None:
            return found
    if first.end != other.end:
        return Difference(None, "The journals hold the same; what they hold came in another order.")
    for key in other.calls.keys() - first.calls.keys():
        name, call = other.calls[key]
        text = f"{name}({_arguments(call)}) was called with a key of its own. {OTHER_KEY}"
        return Difference(None, text)
    return None


def _in_journal(id: str, rows: list[JournalRow], others: list[JournalRow]) -> Difference | None:
    if sorted(map(_facts, rows), key=repr) == sorted(map(_facts, others), key=repr):
        return None
    for row, other in zip_longest(rows, others):
        if row is None or other is None or _facts(row) != _facts(other):
            position = row.position if row is not None else len(rows)
            lines = (
                f"The journal of run {id!r} differs from position {position} on:",
                f"    without: {told(row)}",
                f"    with:    {told(other)}",
                *_advice(row, other),
            )
            return Difference(position, "\n".join(lines))
    return None


def _advice(row: JournalRow | None, other: JournalRow | None) -> Iterable[str]:
    if row is None or other is None:
        return
    if other.failure is not None and decode_failure(other.failure).kind == "unknown":
        yield UNKNOWN
    elif row.input is not None and _asked(row) == _asked(other):
        yield OTHER_ANSWER


def _asked(row: JournalRow) -> tuple[Any, ...]:
    return row.op, row.name, row.input


def _facts(row: JournalRow) -> tuple[Any, ...]:
    failure = None
    if row.failure is not None:
        known = decode_failure(row.failure)
        failure = known.type, known.module, known.message, known.kind
    return row.kind, row.op, row.name, row.input, row.result, failure, row.effects, row.patches


def told(row: JournalRow | None) -> str:
    """One event on one line."""
    if row is None:
        return "nothing: it ends before"
    call = row.name or ""
    if row.kind in ("activity", "transaction", "child"):
        call += f"({_decoded_call(row.input)})"
    outcome = ""
    if row.failure is not None:
        failure = decode_failure(row.failure)
        outcome = f"failed: {failure.type}: {failure.message}"
    elif row.result is not None:
        outcome = f"-> {_decoded(row.result)}"
    site = f"[{row.site}]" if row.site else ""
    return "  ".join(part for part in (row.kind, call, outcome, site) if part)


def _decoded(payload: bytes) -> str:
    try:
        return shorten(decode(payload))
    except CodecError:
        return f"{len(payload)} bytes"


def _decoded_call(payload: bytes | None) -> str:
    if payload is None:
        return ""
    try:
        call = decode(payload)
    except CodecError:
        return "..."
    named = call.pop() if call and type(call[-1]) is Keywords else {}
    return ", ".join([*map(shorten, call), *(f"{k}={shorten(v)}" for k, v in named.items())])


def _arguments(call: Call) -> str:
    named = (f"{name}={shorten(value)}" for name, value in call.kwargs.items())
    return ", ".join([*map(shorten, call.args), *named])
