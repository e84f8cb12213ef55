"""Children and heirs of a run, between what its code asks for and what is written: rows to be
inserted with its turn, and the message that tells how a child has ended.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from .._authoring.children import Begetting
from .._codec import sameness, values
from .._codec.failures import Failure, decode_failure
from .._core import commands, events
from .._store.family import Heir, NewChild
from .._store.protocol import JournalRow
from ..errors import ChildError, ChildRefused

# How a child ended that neither completed nor failed. It stands in its parent's journal as a
# failure of this kind.
_ENDS = frozenset({"cancelled", "terminated"})

# Why a child was not begun, in words.
REFUSALS = {
    "taken": "another run has this id. Leave id= out for one that contains this run, or send that "
    "run a signal if it is meant",
    "deep": "100 generations stand above it already. Does a workflow begin itself without end? To "
    "go on as a new run there is ctx.continue_as_new()",
}


def to_child(spawn: commands.Spawn) -> NewChild:
    call: Begetting = spawn.call
    return NewChild(
        spawn.op,
        call.id,
        call.is_named,
        call.workflow,
        call.queue,
        call.priority,
        os.urandom(16),
        call.input,
        sameness.digest(call.input, call.args),
        call.begins_at,
        call.ends_at,
        call.on_parent_close,
    )


def to_children(effects: Iterable[commands.Effect]) -> tuple[NewChild, ...]:
    return tuple(to_child(each) for each in effects if isinstance(each, commands.Spawn))


def to_heir(outcome: commands.Close | None) -> Heir | None:
    if not isinstance(outcome, commands.Continue):
        return None
    return Heir(os.urandom(16), outcome.call, outcome.unread)


def ending(spawn: commands.Spawn, status: str, payload: bytes | None) -> dict[str, Any]:
    """The columns of the row that records how a child ended; ``payload`` is its result, its
    failure, or the reason for its end."""
    told: dict[str, Any] = {"op": spawn.op, "name": spawn.name, "site": spawn.site}
    told["digest"] = spawn.digest
    if status in _ENDS:
        why = values.decode(payload) if payload is not None else ""
        facts = {"type": "", "module": "", "message": str(why), "kind": status}
        return told | {"failure": values.encode(facts)}
    return told | {"failure" if status == "failed" else "result": payload}


def to_event(row: JournalRow, asked: Mapping[int, commands.Open]) -> events.Event:
    """
    Raises:
        DecodeError: the child's result does not fit its annotation any more.
    """
    assert row.op is not None and row.name is not None and row.digest is not None
    spawn = asked.get(row.op)
    facts = row.position, row.at, row.op, row.kind, row.name, row.digest
    call: Begetting | None = spawn.call if isinstance(spawn, commands.Spawn) else None
    if row.failure is not None:
        failure = decode_failure(row.failure)
        return events.Failed(*facts, _error(failure, call.id if call else "", row.name))
    value = None
    if row.result is not None and call is not None and call.workflow == row.name:
        known = call.definition
        value = (known.signature.decode_result if known else values.decode)(row.result)
    return events.Answered(*facts, value)


def refusal(why: str, spawn: commands.Open | None) -> ChildRefused | None:
    """None if it was no child that was refused."""
    if not isinstance(spawn, commands.Spawn):
        return None
    told = REFUSALS.get(why, why)
    return ChildRefused(id=spawn.call.id, workflow=spawn.name, status="refused", message=told)


def _error(failure: Failure, id: str, workflow: str) -> ChildError:
    return ChildError(
        id=id,
        workflow=workflow,
        status=failure.kind if failure.kind in _ENDS else "failed",
        type=failure.type,
        message=failure.message,
        traceback=failure.traceback,
        cause=None if failure.cause is None else _error(failure.cause, id, workflow),
    )
