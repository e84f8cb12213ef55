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
from . import births


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


class Redo(NamedTuple):
    """An event that a retry took back is to be fed again, in a turn of its own."""

    row: JournalRow


Arrival: TypeAlias = Begin | Result | Due | Message | Redo


def to_row(
    arrival: Begin | Due | Message | Redo,
    place: tuple[int, int, bytes],
    at: datetime,
    waits: Mapping[int, commands.Open],
) -> JournalRow | None:
    """As it is recorded at a place: run, position, key. None: the code waits for it no longer."""
    run, position, key = place
    match arrival:
        case Due():
            timer = waits.get(arrival.op)
            if not isinstance(timer, commands.Wait):
                return None
            at, op = max(at, timer.due), arrival.op
            return JournalRow(run, position, "timer", at, key, op, site=timer.site,
                              digest=timer.digest)  # fmt: skip
        case Begin():
            return JournalRow(run, position, "started", at, key)
        case Redo(old):
            at = max(at, old.at) if old.kind == "timer" else at
            return msgspec.structs.replace(old, position=position, at=at, key=key, effects=None,
                                           patches=None)  # fmt: skip
        case Message(_, seq, kind):
            told = _told(arrival, waits.get(arrival.op or 0))
            if told is None:
                return None
            return JournalRow(run, position, kind, at, key, seq=seq, **told)


def _told(message: Message, asked: commands.Open | None) -> dict[str, Any] | None:
    """What the row of a message tells; ``asked`` is what it answers."""
    name, payload = message.name, message.payload
    match message.kind:
        case "cancel" | "refused":
            return {"op": message.op, "name": name}
        case "signal" | "update":
            return {"name": name or "", "result": payload}
        case "child":
            if not isinstance(asked, commands.Spawn):
                return None
            return births.ending(asked, name or "", payload)
        case "promise":
            if not isinstance(asked, commands.Promise):
                return None
            told = {"op": asked.op, "name": asked.name, "site": asked.site}
            if name != "reject":
                return told | {"result": payload}
            rejected = PromiseRejected(decode(payload or b"", str))
            return told | {"failure": encode_failure(rejected)}
        case kind:
            raise InternalError("this version knows no such message", kind=kind)


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
        arrivals.append(message)
    arrivals.extend(Due(op) for _, op in timers)
    return arrivals
