"""The user's own classes: to plain values, and back by annotation.

msgspec does the work for dataclasses, named tuples, typed dicts, enums, attrs and its own
structs. Pydantic models join if the user has imported pydantic. What msgspec refuses (unions
of several classes, enums of odd values) is fitted by hand, in ``by_hand``.

What can be known from a class or an annotation alone is found once and kept; both caches are
bounded, since classes can be made without end.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import sys
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, TypeAlias
from uuid import UUID

import msgspec

from ..errors import DecodeError
from . import by_hand

Fitter: TypeAlias = Callable[[Any], Any]

# Of these, a value of the very type needs no look.
_PLAIN: frozenset[type] = frozenset({
    int, str, float, bool, bytes, list, dict, tuple, set, frozenset,
    datetime, date, time, timedelta, Decimal, UUID,
})  # fmt: skip

# Classes of values, and annotations: a large application has hundreds.
CACHED_MAX = 4096

# A value of a class derived from one of these is written as one of these. A datetime is a
# date, so the order counts.
_BASES: tuple[type, ...] = (
    dict, list, set, frozenset, str, int, float, bytes, bytearray,
)  # fmt: skip
_REMADE: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (datetime, lambda v: datetime.combine(v.date(), v.timetz())),
    (date, lambda v: date(v.year, v.month, v.day)),
    (time, lambda v: time(v.hour, v.minute, v.second, v.microsecond, v.tzinfo, fold=v.fold)),
    (timedelta, lambda v: timedelta(v.days, v.seconds, v.microseconds)),
    (Decimal, Decimal),
    (UUID, lambda v: UUID(int=v.int)),
)


@functools.lru_cache(CACHED_MAX)
def writer(kind: type) -> Callable[[Any], Any] | None:
    """Turns a value of a user's class into what it holds, one level deep; None if none can."""
    if issubclass(kind, type):
        return None
    if issubclass(kind, enum.Enum):
        return lambda value: value.value
    if issubclass(kind, msgspec.Struct):
        return _struct_writer(kind)
    pydantic = sys.modules.get("pydantic")
    if pydantic is not None and issubclass(kind, pydantic.BaseModel):
        return lambda value: value.model_dump(round_trip=True)
    known: Any = kind  # hashable, whatever its metaclass tells the type checker
    names = field_names(known)
    if names is not None and not issubclass(kind, tuple):
        return lambda value: {name: getattr(value, name) for name in names}
    if issubclass(kind, tuple):
        return list if names is not None else tuple
    for base, remade in _REMADE:
        if issubclass(kind, base):
            return remade
    return next((base for base in _BASES if issubclass(kind, base)), None)


@functools.lru_cache(CACHED_MAX)
def field_names(kind: type) -> tuple[str, ...] | None:
    """The attributes that a user's class consists of; None if it is no such class."""
    if dataclasses.is_dataclass(kind):
        return tuple(each.name for each in dataclasses.fields(kind))
    if issubclass(kind, msgspec.Struct):
        return kind.__struct_fields__
    attributes: Any = getattr(kind, "__attrs_attrs__", None)
    if attributes is not None:
        return tuple(each.name for each in attributes)
    names: Any = getattr(kind, "_fields", None) if issubclass(kind, tuple) else None
    if names is None:
        names = getattr(kind, "model_fields", None) if _is_model(kind) else None
    return None if names is None else tuple(names)


def _struct_writer(kind: type[msgspec.Struct]) -> Callable[[Any], Any]:
    """As msgspec itself would write it: renamed, tagged, or as an array."""
    pairs = tuple(zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True))
    config = kind.__struct_config__
    if config.array_like:
        head = [] if config.tag is None else [config.tag]
        return lambda value: head + [getattr(value, name) for _, name in pairs]
    tag = {} if config.tag is None else {config.tag_field: config.tag}
    return lambda value: tag | {key: getattr(value, name) for key, name in pairs}


def fitter(expected: Any) -> Fitter:
    """What turns decoded values into ``expected``, strictly: no number becomes a text.

    The fitter raises ``DecodeError`` for a value that does not fit.
    """
    try:
        return _cached_fitter(expected)
    except TypeError:  # an annotation with a list in it cannot be looked up
        return _new_fitter(expected)


def _new_fitter(expected: Any) -> Fitter:
    if expected is Any or expected is object:
        return lambda value: value
    convert = _by_msgspec(expected) or functools.partial(
        by_hand.convert, expected=expected, leaf=_convert_leaf
    )

    is_plain = isinstance(expected, type) and expected in _PLAIN

    def fit(value: Any) -> Any:
        if is_plain and type(value) is expected:
            return value
        try:
            return convert(value)
        except Exception as error:  # noqa: BLE001 - pydantic's, or a user's __post_init__
            raise DecodeError(expected=name_of(expected), why=_told(error)) from None

    return fit


# `Optional[int]` equals `int | None` and `list[int]` itself, so equal annotations share one;
# but `Literal[1]` equals `Literal[True]`, hence typed.
_cached_fitter = functools.lru_cache(CACHED_MAX, typed=True)(_new_fitter)


def _by_msgspec(expected: Any) -> Fitter | None:
    """Through a struct of one field: msgspec keeps what it knows of a struct's types, and
    would look at a bare annotation anew each time."""
    if isinstance(expected, type) and issubclass(expected, enum.Flag):
        return None  # msgspec knows the single flags only
    try:
        holder = msgspec.defstruct("Holder", [("value", expected)], array_like=True)
        msgspec.msgpack.Decoder(holder)  # refuses here what it cannot do
    except Exception:  # noqa: BLE001 - TypeError, and NameError out of a user's annotations
        return None

    def convert(value: Any) -> Any:
        held: Any = msgspec.convert((value,), holder, strict=True, dec_hook=_decode_other)
        return held.value

    return convert


def _convert_leaf(value: Any, expected: Any) -> Any:
    convert = _by_msgspec(expected)
    if convert is not None:
        return convert(value)
    if isinstance(expected, type) and not isinstance(value, expected):
        raise TypeError(f"Expected `{name_of(expected)}`, got `{type(value).__qualname__}`")
    return value  # an annotation that says nothing that could be checked


def _decode_other(expected: Any, value: Any) -> Any:
    """For types that msgspec does not know: it is one already, or a model."""
    if not _is_model(expected) or isinstance(value, expected):
        return value  # msgspec checks that it is an instance
    if _BY_NAME in _parameters(expected.model_validate):
        return expected.model_validate(value, by_name=True, by_alias=True)
    return expected.model_validate(value)  # pydantic before 2.11: no aliases


_BY_NAME = "by_name"


def _parameters(method: Any) -> tuple[str, ...]:
    code = method.__func__.__code__
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]  # type: ignore[no-any-return]


def _is_model(kind: Any) -> bool:
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)


def name_of(expected: Any) -> str:
    if isinstance(expected, type) and not hasattr(expected, "__args__"):
        return expected.__qualname__
    return str(expected).replace("typing.", "")


def _told(error: Exception) -> str:
    # "$[0]" is the struct of one field around the value.
    text = str(error).replace("`$[0]", "`$").removesuffix(" - at `$`")
    return text if isinstance(error, TypeError | ValueError) else f"{type(error).__name__}: {text}"
