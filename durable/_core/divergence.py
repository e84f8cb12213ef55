"""How code and journal differ, told in words.

Each event is compared with what the code asks for at this point: kind, name and a digest of
the input (of a timer: its due time). The first difference ends the replay.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, TypeAlias

from ..errors import Divergence, shorten
from . import commands, events

Answer: TypeAlias = events.Answered | events.Failed
Over: TypeAlias = commands.Close | None  # how the code has ended, if it has

_ENDS: dict[Any, str] = {commands.Stop: "was cancelled", commands.Continue: "has begun anew"}
_ANSWERED = (commands.Run, commands.Promise, commands.Spawn)


def check_answer(event: Answer, asked: commands.Open | None, *, over: Over) -> None:
    """The code still asks for the activity whose result this is."""
    same = False
    if isinstance(asked, _ANSWERED) and asked.name == event.name and asked.kind == event.kind:
        if asked.digest == event.digest:
            return
        same = True
    verb = "the answer to" if event.kind == "promise" else "the result of"
    recorded = f"{verb} {event.kind} {event.name!r} (op {event.op})"
    if same:
        raise _differs(event, f"{recorded} with other arguments", asked, "arguments")
    is_alike = isinstance(asked, _ANSWERED) and asked.kind == event.kind == "activity"
    renamed = is_alike and asked.digest == event.digest  # type: ignore[union-attr]
    raise _differs(event, recorded, asked, "name" if renamed else "step", over)


def check_timer(event: events.TimerFired, asked: commands.Open | None, *, over: Over) -> None:
    """The code still waits for this timer, until the same time."""
    is_timer = isinstance(asked, commands.Wait)
    if is_timer and asked.digest == event.digest:  # type: ignore[union-attr]
        return
    due = commands.EPOCH + timedelta(microseconds=int.from_bytes(event.digest, "big", signed=True))
    recorded = f"a timer (op {event.op}) that was due at {due:%Y-%m-%d %H:%M:%S.%f}"
    raise _differs(event, recorded, asked, "time" if is_timer else "step", over)


def check_effects(position: int, recorded: bytes | None, asked: list[commands.Command]) -> None:
    """The turn sends again what it has sent."""
    effects = [each for each in asked if isinstance(each, commands.Effect)]
    if recorded == digest_of(effects):
        return
    now = ", ".join(map(describe, effects[:3])) + (" ..." if effects[3:] else "")
    if not now:
        over = asked[-1] if asked and isinstance(asked[-1], commands.Close) else None
        now = "nothing to be sent" + (f": it {_end(over)}" if over else "")
    raise Divergence(
        position=position,
        recorded="a turn that sent something else" if recorded else "a turn that sent nothing",
        asked=now,
        kind="sent",
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


def check_begun(position: int, *, begun: bool, starts: bool) -> None:
    """A run begins once, and nothing comes before that."""
    if begun != starts:
        return
    recorded, state = ("a second start", "already") if starts else ("news for the run", "not")
    asked = f"nothing: it has {state} begun"
    raise Divergence(position=position, recorded=recorded, asked=asked, kind="journal")


def unasked_patch(position: int, id: str) -> Divergence:
    recorded, asked = f"a turn that went the way of patch {id!r}", "no such patch"
    return Divergence(position=position, recorded=recorded, asked=asked, kind="patch")


def ended(position: int, over: Over) -> Divergence:
    """The code has come to its end, and the run has not."""
    asked = f"nothing: it {_end(over)}"
    return Divergence(position=position, recorded="a run that goes on", asked=asked, kind="over")


def _end(over: Over) -> str:
    if isinstance(over, commands.Fail):
        return f"has failed already, with {shorten(over.error)}"
    return f"{_ENDS.get(type(over), 'has returned')} already"


def no_progress(position: int) -> Divergence:
    asked = "nothing, for ever: its tasks only yield to each other"
    return Divergence(position=position, recorded="an event", asked=asked, kind="circle")


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


def waiting(asked: Sequence[commands.Open]) -> tuple[str, str | None]:
    """What the run waits for, in words, and the line that asked for it."""
    if not asked:
        return "news that only a message can bring", None
    # What a timer is set around says more than the timer.
    others = [each for each in asked if not isinstance(each, commands.Wait)]
    others.sort(key=lambda each: isinstance(each, commands.Spawn) and each.is_kept)
    timers = [each for each in asked if isinstance(each, commands.Wait)]
    first = others[0] if others else min(timers, key=lambda each: each.due)
    text = describe(first)
    if isinstance(first, commands.Wait):
        text = f"sleep until {first.due:%Y-%m-%d %H:%M:%S} UTC"
    more = f", and {len(asked) - 1} more" if len(asked) > 1 else ""
    return text + more, first.site


def _differs(
    event: Answer | events.TimerFired,
    recorded: str,
    asked: commands.Open | None,
    kind: str,
    over: Over = None,
) -> Divergence:
    now, site = f"nothing under op {event.op} at this point", None
    if asked is not None:
        now, site = describe(asked), asked.site
    elif over is not None:
        now, kind = f"nothing: it {_end(over)}", "over"
    else:
        kind = "gone"
    return Divergence(position=event.position, recorded=recorded, asked=now, kind=kind, site=site)
