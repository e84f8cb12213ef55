"""Values to annotations that msgspec refuses: unions of several classes, odd enums.

Slower than msgspec and only for its gaps: containers, unions and classes are taken apart
here until ``leaf`` (msgspec again) can do the rest. A value that fits several classes of a
union becomes the one whose fields it names most fully, the first of equals.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import types
import typing
from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin

Leaf: TypeAlias = Callable[[Any, Any], Any]

_ARRAYS: dict[Any, type] = {
    list: list, collections.abc.Sequence: list, collections.abc.MutableSequence: list,
    collections.abc.Collection: list, collections.abc.Iterable: list,
    set: set, collections.abc.Set: set, collections.abc.MutableSet: set, frozenset: frozenset,
}  # fmt: skip
_MAPS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def convert(value: Any, expected: Any, leaf: Leaf) -> Any:
    """``value`` as ``expected``.

    Raises:
        Exception: any, if it does not fit.
    """
    origin, args = get_origin(expected), get_args(expected)
    if origin is Annotated:
        return convert(value, args[0], leaf)
    if origin is Union or origin is types.UnionType:
        return _one_of(value, args, leaf)
    if origin in _ARRAYS and args and isinstance(value, list | tuple | set | frozenset):
        return _ARRAYS[origin](convert(each, args[0], leaf) for each in value)
    if origin in _MAPS and args and isinstance(value, dict):
        return {convert(k, args[0], leaf): convert(v, args[1], leaf) for k, v in value.items()}
    if origin is tuple and isinstance(value, list | tuple):
        return _tuple(value, args, leaf)
    if isinstance(expected, type) and issubclass(expected, enum.Enum):
        return expected(value)
    return _instance(value, expected, leaf)


def _tuple(value: Any, args: tuple[Any, ...], leaf: Leaf) -> tuple[Any, ...]:
    if len(args) == 2 and args[1] is ...:
        return tuple(convert(each, args[0], leaf) for each in value)
    if len(args) != len(value):
        raise ValueError(f"Expected {len(args)} items, got {len(value)}")
    return tuple(convert(each, arg, leaf) for each, arg in zip(value, args, strict=True))


def _one_of(value: Any, members: Iterable[Any], leaf: Leaf) -> Any:
    reasons: list[str] = []
    for member in sorted(members, key=lambda each: _strangeness(value, each)):
        try:
            return convert(value, member, leaf)
        except Exception as error:  # noqa: BLE001 - the next member may fit
            reasons.append(str(error))
    raise ValueError(f"it fits no member of the union: {'; '.join(reasons)}")


def _strangeness(value: Any, member: Any) -> int:
    """How badly a value seems to fit: the fields that it lacks and those it has too many."""
    if type(value) is member or (member is None and value is None):
        return -1
    if not isinstance(value, dict) or not isinstance(member, type):
        return 0
    fields: Any = getattr(member, "model_fields", None) or getattr(member, "__annotations__", None)
    if dataclasses.is_dataclass(member):
        fields = [each.name for each in dataclasses.fields(member)]
    return len(set(fields) ^ set(value)) if fields else 0


def _instance(value: Any, expected: Any, leaf: Leaf) -> Any:
    """A class whose fields hold what msgspec refuses; anything else is a leaf."""
    if isinstance(expected, type) and isinstance(value, dict):
        if dataclasses.is_dataclass(expected):
            return _dataclass(value, expected, leaf)
        if typing.is_typeddict(expected):
            hints = typing.get_type_hints(expected)
            return {k: convert(v, hints[k], leaf) for k, v in value.items() if k in hints}
    if isinstance(expected, type) and issubclass(expected, tuple) and hasattr(expected, "_fields"):
        hints = typing.get_type_hints(expected)
        names: Any = getattr(expected, "_fields")  # noqa: B009 - not known to type checkers
        pairs = zip(names, value, strict=True)
        return expected(*(convert(each, hints.get(name, Any), leaf) for name, each in pairs))
    return leaf(value, expected)


def _dataclass(value: dict[str, Any], expected: type, leaf: Leaf) -> Any:
    hints = typing.get_type_hints(expected, include_extras=True)
    fields = dataclasses.fields(expected)
    known = {
        each.name: convert(value[each.name], hints[each.name], leaf)
        for each in fields
        if each.name in value
    }
    made = expected(
        **{each.name: known[each.name] for each in fields if each.init and each.name in known}
    )
    for each in fields:
        if not each.init and each.name in known:
            object.__setattr__(made, each.name, known[each.name])
    return made
