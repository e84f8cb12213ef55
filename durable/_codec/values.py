"""Values to payloads and back.

A payload is one header byte (the version of the format; its high bits are kept for layers
such as compression and encryption) and one msgpack value. What msgpack has no type for
travels as one of a fixed table of extension types, so standard types come back as
themselves; classes of the user's are written as what they hold and come back by annotation.
Equal values give equal bytes: sets are written in the order of their bytes, dicts in their
own. Nothing is imported, looked up or called by a name that stands in a payload.

``durable.readable`` reads the same format in SQL (``_store/postgres/sql/readable.sql``).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgpack
import msgspec

from ..errors import DecodeError, EncodeError, PayloadTooLarge
from . import conversion, culprits

VERSION = 1
_HEADER = bytes([VERSION])

# A payload is read again on every replay, so a big one is paid for again and again. 2 MiB
# holds any sane argument; what is larger belongs into object storage, its address here.
PAYLOAD_BYTES_MAX = 2 * 1024 * 1024

# Deeper nesting is a mistake (or an attack) far more often than a value.
DEPTH_MAX = 64


class Keywords(dict[str, Any]):
    """The arguments of a call that went by name; only ``signatures`` makes them."""


def encode(value: object, *, path: str = "value") -> bytes:
    """``value`` as a payload: a copy, which later changes of ``value`` do not reach.

    Raises:
        EncodeError: it holds something that cannot be recorded; ``path`` leads to it.
        PayloadTooLarge: more than ``PAYLOAD_BYTES_MAX`` bytes.
    """
    try:
        packed = _pack(value)
        if len(packed) > DEPTH_MAX:  # what is shorter cannot be deeper
            _check_depth(packed)
    except Exception as error:  # noqa: BLE001 - a user's object may raise anything
        raise _explained(value, path, error) from None
    if len(packed) >= PAYLOAD_BYTES_MAX:
        raise PayloadTooLarge(what=path, size=len(packed) + 1, limit=PAYLOAD_BYTES_MAX)
    return _HEADER + packed


def encode_plain(value: object) -> bytes | None:
    """What ``encode`` gives for one of ``SCALARS``, or for a tuple of them as an array; None if
    it takes more to tell."""
    try:
        packed = _pack_plain(value)
    except (OverflowError, UnicodeEncodeError):
        return None
    return _HEADER + packed if len(packed) < PAYLOAD_BYTES_MAX else None


def copied(value: object, *, bytes_max: int) -> Any:
    """What would come back of ``value``.

    Raises:
        Exception: any, if it cannot be recorded or takes too much; nobody explains why.
    """
    packed = _pack(value)
    _check_depth(packed)
    if len(packed) > bytes_max:
        raise ValueError(f"it takes {len(packed)} bytes")
    return _DECODERS[0](packed)


def decode(payload: bytes, expected: Any = Any) -> Any:
    """The value of a payload, as ``expected`` if that is given.

    Raises:
        DecodeError: not a payload of this version, or one that does not fit ``expected``.
        PayloadTooLarge: more than ``PAYLOAD_BYTES_MAX`` bytes; nothing of it was read.
    """
    if payload[:1] != _HEADER or len(payload) > PAYLOAD_BYTES_MAX:
        raise _refused(payload)
    packed = payload[1:]
    try:
        value = _DECODERS[0](packed)
        fits = not _may_be_deep(packed) or not _is_deep(value)
    except Exception as error:  # noqa: BLE001 - bytes from outside: whatever fails, they are bad
        raise DecodeError(expected="a payload", why=f"{type(error).__name__}: {error}") from None
    if not fits:
        raise DecodeError(expected="a payload", why=f"it is nested more than {DEPTH_MAX} deep")
    if expected is Any or type(value) is expected:
        return value
    return conversion.fitter(expected)(value)


# A payload up to this size is its own digest: no longer than a hash that nobody can forge.
_DIGEST_BYTES = 16


def digest(payload: bytes) -> bytes:
    """At most 16 bytes that tell payloads apart: a short one itself, else its BLAKE2b hash."""
    if len(payload) < _DIGEST_BYTES:
        return payload
    return hashlib.blake2b(payload, digest_size=_DIGEST_BYTES).digest()


def _refused(payload: bytes) -> DecodeError | PayloadTooLarge:
    if len(payload) > PAYLOAD_BYTES_MAX:
        return PayloadTooLarge(what="A recorded value", size=len(payload), limit=PAYLOAD_BYTES_MAX)
    if not payload:
        return DecodeError(expected="a payload", why="it is empty")
    header = payload[0]
    why = f"its header is 0x{header:02x}, and this version of Durable reads 0x{VERSION:02x}"
    if header & 0xF0:
        why += "; it is compressed or encrypted by a layer that is not set up here"
    elif header > VERSION:
        why += "; a newer Durable wrote it"
    return DecodeError(expected="a payload", why=why)


# Depth. Neither library counts it, and to walk each value would cost more than to pack it.

_CONTAINERS = frozenset({list, tuple, dict, set, frozenset, Keywords})
_MAY_OPEN = bytes(
    [*range(0x80, 0xA0), 0xC7, 0xC8, 0xC9, *range(0xD4, 0xD9), 0xDC, 0xDD, 0xDE, 0xDF]
)


def _may_be_deep(packed: bytes) -> bool:
    """Whether there are enough bytes that may open a container: a cheap upper bound."""
    size = len(packed)
    return size > DEPTH_MAX and size - len(packed.translate(None, _MAY_OPEN)) > DEPTH_MAX


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEPTH_MAX):
        level = [part for each in level for part in _inside(each) if type(part) in _CONTAINERS]
        if not level:
            return False
    return True


def _inside(value: Any) -> Any:
    if isinstance(value, dict):
        return [*value, *value.values()]
    return value if type(value) in _CONTAINERS else ()


# Writing

# Immutable, and read back as themselves.
SCALARS: frozenset[type] = frozenset({int, str, float, bool, bytes, type(None)})
# To begin with. msgpack's own 256 KiB are a call of the kernel each time two are in use.
_BUFFER_BYTES = 2048
_NATIVE = (SCALARS | {list, dict, bytearray}) - {int}
_pack_plain = msgspec.msgpack.Encoder().encode  # the same bytes, in a tenth of the time


def _check_depth(packed: bytes) -> None:
    if _may_be_deep(packed) and _is_deep(_DECODERS[0](packed)):
        raise ValueError(f"it is nested more than {DEPTH_MAX} deep")


def _pack(value: object) -> bytes:
    kind = type(value)
    if kind in SCALARS or (kind is list and SCALARS.issuperset(map(type, value))):  # type: ignore[call-overload]
        try:
            return _pack_plain(value)
        except OverflowError:  # an int beyond 64 bits
            return _pack_at(value, 0)
    return _pack_at(value, 0)


def _pack_at(value: object, depth: int) -> bytes:
    packed: Any = msgpack.packb(
        value, default=_HOOKS[depth], strict_types=True, buf_size=_BUFFER_BYTES
    )
    assert type(packed) is bytes
    return packed


def _hook(depth: int) -> Callable[[Any], Any]:
    """Tells msgpack what to write for a value of a type that it does not know."""

    def default(value: Any) -> Any:
        kind: Any = type(value)
        code = _CODES.get(kind)
        while code is None:
            writer = conversion.writer(kind)
            if writer is None:
                raise TypeError(culprits.why_not(value))
            value = writer(value)
            kind = type(value)
            if kind in _NATIVE or (kind is int and -(2**63) <= value < 2**64):
                return value
            code = _CODES.get(kind)
        if depth == DEPTH_MAX:
            raise ValueError(f"it is nested more than {DEPTH_MAX} deep")
        return msgpack.ExtType(code, _WRITERS[code](value, depth + 1))

    return default


_HOOKS = tuple(_hook(depth) for depth in range(DEPTH_MAX + 1))


def _write_items(value: tuple[Any, ...], depth: int) -> bytes:
    return _pack_at(list(value), depth)


def _write_set(value: set[Any], depth: int) -> bytes:
    # Sorted by their bytes: a set is walked in another order in every process.
    items = sorted(_pack_at(each, depth) for each in value)
    header: bytes = msgpack.Packer(buf_size=16).pack_array_header(len(items))
    return header + b"".join(items)


def _write_int(value: int, _: int) -> bytes:  # beyond 64 bits
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


def _write_zoned(value: datetime | time, _: int) -> bytes:
    zone = value.tzinfo
    text = value.isoformat()
    if isinstance(zone, ZoneInfo) and zone.key:
        text += f"[{zone.key}]"
    elif text.endswith("+00:00"):
        text = text[:-6] + "Z"
    return text.encode()


def _write_timedelta(value: timedelta, _: int) -> bytes:
    microseconds = value // timedelta(microseconds=1)
    seconds, rest = divmod(abs(microseconds), 1_000_000)
    sign = "-" if microseconds < 0 else ""
    return f"{sign}{seconds}{f'.{rest:06}' if rest else ''}s".encode()


def _explained(value: object, path: str, error: Exception) -> EncodeError:
    """The innermost part that cannot be written, with the path to it."""
    found = culprits.find(value, path, pack=_pack, depth_max=DEPTH_MAX)
    return found or EncodeError(path=path, value=value, why=culprits.told(error))


# Reading


def _decoder(depth: int) -> Callable[[bytes | memoryview], Any]:
    def read(code: int, body: memoryview) -> Any:
        if depth == DEPTH_MAX:
            raise ValueError(f"it is nested more than {DEPTH_MAX} deep")
        reader = _READERS.get(code)
        if reader is None:
            raise ValueError(f"it has an extension type {code}, which this version does not know")
        return reader(body, depth + 1)

    return msgspec.msgpack.Decoder(ext_hook=read).decode


_DECODERS = tuple(_decoder(depth) for depth in range(DEPTH_MAX + 1))


def _read_items(kind: Callable[[Any], Any]) -> Callable[[memoryview, int], Any]:
    def read(body: memoryview, depth: int) -> Any:
        items = _DECODERS[depth](body)
        if type(items) is not list:
            raise ValueError("a tuple or a set in it is not an array")
        try:
            made = kind(items)
        except TypeError:  # a set of what was of a user's class: its annotation makes it one
            return items
        if len(made) != len(items):
            raise ValueError("members of a set in it are equal now that they are written")
        return made

    return read


def _read_keywords(body: memoryview, depth: int) -> Keywords:
    named = _DECODERS[depth](body)
    if type(named) is not dict or any(type(name) is not str for name in named):
        raise ValueError("its keyword arguments are not a map of names")
    return Keywords(named)


def _text(body: memoryview) -> str:
    return str(body, "utf-8")


_ZONED = re.compile(r"([0-9T:.Z+-]+)\[([A-Za-z0-9_+/-]{1,64})\]")


def _read_datetime(body: memoryview, _: int) -> datetime:
    text = _text(body)
    match = _ZONED.fullmatch(text)
    if match is None:
        return datetime.fromisoformat(text)
    recorded, zone = datetime.fromisoformat(match[1]), ZoneInfo(match[2])
    for fold in (0, 1):  # the offset tells which of two equal wall-clock times it was
        value = recorded.replace(tzinfo=zone, fold=fold)
        if value.utcoffset() == recorded.utcoffset():
            return value
    return recorded.astimezone(zone)  # the zone's rules have changed; the instant has not


def _read_time(body: memoryview, _: int) -> time:
    text = _text(body)
    match = _ZONED.fullmatch(text)
    if match is None:
        return time.fromisoformat(text)
    return time.fromisoformat(match[1]).replace(tzinfo=ZoneInfo(match[2]))


_SECONDS = re.compile(r"(-?)(\d{1,15})(?:\.(\d{6}))?s", re.ASCII)


def _read_timedelta(body: memoryview, _: int) -> timedelta:
    match = _SECONDS.fullmatch(_text(body))
    if match is None:
        raise ValueError("a length of time in it is not written in seconds")
    length = timedelta(seconds=int(match[2]), microseconds=int(match[3] or 0))
    return -length if match[1] else length


# The extension types: number, type, how it is written and read. The numbers are for ever; what
# is new gets a new one. docs/payloads.md describes each.
_EXTENSIONS: tuple[tuple[int, type, Callable[..., bytes], Callable[..., Any]], ...] = (
    (1, tuple, _write_items, _read_items(tuple)),
    (2, set, _write_set, _read_items(set)),
    (3, frozenset, _write_set, _read_items(frozenset)),
    (4, int, _write_int, lambda body, _: int.from_bytes(body, "big", signed=True)),
    (5, datetime, _write_zoned, _read_datetime),
    (6, date, lambda v, _: v.isoformat().encode(), lambda body, _: date.fromisoformat(_text(body))),
    (7, time, _write_zoned, _read_time),
    (8, timedelta, _write_timedelta, _read_timedelta),
    (9, Decimal, lambda v, _: str(v).encode(), lambda body, _: Decimal(_text(body))),
    (10, UUID, lambda v, _: v.bytes, lambda body, _: UUID(bytes=bytes(body))),
    (11, Keywords, lambda v, depth: _pack_at(dict(v), depth), _read_keywords),
)
_CODES: dict[type, int] = {kind: code for code, kind, _, _ in _EXTENSIONS}
_WRITERS = {code: write for code, _, write, _ in _EXTENSIONS}
_READERS = {code: read for code, _, _, read in _EXTENSIONS}
