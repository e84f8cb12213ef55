"""Why a value cannot be recorded, and where in it the reason sits.

Runs only after writing has failed, so it may take its time: it walks the value as the writer
did, to the innermost part that fails. It writes nothing and keeps nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import EncodeError, shorten
from . import by_hand

KEY_CHARS_MAX = 40  # of a dict's key in a path


def find(
    value: object, path: str, *, pack: Callable[[object], bytes], depth_max: int
) -> EncodeError | None:
    """The first part that ``pack`` refuses, with the path to it; None if all can be packed."""

    def walk(part: object, path: str, outer: tuple[int, ...]) -> EncodeError | None:
        if id(part) in outer or len(outer) > depth_max:
            deep = f"it is nested more than {depth_max} deep"
            why = "it contains itself" if id(part) in outer else deep
            return EncodeError(path=path, value=part, why=why)
        try:
            inner = _parts(part, path)
            if inner is None:
                pack(part)
                return None
        except Exception as error:  # noqa: BLE001 - a user's object may raise anything
            return EncodeError(path=path, value=part, why=told(error))
        for each, inner_path in inner:
            found = walk(each, inner_path, (*outer, id(part)))
            if found is not None:
                return found
        return None

    return walk(value, path, ())


def why_not(value: object) -> str:
    """Why a value of this type is refused, and what to pass instead."""
    kind = type(value)
    if inspect.isawaitable(value):
        return "it was not awaited; pass what it gives"
    if isinstance(value, type) or callable(value):
        return "code cannot be recorded; pass its name, or what it gives"
    if hasattr(kind, "__next__"):
        return "it can be read only once; pass a list of what it gives"
    if hasattr(kind, "keys") and hasattr(kind, "__getitem__"):
        return "it is a mapping, but no dict; pass dict(...) of it"
    return (
        f"{kind.__module__}.{kind.__qualname__} is not a type that can be recorded; pass a "
        "dataclass or standard types that tell how to make it again"
    )


def told(error: Exception) -> str:
    """The reason in words."""
    if isinstance(error, UnicodeEncodeError):
        return "it holds half a character (a lone surrogate), which UTF-8 cannot write"
    if isinstance(error, TypeError | ValueError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def _parts(value: object, path: str) -> Iterable[tuple[object, str]] | None:
    """What a value holds, one level deep; None for one that holds nothing."""
    if isinstance(value, dict):
        keys = [(key, f"{path} (its key {shorten(key, KEY_CHARS_MAX)})") for key in value]
        return keys + [
            (each, f"{path}[{shorten(key, KEY_CHARS_MAX)}]") for key, each in value.items()
        ]
    if isinstance(value, set | frozenset):
        return [(each, f"{path}{{{shorten(each, KEY_CHARS_MAX)}}}") for each in value]
    kind: Any = type(value)
    names = by_hand.field_names(kind)
    if names is not None:
        return [(getattr(value, name), f"{path}.{name}") for name in names]
    if isinstance(value, list | tuple):
        return [(each, f"{path}[{index}]") for index, each in enumerate(value)]
    return None
