"""Forks: a new run that shares the beginning of another one's history and goes on by itself.

The journal up to a position is replayed with the code at hand: that tells whether the code fits,
and what is open there. An activity, a transaction or a timer that is open is asked for again by the
new run, under its own name; a promise or a child is not, since its answer goes to the run that
asked for it: such a position is refused, and a better one is named. What was sent to the run and
not yet received there, the fork receives.

A result may be replaced: the event at the position stands in the fork's journal with the new one,
and is taken back by a ``voided`` row, as by a retry, so that its turn is run for the first time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

import msgspec

from ._authoring.children import checked_name
from ._authoring.registry import NAME_MAX
from ._client.client import Client
from ._client.starting import unhurried
from ._codec import values
from ._core import commands, divergence
from ._histories import History
from ._replaying import Copy, definition_of
from ._runtime import rows
from ._store.protocol import JournalRow, Message
from .errors import DecodeError, ForkRefused, RunExists, RunNotFound

# Whose answers are for the run that has asked alone.
BOUND = (commands.Promise, commands.Spawn)

# What has a result that can be another one.
ANSWERS = frozenset({"activity", "transaction", "child", "promise"})

# Of a default id: what is kept of the other run's.
ID_KEPT = NAME_MAX - 20


async def fork(
    client: Client, run: int, *, at: int, id: str | None, result: tuple[object, ...]
) -> tuple[int, str]:
    """Begin a run that shares the events before ``at``; returns its key and its id. ``result``: of
    the event there, if it is to be another one.

    Raises:
        ForkRefused, RunExists, RunNotFound, NotRegistered, Divergence, DecodeError, InvalidCall:
            see ``Handle.fork``. Nothing was written.
    """
    found = [each async for each in History.read(client.store, [run])]
    if not found:
        raise RunNotFound(id=str(run))
    history = found[0]
    definition_of(history)
    new_id = f"{history.id[:ID_KEPT]}/fork-{uuid4().hex[:12]}"
    if id is not None:
        new_id = checked_name(id, "id")
    _check_position(history, at)
    events = history.events[:at]
    voids = {voided: taken for voided, taken in history._voids().items() if voided < at}
    if result:
        events += _changed(history, at, *result)
        voids[at + 1] = at
    forked = _cut(history, new_id, at, events)
    await _check_open(history, forked, at)
    return await _write(client, forked, voids)


def _cut(history: History, id: str, at: int, events: tuple[JournalRow, ...]) -> History:
    return msgspec.structs.replace(
        history,
        id=id,
        status="pending",
        origins=history.origins_at(at),
        events=events,
        unread=_unread(history, at),
        notes=(),
        parent=None,
        parent_op=None,
        on_parent_close=None,
        depth=0,
        started_at=None,
        closed_at=None,
        due_at=None,
        deadline=None,
        report=None,
        result=None,
        failure=None,
        failed_at=None,
        next_op=None,
        reason=None,
    )


def _unread(history: History, at: int) -> tuple[Message, ...]:
    """Signals and updates that were read later, or not at all. (One that a retry has fed again
    stands in the journal twice.)"""
    found: dict[int, Message] = {}
    seen = max((row.seq or 0 for row in history.events[:at]), default=0)
    for row in history.events[at:]:
        if row.kind in ("signal", "update") and row.seq is not None and row.seq > seen:
            found[row.seq] = Message(history.run, row.seq, row.kind, row.name, row.result, row.at)
    for message in history.unread:
        if message.kind in ("signal", "update"):
            found[message.seq] = message
    return tuple(found[seq] for seq in sorted(found))


def _changed(history: History, at: int, result: object) -> tuple[JournalRow, JournalRow]:
    """The event at the position with another result, and what takes it back, to be fed anew."""
    if at >= len(history.events) or history.events[at].kind not in ANSWERS:
        found = history.events[at].kind if at < len(history.events) else "nothing yet"
        raise ForkRefused(
            id=history.id,
            at=at,
            why=f"there is {found}, which has no result to be replaced. result= is for the answer "
            "of an activity, a transaction, a child or a promise",
        )
    payload = values.encode(result)
    values.decode(payload)
    new: dict[str, Any] = {"result": payload, "failure": None, "effects": None, "patches": None}
    row = msgspec.structs.replace(history.events[at], key=os.urandom(16), **new)
    return row, rows.taken_back(row, os.urandom(16))


def _check_position(history: History, at: int) -> None:
    length = len(history.events)
    why = None
    if type(at) is not int or at < 1:
        why = "a fork shares one event at least. To begin anew there is handle.restart()"
    elif length == 0:
        why = "it has not begun: its journal is empty"
    elif at > length:
        why = f"its journal has {length} events, so it can share {length} at most"
    elif at == length and history.closed_at is not None:
        why = f"it has ended with its last event, {length - 1}: share fewer than all {length}"
    else:
        for voided, taken in history._voids().items():
            if taken < at <= voided:
                why = (
                    f"a retry, the event {voided}, has taken back what stands from {taken} on. "
                    f"Fork it at {taken}, or at {voided + 1}"
                )
    if why is not None:
        raise ForkRefused(id=history.id, at=at, why=why)


async def _check_open(history: History, forked: History, at: int) -> None:
    """Replay what is shared.

    Raises:
        ForkRefused: the code has ended by then; or something is open that answers the other run.
    """
    redo = rows.read(forked.events).redo
    answered = None if redo is None else redo.op
    free = 0  # the latest position before, where nothing of that kind is open
    bound: Mapping[int, commands.Open] = {}
    with Copy(forked) as copy:
        async for row in unhurried(forked.fed):
            copy.feed(row)
            bound = _bound(copy.instance.replayer.open)
            free = row.position + 1 if row.position < at and not bound else free
        if copy.outcome is not None:
            why = "the code has ended by then. Fork it before that"
            raise ForkRefused(id=history.id, at=at, why=why)
        if redo is not None:  # it must fit what the code asks for, and the annotation
            _feed(history, copy, redo, at)
        bound = {op: each for op, each in bound.items() if op != answered}
    if not bound:
        return
    told = ", ".join(f"{divergence.describe(each)} asked for at {each.site}"
                     for each in list(bound.values())[:3])  # fmt: skip
    raise ForkRefused(
        id=history.id,
        at=at,
        why=f"{told} {'is' if len(bound) == 1 else 'are'} open there, and "
        f"{'its answer goes' if len(bound) == 1 else 'their answers go'} to the run that asked. "
        + " ".join(_elsewhere(history, bound, free)),
    )


def _feed(history: History, copy: Copy, redo: JournalRow, at: int) -> None:
    """The event whose turn is to be run again; its result may be a new one."""
    replayer = copy.instance.replayer
    try:
        event = rows.to_event(redo, replayer.open)
    except DecodeError as error:
        why = f"the result does not fit {error.expected}: {error.why}"
        raise ForkRefused(id=history.id, at=at, why=why) from error
    replayer.feed(event)


def _bound(open_: Mapping[int, commands.Open]) -> dict[int, commands.Open]:
    return {op: each for op, each in open_.items() if isinstance(each, BOUND)}


def _elsewhere(history: History, bound: Mapping[int, commands.Open], free: int) -> Iterator[str]:
    """Positions where it can be."""
    if free:
        yield f"At {free} it can be forked."
    answers = [row.position for row in history.events
               if row.op in bound and row.kind in ("promise", "child", "refused")]  # fmt: skip
    if len(answers) >= len(bound):
        yield f"Likewise after the answer, at {max(answers) + 1}."


async def _write(client: Client, forked: History, voids: Mapping[int, int]) -> tuple[int, str]:
    facts = msgspec.structs.asdict(forked)
    for name in ("run", "parent", "events", "notes", "unread"):
        del facts[name]
    facts["created_at"] = None  # now
    listing = client.store.listing
    key, taken = await listing.adopt(facts, forked.events, voids, (), forked.unread, None)
    if key is None:
        raise RunExists(id=forked.id, status=str(taken), policy="fork")
    return key, forked.id
