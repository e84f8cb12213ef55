"""How code and journal differ, told in words.

Each event is compared with what the code asks for at this point: kind, name and a digest of
the input (of a timer: its due time). The first difference ends the replay.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import timedelta

from ..errors import Divergence
from . import commands, events

_ANSWERED = (commands.Run, commands.Promise, commands.Spawn)


def check_answer(
    event: events.Answered | events.Failed, asked: commands.Open | None, *, over: bool
) -> None:
    """The code still asks for the activity whose result this is."""
    if (
        isinstance(asked, _ANSWERED)
        and asked.digest == event.digest
        and asked.name == event.name
        and asked.kind == event.kind
    ):
        return
    verb = "the answer to" if event.kind == "promise" else "the result of"
    recorded = f"{verb} {event.kind} {event.name!r} (op {event.op})"
    if isinstance(asked, _ANSWERED) and (asked.name, asked.kind) == (event.name, event.kind):
        recorded += " with other arguments"
    raise _differs(event.position, recorded, asked, event.op, over=over)


def check_timer(event: events.TimerFired, asked: commands.Open | None, *, over: bool) -> None:
    """The code still waits for this timer, until the same time."""
    if isinstance(asked, commands.Wait) and asked.digest == event.digest:
        return
    due = commands.EPOCH + timedelta(microseconds=int.from_bytes(event.digest, "big", signed=True))
    recorded = f"a timer (op {event.op}) that was due at {due:%Y-%m-%d %H:%M:%S.%f}"
    raise _differs(event.position, recorded, asked, event.op, over=over)


def check_effects(position: int, recorded: bytes | None, asked: list[commands.Command]) -> None:
    """The turn sends again what it has sent."""
    effects = [each for each in asked if isinstance(each, commands.Effect)]
    if recorded == digest_of(effects):
        return
    raise Divergence(
        position=position,
        recorded="a turn that sent something else" if recorded else "a turn that sent nothing",
        asked=", ".join(map(describe, effects[:3])) + (" ..." if effects[3:] else "") or "nothing",
        site=effects[0].site if effects else None,
    )


def digest_of(effects: Iterable[commands.Effect]) -> bytes | None:
    """Of what a turn sends, in its order; None if it sends nothing."""
    digest = None
    for each in effects:
        digest = digest or hashlib.blake2b(digest_size=8)
        told = f"{type(each).__name__} {each.op} {each.kind} {each.name} {each.to}"
        digest.update(told.encode() + b"\0" + each.digest)
    return digest and digest.digest()


def check_start(position: int, *, begun: bool) -> None:
    if begun:
        raise Divergence(
            position=position, recorded="a second start", asked="nothing: it has begun already"
        )


def check_begun(position: int, *, begun: bool) -> None:
    if not begun:
        raise Divergence(
            position=position, recorded="news for the run", asked="nothing: it has not begun"
        )


def no_progress(position: int) -> Divergence:
    return Divergence(
        position=position,
        recorded="an event",
        asked="nothing, for ever: its tasks only yield to each other (a loop around "
        "asyncio.sleep(0)?). Wait for something: an asyncio.Event, a queue, ctx.sleep",
    )


def describe(command: commands.Open | commands.Effect) -> str:
    match command:
        case commands.Receive(op, name):
            return f"a signal {name!r} (op {op})"
        case commands.Publish(op, kind, name):
            return f"a value for {kind} {name!r} (op {op})"
        case commands.Send(op, to, kind, name):
            return f"{kind} {name!r} to run {to!r} (op {op})"
        case commands.Reply(_, seq, kind, name):
            return f"update {name!r} (message {seq}) to be {kind}"
        case commands.Spawn(op, kind, name, to):
            return f"{kind} {name!r}" + (f" as {to!r}" if to else "") + f" (op {op})"
        case commands.Run(op, kind, name):
            return f"{kind} {name!r} (op {op})"
        case commands.Promise(op, name):
            return f"promise {name!r} (op {op})"
        case commands.Wait(op, due):
            return f"a timer (op {op}) due at {due:%Y-%m-%d %H:%M:%S.%f}"


def _differs(
    position: int, recorded: str, asked: commands.Open | None, op: int, *, over: bool
) -> Divergence:
    if asked is not None:
        now = describe(asked)
    elif over:
        now = "nothing: it has returned already"
    else:
        now = f"nothing under op {op} at this point"
    site = asked.site if asked else None
    return Divergence(position=position, recorded=recorded, asked=now, site=site)
