"""Exceptions as facts: written with any exception, read without running anybody's code.

Only a class that the reader names is made again, and without calling its ``__init__``.
Everything else stays a description: type, message, traceback text. Locals are never written.
"""

from __future__ import annotations

import traceback
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import values

# A traceback is for people: its last frames tell most.
TRACEBACK_CHARS_MAX = 16 * 1024
FRAMES_MAX = 60  # read from the sources while an attempt's owner waits
MESSAGE_CHARS_MAX = 8 * 1024
NOTE_CHARS_MAX = 1024
STATE_BYTES_MAX = 16 * 1024  # of args, and of attributes
LISTED_MAX = 20  # members of a group, notes
CAUSES_MAX = 10
# All members and causes together: a group of groups would else pass the limit of payloads.
DESCRIBED_MAX = 30


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception as it stands in the journal."""

    type: str  # the class's qualified name
    module: str
    message: str
    traceback: str = ""
    attempts: int = 1
    # "answer": one of raises=, made again for the workflow; why nothing was raised:
    # "timed_out", "unknown"
    kind: str = "raised"
    args: tuple[Any, ...] = ()
    state: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    cause: Failure | None = None  # what it was raised from, or while handling what
    members: tuple[Failure, ...] = ()  # of an exception group; the first ones

    @property
    def told(self) -> dict[str, str]:
        """What an error that stands for it says of it."""
        return {"type": self.type, "message": self.message, "traceback": self.traceback}


def encode_failure(error: BaseException, *, attempts: int = 1, kind: str = "raised") -> bytes:
    """Any exception as a payload; never fails, whatever the exception holds."""
    facts = {"attempts": attempts, "kind": kind}
    try:
        return values.encode(_described(error, set()) | facts)
    except Exception as failed:  # noqa: BLE001 - then less of it, but something
        told = {
            "type": _text(type(error).__qualname__),
            "module": _text(type(error).__module__),
            "message": f"(it cannot be described: {_text(type(failed).__name__)})",
        }
        return values.encode(told | facts)


def decode_failure(payload: bytes) -> Failure:
    """
    Raises:
        DecodeError: not a failure.
    """
    failure: Failure = values.decode(payload, Failure)
    return failure


def rebuild(failure: Failure, classes: Sequence[type[BaseException]]) -> BaseException | None:
    """The exception itself, if its class is one of ``classes`` or derived from one; None
    otherwise. No code of the class is called: arguments and attributes are put back as they
    were. A group is made again if all its members are."""
    found = {
        kind
        for each in classes
        for kind in _family(each)
        if (kind.__module__, kind.__qualname__) == (failure.module, failure.type)
    }
    if found:  # two of one name cannot be told apart
        return _made(found.pop(), failure) if len(found) == 1 else None
    members = [rebuild(each, classes) for each in failure.members]
    if not members or None in members:
        return None
    text = failure.message.rpartition(" (")[0]  # less "(2 sub-exceptions)"
    return BaseExceptionGroup(text, [each for each in members if each is not None])


def _family(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    yield kind
    for each in type.__subclasses__(kind):
        yield from _family(each)


def _made(kind: type[BaseException], failure: Failure) -> BaseException | None:
    try:
        builtin: Any = next(each for each in kind.__mro__ if each.__module__ == "builtins")
        error: BaseException = builtin.__new__(kind, *failure.args)
        error.args = failure.args
        slots = _slots(kind)
        for name, value in failure.state.items():
            if name in slots:
                object.__setattr__(error, name, value)
            elif not name.startswith("__"):
                error.__dict__[name] = value
    except Exception:  # noqa: BLE001 - a class that cannot be made so stays a description
        return None
    for note in failure.notes:
        BaseException.add_note(error, note)
    return error


def _described(error: BaseException, seen: set[int], depth: int = 0) -> dict[str, Any]:
    """An exception with its causes and members, within one budget: not one that was told already,
    since causes can go in circles."""
    seen.add(id(error))

    def has_room(other: BaseException) -> bool:
        return len(seen) < DESCRIBED_MAX and depth < CAUSES_MAX and id(other) not in seen

    kind, message = type(error), _message(error)
    described: dict[str, Any] = {
        "type": _text(kind.__qualname__),
        "module": _text(kind.__module__),
        "message": message,
        "traceback": _traceback(error, message),
        "args": _encodable(tuple(error.args), (message,)),
        "state": _state(error),
        "notes": _notes(error),
    }
    cause = error.__cause__
    if cause is None and not error.__suppress_context__:
        cause = error.__context__
    if cause is not None and has_room(cause):
        described["cause"] = _described(cause, seen, depth + 1)
    if isinstance(error, BaseExceptionGroup):
        described["members"] = [
            _described(each, seen, depth + 1)
            for each in error.exceptions[:LISTED_MAX]
            if has_room(each)
        ]
    return described


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception as failed:  # noqa: BLE001 - a user's __str__ may do anything
        text = f"(its text cannot be told: str() raised {type(failed).__name__})"
    return _text(text[:MESSAGE_CHARS_MAX])


def _traceback(error: BaseException, message: str) -> str:
    """As Python prints it, but for this one exception: its causes and members are told apart,
    and ``traceback`` would format all of a large group before it cuts."""
    kind = type(error)
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    frames = traceback.extract_tb(error.__traceback__, limit=-FRAMES_MAX)
    lines = ["Traceback (most recent call last):\n", *frames.format()] if frames else []
    room = TRACEBACK_CHARS_MAX // 2
    last = f"{name}: {message}"[:room]
    return _text("".join(lines)[-room:] + last)


def _notes(error: BaseException) -> list[str]:
    notes: Any = getattr(error, "__notes__", ())
    if not isinstance(notes, list | tuple):
        return []
    return [_text(each[:NOTE_CHARS_MAX]) for each in notes[:LISTED_MAX] if isinstance(each, str)]


def _state(error: BaseException) -> dict[str, Any]:
    """Its attributes; those that cannot be recorded are left out."""
    missing, own = object(), error.__dict__
    names = [name for name in (*own, *_slots(type(error))) if not name.startswith("__")]
    held = {name: own[name] if name in own else getattr(error, name, missing) for name in names}
    known = {name: _encodable(each, missing) for name, each in held.items()}
    state: dict[str, Any] = _encodable({n: v for n, v in known.items() if v is not missing}, {})
    return state


def _slots(kind: type) -> set[str]:
    """Attributes that its classes keep outside ``__dict__``."""
    return {
        name
        for each in kind.__mro__
        for name, kept in vars(each).items()
        if isinstance(kept, types.MemberDescriptorType) and each.__module__ != "builtins"
    }


def _text(text: str) -> str:
    """Without half characters, which no database takes."""
    return str(text).encode("utf-8", "replace").decode()


def _encodable(value: Any, otherwise: Any) -> Any:
    """What comes back of the value, if it can be recorded and is small."""
    try:
        return values.copied(value, bytes_max=STATE_BYTES_MAX)
    except Exception:  # noqa: BLE001 - a user's object may raise anything
        return otherwise
