"""Payloads for people, as ``readable.sql`` shows them; a test compares the two."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgpack

VERSION = 1  # of payloads: their first byte
BYTES_MAX = 16 * 1024 * 1024
DEPTH_MAX = 64
INT_BYTES_MAX = 400  # nobody reads a thousand digits
TRACEBACK_MAX = 2_000


class _Unreadable(Exception):
    """Why, in words."""


def readable(payload: bytes | None) -> Any:
    """What JSON can say of a payload; ``{"unreadable": why}`` if nothing."""
    if payload is None:
        return None
    try:
        if not payload or len(payload) > BYTES_MAX:
            raise _Unreadable("too large" if payload else "it is empty")
        if payload[0] != VERSION:
            raise _Unreadable("it is compressed, encrypted, or of another version")
        shown = _unpacked(payload[1:])
        _check_depth(shown)
    except _Unreadable as error:
        return {"unreadable": str(error)}
    except Exception as error:  # noqa: BLE001 - bytes from outside: whatever fails, they are bad
        return {"unreadable": str(error) or type(error).__name__}
    return shown


def readable_failure(payload: bytes | None) -> Any:
    """A failure in short."""
    if payload is None:
        return None
    failure = readable(payload)
    if not isinstance(failure, dict):
        return {"unreadable": "it is no failure"}
    if "unreadable" in failure:
        return failure
    shown = {name: failure.get(name) for name in ("type", "message", "attempts", "kind")}
    traceback = failure.get("traceback")
    shown["traceback"] = traceback[-TRACEBACK_MAX:] if isinstance(traceback, str) else traceback
    return shown


def _unpacked(body: bytes) -> Any:
    return _shown(
        msgpack.unpackb(body, ext_hook=_ext, object_pairs_hook=_map, strict_map_key=False)
    )


def _map(pairs: Sequence[tuple[Any, Any]]) -> dict[str, Any]:
    return {_key(_shown(key)): _shown(value) for key, value in pairs}


def _key(shown: Any) -> str:
    if isinstance(shown, str):
        return shown
    return json.dumps(shown, separators=(",", ":"), ensure_ascii=False)


def _shown(value: Any) -> Any:
    match value:
        case str():
            return value.replace("\0", "␀")
        case bytes():
            return f"\\x{value.hex()}"
        case float() if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        case list():
            return [_shown(each) for each in value]
        case None | bool() | int() | float() | dict():
            return value
        case _:
            raise _Unreadable("it has an extension type 255")


def _ext(code: int, body: bytes) -> Any:
    if code in (1, 2, 3, 11):  # tuple, set, frozenset, keywords: what is in it
        return _unpacked(body)
    if code in (5, 6, 7, 8, 9):  # datetime, date, time, timedelta, Decimal
        return body.decode()
    if code == 10 and len(body) == 16:
        return str(UUID(bytes=bytes(body)))
    if code == 4 and body:  # int beyond 64 bits
        if len(body) > INT_BYTES_MAX:
            return f"0x{body.hex()}"
        return int.from_bytes(body, "big", signed=True)
    raise _Unreadable(f"it has an extension type {code}")


def _check_depth(shown: Any) -> None:
    level = [shown]
    for _ in range(DEPTH_MAX):
        inside: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                inside += each.values()
            elif isinstance(each, list):
                inside += each
        level = inside
        if not level:
            return
    if any(isinstance(each, dict | list) for each in level):
        raise _Unreadable("it is nested more than 64 deep")
