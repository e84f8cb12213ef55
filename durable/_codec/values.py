"""Values to payloads and back.

A payload is one header byte (the version of the format; its high bits are kept for layers
such as compression and encryption) and one msgpack value. What msgpack has no type for
travels as one of a fixed table of extension types, so standard types come back as
themselves; classes of the user's are written as what they hold and come back by annotation.
Nothing is imported, looked up or called by a name that stands in a payload.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgpack
import msgspec

from ..errors import DecodeError, EncodeError, PayloadTooLarge
from . import conversion

VERSION = 1
_HEADER = bytes([VERSION])

# A payload is read again on every replay, so a big one is paid for again and again. 2 MiB
# holds any sane argument; what is larger belongs into object storage, its address here.
PAYLOAD_BYTES_MAX = 2 * 1024 * 1024

# Deeper nesting is a mistake (or an attack) far more often than a value.
DEPTH_MAX = 64


class Ext(enum.IntEnum):
    """The extension types. Numbers are for ever; a new one gets a new number."""

    TUPLE = 1
    SET = 2
    FROZENSET = 3
    INT = 4  # beyond 64 bits, as decimal text
    DATETIME = 5  # ISO text, and "|" and the name of its zone if it has one
    DATE = 6
    TIME = 7
    TIMEDELTA = 8  # days, seconds, microseconds
    DECIMAL = 9
    UUID = 10
    KEYWORDS = 11  # the keyword arguments of a call, last in the array of its arguments


class Keywords(dict[str, Any]):
    """The arguments of a call that went by name; only ``signatures`` makes them."""


def encode(value: object, *, path: str = "value") -> bytes:
    """``value`` as a payload.

    Raises:
        EncodeError: it holds something that cannot be recorded; ``path`` leads to it.
        PayloadTooLarge: more than ``PAYLOAD_BYTES_MAX`` bytes.
    """
    try:
        packed = _pack(value)
    except Exception as error:  # noqa: BLE001 - a user's object may raise anything
        raise _culprit(value, path) or EncodeError(path=path, value=value, why=str(error)) from None
    if len(packed) > PAYLOAD_BYTES_MAX:
        raise PayloadTooLarge(what=path, size=len(packed), limit=PAYLOAD_BYTES_MAX)
    return _HEADER + packed


def decode(payload: bytes, expected: Any = Any) -> Any:
    """The value of a payload, as ``expected`` if that is given.

    Raises:
        DecodeError: not a payload of this version, or one that does not fit ``expected``.
    """
    if payload[:1] != _HEADER:
        raise DecodeError(
            expected="this version of Durable",
            why=f"its header is {payload[:1]!r}: it was written by a newer version, or encrypted",
        )
    try:
        value = _unpack(payload[1:])
    except Exception as error:  # noqa: BLE001 - bytes from outside: whatever fails, they are bad
        raise DecodeError(expected="msgpack", why=f"{type(error).__name__}: {error}") from None
    if expected is Any or type(value) is expected:
        return value
    return conversion.convert(value, expected)


def digest(payload: bytes) -> bytes:
    """Eight bytes that tell payloads apart: BLAKE2b."""
    return hashlib.blake2b(payload, digest_size=8).digest()


# Writing


def _pack(value: object, depth: int = 0) -> bytes:
    def default(each: Any) -> Any:
        return _as_msgpack(each, depth)

    packed: bytes = msgpack.packb(value, default=default, strict_types=True)
    return packed


def _as_msgpack(value: Any, depth: int) -> Any:
    """What msgpack is to write for a value of a type that it does not know."""
    if depth > DEPTH_MAX:
        raise ValueError(f"it is nested more than {DEPTH_MAX} deep")
    write = _WRITERS.get(type(value))
    if write is not None:
        code, body = write(value, depth + 1)
        return msgpack.ExtType(code, body)
    if isinstance(value, dict):  # a subclass, or one with keys msgpack would not take
        return dict(value)
    if isinstance(value, enum.Enum):
        return value.value
    plain = conversion.to_plain(value)
    if plain is not conversion.NOTHING:
        return plain
    for base in (bool, int, float, str, bytes, list, tuple):
        if isinstance(value, base):
            return base(value)
    raise TypeError(_why_not(value))


def _why_not(value: object) -> str:
    kind = type(value)
    if callable(value):
        return "it is a function; pass its name or its result"
    return (
        f"{kind.__module__}.{kind.__qualname__} is not a type that can be recorded; use a "
        "dataclass, a standard type, or what is needed to make it again"
    )


def _write_items(code: Ext) -> Callable[[Any, int], tuple[Ext, bytes]]:
    def write(value: Any, depth: int) -> tuple[Ext, bytes]:
        return code, _pack(list(value), depth)

    return write


def _write_set(code: Ext) -> Callable[[Any, int], tuple[Ext, bytes]]:
    def write(value: Any, depth: int) -> tuple[Ext, bytes]:
        # Sorted by their bytes: a set is walked in another order in every process.
        items = sorted(_pack(each, depth) for each in value)
        header: bytes = msgpack.Packer().pack_array_header(len(items))
        return code, header + b"".join(items)

    return write


def _write_text(code: Ext, text: Callable[[Any], str]) -> Callable[[Any, int], tuple[Ext, bytes]]:
    return lambda value, _: (code, text(value).encode())


def _zoned(value: datetime | time) -> str:
    zone = value.tzinfo
    return f"{value.isoformat()}|{zone.key}" if isinstance(zone, ZoneInfo) else value.isoformat()


def _delta(value: timedelta) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


_WRITERS: dict[type, Callable[[Any, int], tuple[Ext, bytes]]] = {
    tuple: _write_items(Ext.TUPLE),
    set: _write_set(Ext.SET),
    frozenset: _write_set(Ext.FROZENSET),
    int: _write_text(Ext.INT, str),
    datetime: _write_text(Ext.DATETIME, _zoned),
    date: _write_text(Ext.DATE, date.isoformat),
    time: _write_text(Ext.TIME, _zoned),
    timedelta: lambda value, depth: (Ext.TIMEDELTA, _pack(_delta(value), depth)),
    Decimal: _write_text(Ext.DECIMAL, str),
    UUID: lambda value, _: (Ext.UUID, value.bytes),
    Keywords: lambda value, depth: (Ext.KEYWORDS, _pack(dict(value), depth)),
}


# Reading


def _unpack(body: bytes, depth: int = 0) -> Any:
    if depth > DEPTH_MAX:
        raise ValueError(f"nested more than {DEPTH_MAX} deep")

    def read(code: int, inner: bytes) -> Any:
        return _READERS[code](inner, depth + 1)

    return msgpack.unpackb(body, ext_hook=read, strict_map_key=False)


def _read_zoned(kind: type[datetime] | type[time]) -> Callable[[bytes, int], Any]:
    def read(body: bytes, _: int) -> Any:
        text, _, zone = body.decode().partition("|")
        value = kind.fromisoformat(text)
        return value.replace(tzinfo=ZoneInfo(zone), fold=_fold(value, zone)) if zone else value

    return read


def _fold(value: datetime | time, zone: str) -> int:
    """Which of two equal wall-clock times it was, told by the offset that was written."""
    if isinstance(value, time):
        return value.fold
    first = value.replace(tzinfo=ZoneInfo(zone), fold=0)
    return int(first.utcoffset() != value.utcoffset())


_READERS: dict[int, Callable[[bytes, int], Any]] = {
    Ext.TUPLE: lambda body, depth: tuple(_unpack(body, depth)),
    Ext.SET: lambda body, depth: set(_unpack(body, depth)),
    Ext.FROZENSET: lambda body, depth: frozenset(_unpack(body, depth)),
    Ext.INT: lambda body, _: int(body),
    Ext.DATETIME: _read_zoned(datetime),
    Ext.DATE: lambda body, _: date.fromisoformat(body.decode()),
    Ext.TIME: _read_zoned(time),
    Ext.TIMEDELTA: lambda body, depth: timedelta(*_unpack(body, depth)),
    Ext.DECIMAL: lambda body, _: Decimal(body.decode()),
    Ext.UUID: lambda body, _: UUID(bytes=body),
    Ext.KEYWORDS: lambda body, depth: Keywords(_unpack(body, depth)),
}


# Naming the culprit, once something has failed


def _culprit(value: Any, path: str, seen: frozenset[int] = frozenset()) -> EncodeError | None:
    """The innermost part that cannot be written, with the path to it."""
    if id(value) in seen:
        return EncodeError(path=path, value="…", why="it contains itself")
    if len(seen) > DEPTH_MAX:
        return EncodeError(path=path, value="…", why=f"it is nested more than {DEPTH_MAX} deep")
    inside = seen | {id(value)}
    for part, part_path in _parts(value, path):
        found = _culprit(part, part_path, inside)
        if found is not None:
            return found
    try:
        _pack(value)
    except UnicodeEncodeError:
        return EncodeError(path=path, value=value, why="it holds half a character (a surrogate)")
    except Exception as error:  # noqa: BLE001
        return EncodeError(path=path, value=value, why=str(error))
    return None


def _parts(value: Any, path: str) -> list[tuple[Any, str]]:
    if isinstance(value, dict):
        keys = [(key, f"{path} (a key)") for key in value]
        return keys + [(each, f"{path}[{key!r}]") for key, each in value.items()]
    if isinstance(value, list | tuple):
        return [(each, f"{path}[{index}]") for index, each in enumerate(value)]
    if isinstance(value, set | frozenset):
        return [(each, f"{path}{{…}}") for each in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(getattr(value, f.name), f"{path}.{f.name}") for f in dataclasses.fields(value)]
    if isinstance(value, msgspec.Struct):
        return [(getattr(value, name), f"{path}.{name}") for name in value.__struct_fields__]
    return []
