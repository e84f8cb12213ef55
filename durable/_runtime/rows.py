"""Journal rows to events: what replay feeds.

A value is read by the annotation of the activity that the code asks for *now*; a value that
no longer fits raises ``DecodeError``, and the run is set aside as stuck. A row that answers
nothing the code asks for is passed on unread: the replayer tells the divergence. Calls that differ
in nothing but defaults which came since are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .._authoring.definitions import Definition
from .._codec import sameness
from .._codec.failures import Failure, decode_failure, rebuild
from .._codec.values import decode, digest
from .._core import commands, events
from .._store.protocol import Delivery, Effects, JournalRow, Reply
from ..errors import (
    ActivityError,
    ActivityTimedOut,
    CodecError,
    DecodeError,
    InternalError,
    OutcomeUnknown,
    PromiseRejected,
    shorten,
)
from . import births

# What a failure is when it is not simply what an activity raised.
_KINDS: dict[str, type[ActivityError]] = {"timed_out": ActivityTimedOut, "unknown": OutcomeUnknown}

REDO = "redo"  # in a `voided` row: the owner feeds the voided event's facts again, live


# Why the database did not do what a turn wanted of it, in words.
REFUSALS = {"absent": "there is no such run", "closed": "the run is closed"}


@dataclass(frozen=True, slots=True)
class History:
    """The journal of one run as replay wants it: voided pairs taken out."""

    rows: list[JournalRow]
    redo: JournalRow | None  # the voided event whose turn the owner runs again


def read(rows: Iterable[JournalRow]) -> History:
    """Take out each voided event; its ``voided`` row stays, for the numbering.

    A redo is still to be done only if nothing was written after it.
    """
    kept: list[JournalRow] = []
    redo: JournalRow | None = None
    for row in rows:
        redo = None
        if row.kind == "voided":
            taken = _take_out(kept, row)
            redo = taken if row.name == REDO else None
        kept.append(row)
    return History(kept, redo)


def taken_back(row: JournalRow, key: bytes) -> JournalRow:
    """What follows an event whose turn is to be run again, live: nothing of it was let out."""
    return JournalRow(row.run, row.position + 1, "voided", row.at, key, op=1, name=REDO)


def _take_out(kept: list[JournalRow], voided: JournalRow) -> JournalRow:
    """The latest event before a ``voided`` row is the one it takes back."""
    for index in range(len(kept) - 1, -1, -1):
        if kept[index].kind != "voided":
            return kept.pop(index)
    raise InternalError(
        "a journal begins with a voided row", run=voided.run, position=voided.position
    )


def to_event(row: JournalRow, asked: Mapping[int, commands.Open]) -> events.Event:
    """One row as the event that the replayer takes.

    Raises:
        DecodeError: the recorded value does not fit its annotation any more.
    """
    match row.kind:
        case "promise":
            return _promised(row, asked)
        case "activity" | "transaction":
            return _answer(row, asked)
        case "timer":
            assert row.op is not None and row.digest is not None
            return events.TimerFired(row.position, row.at, row.op, row.digest)
        case "started":
            return events.Started(row.position, row.at)
        case "cancel":
            return events.CancelRequested(row.position, row.at, row.name)
        case "signal":
            assert row.name is not None
            return events.Received(row.position, row.at, row.kind, row.name, row.result)
        case "update":
            assert row.name is not None and row.seq is not None
            decided = row.failure is None
            return events.Asked(row.position, row.at, row.seq, row.name, row.result, decided)
        case "child":
            return births.to_event(row, asked)
        case "refused":
            op, reason = row.op or 0, row.name or "no reason is known"
            error = births.refusal(reason, asked.get(op))
            why = REFUSALS.get(reason, reason)
            return events.Refused(row.position, row.at, op, why, error)
        case "voided":
            assert row.op is not None
            return events.Voided(row.position, row.op)
        case _:
            raise InternalError("this version cannot replay such an event", kind=row.kind)


def _answer(row: JournalRow, asked: Mapping[int, commands.Open]) -> events.Event:
    assert row.op is not None and row.name is not None and row.input is not None
    print_of_input = digest(row.input)
    command, definition = asked.get(row.op), None
    if isinstance(command, commands.Run) and command.name == row.name:
        definition = command.call.definition
        if command.digest != print_of_input and difference(row.input, command.call) is None:
            print_of_input = command.digest
    if row.failure is not None:
        error = to_error(row.name, decode_failure(row.failure), definition)
        return events.Failed(
            row.position, row.at, row.op, row.kind, row.name, print_of_input, error
        )
    value = definition.signature.decode_result(row.result) if definition and row.result else None
    return events.Answered(row.position, row.at, row.op, row.kind, row.name, print_of_input, value)


def difference(recorded: bytes, call: Any) -> str | None:
    """What the function of now is given otherwise, in words. It, or a class, may have got defaults
    since: those are no difference."""
    try:
        found = sameness.difference(recorded, call.input, call.definition.signature)
    except CodecError as error:
        return str(error)
    return found and f"{found.path} was {shorten(found.before)}, and is {shorten(found.now)} now"


def to_effects(
    run: int, id: str, effects: Iterable[commands.Effect]
) -> tuple[tuple[Delivery, ...], tuple[Reply, ...]]:
    """What goes with turns, as the store takes it."""
    deliveries: list[Delivery] = []
    replies: list[Reply] = []
    for each in effects:
        if isinstance(each, commands.Send):
            deliveries.append(to_delivery(run, id, each))
        elif isinstance(each, commands.Reply) and each.payload is not None:  # given before
            done = each.kind == "completed"
            result, failure = (each.payload, None) if done else (None, each.payload)
            replies.append(Reply(each.seq, each.kind, result, failure))
    return tuple(deliveries), tuple(replies)


def bytes_of_effects(effects: Effects) -> int:
    """How much there is of what others have given: a commit takes so much, and no more."""
    return (
        sum(len(each.value or b"") for each in effects.publishes)
        + sum(len(each.payload or b"") for each in effects.deliveries)
        + sum(len(each.result or b"") for each in effects.replies)
        + sum(len(each.input) for each in effects.children)
    )


def to_delivery(sender: int, id: str, effect: commands.Send) -> Delivery:
    """A message that a turn sends: the op of its sender makes it one, however often it comes. One
    to itself goes by its key: where it is born with this turn, no id leads to it yet."""
    key, own = f"{sender}:{effect.op}", effect.to == id and effect.child is None
    return Delivery(sender if own else None, effect.kind, effect.name or None, key, effect.payload,
                    effect.op, effect.to, effect.child)  # fmt: skip


def _promised(row: JournalRow, asked: Mapping[int, commands.Open]) -> events.Event:
    assert row.op is not None and row.name is not None
    told = row.position, row.at, row.op, row.kind, row.name, b""
    if row.failure is not None:
        return events.Failed(*told, PromiseRejected(decode_failure(row.failure).message))
    command = asked.get(row.op)
    expected = command.expected if isinstance(command, commands.Promise) else Any
    return events.Answered(*told, decode(row.result or b"", expected))


def to_error(name: str, failure: Failure, definition: Definition | None) -> BaseException:
    """What workflow code sees of a recorded failure: a business error as itself, all else as
    ``ActivityError``.

    Raises:
        DecodeError: it was a business error, whose class is not to be found any more.
    """
    if definition is not None:
        error = rebuild(failure, definition.options.raises)
        if error is not None:
            return error
        if failure.kind == "answer":
            raise DecodeError(
                expected=f"raises= of activity {name!r}",
                why=f"{failure.module}.{failure.type} was raised, and is not one of them any more. "
                "Was it renamed or moved? The workflow has seen it as itself",
            )
    return _KINDS.get(failure.kind, ActivityError)(
        activity=name,
        type=failure.type,
        message=failure.message,
        attempts=failure.attempts,
        traceback=failure.traceback,
        cause=None if failure.cause is None else to_error(name, failure.cause, definition),
    )
