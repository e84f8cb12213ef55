"""The user's own classes: to plain values, and back by annotation.

msgspec does the work for dataclasses, named tuples, typed dicts, enums, attrs and its own
structs. Pydantic models join if the user has imported pydantic. What msgspec refuses (unions
of several classes, enums of odd values) or would change is fitted by hand, in ``by_hand``.

What can be known from a class or an annotation alone is found once and kept; both caches are
bounded, since classes can be made without end.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from ..errors import DecodeError
from . import by_hand
from .by_hand import CACHED_MAX, Fitter, field_names, name_of

# A value of a class derived from one of these is written as one of these. A datetime is a
# date, so the order counts.
_BASES: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    *((kind, kind) for kind in (tuple, dict, list, set, frozenset, bytearray)),
    (str, str.__str__),  # the type's own method, whatever the class has made of it
    (int, int.__int__),
    (float, float.__float__),
    (bytes, bytes.__bytes__),
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
        return lambda value: value._value_
    if issubclass(kind, msgspec.Struct):
        return _struct_writer(kind)
    if by_hand.is_model(kind):
        return lambda value: value.model_dump(round_trip=True)
    names = field_names(kind)
    if names is not None and not issubclass(kind, tuple):
        return lambda value: {name: getattr(value, name) for name in names}
    written = (remade for base, remade in _BASES if issubclass(kind, base))
    return next(written, str if by_hand.is_text(kind) else None)


def _struct_writer(kind: type[msgspec.Struct]) -> Callable[[Any], Any]:
    """As msgspec itself would write it: renamed, tagged, or as an array."""
    pairs = tuple(zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True))
    config = kind.__struct_config__
    tag: dict[Any, Any] = {} if config.tag is None else {config.tag_field: config.tag}

    def write(value: Any) -> Any:
        every = tag | {key: getattr(value, name) for key, name in pairs}
        if config.array_like:
            return [*every.values()]
        return {key: each for key, each in every.items() if each is not msgspec.UNSET}

    return write


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
        by_hand.convert, expected=expected, part=fitter
    )

    def fit(value: Any) -> Any:
        if type(value) is expected:
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
    try:
        if by_hand.is_unfaithful(expected, set()):
            return None
        holder = msgspec.defstruct("Holder", [("value", expected)], array_like=True)
        msgspec.msgpack.Decoder(holder)  # refuses here what it cannot do
    except Exception:  # noqa: BLE001 - TypeError, and NameError out of a user's annotations
        return None

    def convert(value: Any) -> Any:
        held: Any = msgspec.convert((value,), holder, strict=True, dec_hook=_decode_other)
        return held.value

    return convert


def _decode_other(expected: Any, value: Any) -> Any:
    """For types that msgspec does not know; it checks that an instance comes back."""
    return by_hand.convert(value, expected, fitter)


def _told(error: Exception) -> str:
    if isinstance(error, DecodeError):
        return error.why  # of a part that was fitted by hand
    # "$[0]" is the struct of one field around the value.
    text = str(error).replace("`$[0]", "`$").removesuffix(" - at `$`")
    return text if isinstance(error, TypeError | ValueError) else f"{type(error).__name__}: {text}"
