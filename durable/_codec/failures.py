"""Exceptions as facts: written with any exception, read without running anybody's code.

Only a class that the reader names is made again, and without calling its ``__init__``.
Everything else stays a description: type, message, traceback text.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import CodecError, DecodeError
from . import values

# A traceback is for people: its last frames tell most. Locals are never written.
TRACEBACK_CHARS_MAX = 16 * 1024
MESSAGE_CHARS_MAX = 8 * 1024
MEMBERS_MAX = 20  # of an exception group
CAUSES_MAX = 10


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception as it stands in the journal."""

    type: str  # the class's qualified name
    module: str
    message: str
    traceback: str = ""
    attempts: int = 1
    timed_out: bool = False
    args: tuple[Any, ...] = ()
    state: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    cause: Failure | None = None
    members: tuple[Failure, ...] = ()


def encode_failure(error: BaseException, *, attempts: int = 1, timed_out: bool = False) -> bytes:
    """Any exception as a payload; never fails, whatever the exception holds."""
    described = _describe(error, 0)
    described["attempts"] = attempts
    described["timed_out"] = timed_out
    return values.encode(described, path="failure")


def decode_failure(payload: bytes) -> Failure:
    """
    Raises:
        DecodeError: not a failure.
    """
    described = values.decode(payload)
    if not isinstance(described, dict):
        raise DecodeError(expected="a failure", why=f"it is {type(described).__name__}")
    return _failure(described)


def rebuild(failure: Failure, classes: Sequence[type[BaseException]]) -> BaseException | None:
    """The exception itself, if its class is one of ``classes``; None otherwise. Its
    ``__init__`` is not called: the arguments and attributes are put back as they were."""
    for each in classes:
        if (each.__module__, each.__qualname__) == (failure.module, failure.type):
            try:
                error = each.__new__(each, *failure.args)
                error.args = failure.args
                error.__dict__.update(failure.state)
            except Exception:  # noqa: BLE001 - a class that cannot be made so stays a description
                return None
            for note in failure.notes:
                error.add_note(note)
            return error
    return None


def _describe(error: BaseException, depth: int) -> dict[str, Any]:
    kind = type(error)
    described: dict[str, Any] = {
        "type": _text(kind.__qualname__),
        "module": _text(kind.__module__),
        "message": _message(error),
        "traceback": _traceback(error),
        "args": _encodable(tuple(error.args), ()),
        "state": _encodable(
            {k: v for k, v in error.__dict__.items() if not k.startswith("__")}, {}
        ),
        "notes": [_text(str(each)) for each in getattr(error, "__notes__", ())][:MEMBERS_MAX],
    }
    if depth < CAUSES_MAX:
        if error.__cause__ is not None:
            described["cause"] = _describe(error.__cause__, depth + 1)
        if isinstance(error, BaseExceptionGroup):
            members = error.exceptions[:MEMBERS_MAX]
            described["members"] = [_describe(each, CAUSES_MAX) for each in members]
    return described


def _failure(described: dict[str, Any]) -> Failure:
    cause = described.get("cause")
    return Failure(
        type=str(described.get("type")),
        module=str(described.get("module")),
        message=str(described.get("message")),
        traceback=str(described.get("traceback", "")),
        attempts=int(described.get("attempts", 1)),
        timed_out=bool(described.get("timed_out", False)),
        args=tuple(described.get("args", ())),
        state=dict(described.get("state", {})),
        notes=tuple(described.get("notes", ())),
        cause=_failure(cause) if isinstance(cause, dict) else None,
        members=tuple(_failure(each) for each in described.get("members", ())),
    )


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception as failed:  # noqa: BLE001 - a user's __str__ may do anything
        text = f"(its text cannot be told: str() raised {type(failed).__name__})"
    return _text(text[:MESSAGE_CHARS_MAX])


def _traceback(error: BaseException) -> str:
    try:
        lines = traceback.format_exception(type(error), error, error.__traceback__, chain=False)
    except Exception:  # noqa: BLE001 - as above
        return ""
    return _text("".join(lines)[-TRACEBACK_CHARS_MAX:])


def _text(text: str) -> str:
    """Without half characters, which no database takes."""
    return text.encode("utf-8", "replace").decode()


def _encodable(value: Any, otherwise: Any) -> Any:
    """The value if it can be recorded and is small, else nothing of it."""
    try:
        payload = values.encode(value)
    except (CodecError, RecursionError):
        return otherwise
    return value if len(payload) <= TRACEBACK_CHARS_MAX else otherwise
