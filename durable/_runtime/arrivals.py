"""What arrives for a run: news that its code has not been fed yet.

A result, a due timer, a message: each becomes one event of its journal, in the order in which they
stand in the instance's queue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

import msgspec

from .._codec.failures import encode_failure
from .._codec.values import decode
from .._core import commands
from .._store.protocol import JournalRow, Message
from ..errors import InternalError, PromiseRejected


class Begin(NamedTuple):
    """The run's code is to be started."""


class Result(msgspec.Struct, frozen=True):
    """An op was answered: ``value`` and ``result``, or ``error`` and ``failure``."""

    op: int
    value: Any
    result: bytes | None
    error: BaseException | None
    failure: bytes | None


class Due(NamedTuple):
    op: int


class Cancel(NamedTuple):
    seq: int
    reason: str | None


class Came(NamedTuple):
    """A signal for the code to receive, or an update for it to answer."""

    seq: int
    kind: str
    name: str
    payload: bytes | None


class Promised(NamedTuple):
    """A promise was answered, or rejected: the failure that the code gets."""

    seq: int
    op: int
    result: bytes | None
    failure: bytes | None


class Refusal(NamedTuple):
    """An effect of this run was not done."""

    seq: int
    op: int | None
    why: str


class Ended(NamedTuple):
    """A child has ended; ``payload`` is its result, its failure, or a reason."""

    seq: int
    op: int | None
    status: str
    payload: bytes | None


class Redo(NamedTuple):
    """An event that a retry took back is to be fed again, in a turn of its own."""

    row: JournalRow


Arrival: TypeAlias = Begin | Result | Due | Cancel | Came | Promised | Ended | Refusal | Redo


def arrival_of(message: Message) -> Arrival:
    match message.kind:
        case "cancel":
            return Cancel(message.seq, message.name)
        case "signal" | "update":
            return Came(message.seq, message.kind, message.name or "", message.payload)
        case "promise":
            assert message.op is not None and message.payload is not None
            answer, failure = message.payload, None
            if message.name == "reject":
                failure = encode_failure(PromiseRejected(decode(answer, str)))
            return Promised(message.seq, message.op, None if failure else answer, failure)
        case "child":
            return Ended(message.seq, message.op, message.name or "", message.payload)
        case "refused":
            return Refusal(message.seq, message.op, message.name or "")
        case _:
            raise InternalError("this version knows no such message", kind=message.kind)


def merged(
    messages: Sequence[Message], waits: Mapping[int, commands.Open], now: datetime
) -> list[Arrival]:
    """Messages, in the order they were accepted, and timers that are due, in time order: a
    timeout never beats a message that came before it, however late both are read."""
    timers = sorted(
        (each.due, each.op)
        for each in waits.values()
        if isinstance(each, commands.Wait) and each.due <= now
    )
    arrivals: list[Arrival] = []
    for message in sorted(messages, key=lambda each: each.seq):
        while timers and timers[0][0] < message.at:
            arrivals.append(Due(timers.pop(0)[1]))
        arrivals.append(arrival_of(message))
    arrivals.extend(Due(op) for _, op in timers)
    return arrivals
