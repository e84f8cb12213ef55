"""What cannot be written, and what cannot be read: refused in words, and nothing else happens."""

from __future__ import annotations

import asyncio
import socket
import threading
from datetime import datetime, timedelta, timezone
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durable._codec.values import DEPTH_MAX, PAYLOAD_BYTES_MAX, VERSION, decode, encode
from durable.errors import DecodeError, EncodeError, PayloadTooLarge

from .test_values import Card, Cash, Line, Order, Paid, Row
from .values import values

# What cannot be written


def _cycle() -> list[Any]:
    value: list[Any] = [1]
    value.append({"again": value})
    return value


def _deep(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "path", "why"),
    [
        ({"items": [1, 2, 3, print]}, "value['items'][3]", "code cannot be recorded"),
        (Line("a", object()), "value.price", "builtins.object"),  # type: ignore[arg-type]
        (Paid(Card("\ud800")), "value.by.number", "surrogate"),
        ([Row(1, lambda: 1)], "value[0].b", "code"),  # type: ignore[arg-type]
        (("a", {"b": (x for x in "c")}), "value[1]['b']", "only once"),
        ({"\ud800": 1}, "value (its key '\\ud800')", "surrogate"),
        (_cycle(), "value[1]['again']", "contains itself"),
        (threading.Lock(), "value", "_thread.lock"),
        (int, "value", "code"),
        ({1, (2, asyncio)}, "value{", "module"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_what_cannot_be_recorded_is_named_with_its_path(value: Any, path: str, why: str) -> None:
    with pytest.raises(EncodeError) as caught:
        encode(value)
    assert caught.value.path.startswith(path)
    assert why in caught.value.why
    assert path in str(caught.value)


def test_sockets_and_coroutines_are_refused_in_words() -> None:
    async def pending() -> None: ...

    coroutine = pending()
    with socket.socket() as sock, pytest.raises(EncodeError, match=r"socket\.socket is not"):
        encode([sock])
    with pytest.raises(EncodeError, match="not awaited"):
        encode([coroutine])
    coroutine.close()


def test_a_property_that_raises_costs_only_an_encode_error() -> None:
    class Odd(Card):
        def __getattribute__(self, name: str) -> Any:
            if name == "number":
                raise RuntimeError("no number")
            return super().__getattribute__(name)

    with pytest.raises(EncodeError, match="no number"):
        encode([Odd("x")])


def test_nesting_ends_at_its_limit_on_both_sides() -> None:
    assert decode(encode(_deep(DEPTH_MAX))) == _deep(DEPTH_MAX)
    for depth in (DEPTH_MAX + 1, 500, 100_000):
        with pytest.raises(EncodeError, match=f"nested more than {DEPTH_MAX} deep"):
            encode(_deep(depth))
        with pytest.raises(DecodeError):
            decode(b"\x01" + b"\x91" * depth + b"\x01")


def test_nested_tuples_and_sets_end_at_the_same_limit() -> None:
    value: Any = 1
    for _ in range(DEPTH_MAX):
        value = (value,)
    assert decode(encode(value)) == value
    with pytest.raises(EncodeError, match="deep"):
        encode((value,))


def test_too_large_is_said_on_both_sides() -> None:
    encode(b"x" * (PAYLOAD_BYTES_MAX - 6))
    with pytest.raises(PayloadTooLarge) as caught:
        encode(b"x" * PAYLOAD_BYTES_MAX, path="the result of f()")
    assert caught.value.what == "the result of f()"
    with pytest.raises(PayloadTooLarge):
        decode(b"\x01\xc6" + bytes(PAYLOAD_BYTES_MAX))


# What cannot be read


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_a_decode_error(body: bytes) -> None:
    for payload in (body, b"\x01" + body):
        try:
            decode(payload)
        except DecodeError as error:
            assert error.why


@settings(max_examples=300, deadline=None)
@given(values, st.data())
def test_a_damaged_payload_is_a_value_or_a_decode_error(value: Any, data: st.DataObject) -> None:
    payload = bytearray(encode(value))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(payload) - 1))
        if data.draw(st.booleans()):
            payload[at] = data.draw(st.integers(0, 255))
        else:
            del payload[at:]
            break
    for expected in (Any, Order, list[int], dict[str, Card | Cash]):
        try:
            decode(bytes(payload), expected)
        except DecodeError:
            continue


@pytest.mark.parametrize(
    ("code", "body"),
    [
        (1, b"\x01"), (2, b"\x92\x01\x01"), (2, b"\x80"), (3, b""), (5, b"yesterday"), (5, b"\xff"),
        (5, b"2026-01-01T00:00:00+00:00[../../etc/passwd]"), (6, b"2026-13-01"),
        (5, b"2026-01-01T00:00:00+00:00[No/Where]"), (7, b"25:00"), (8, b"1"),
        (8, b"999999999999999s"), (9, b"one"), (10, b"short"), (11, b"\x81\x01\x01"), (12, b""),
        (127, b"os.system"),
    ],
)  # fmt: skip
def test_an_odd_extension_is_a_decode_error(code: int, body: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(b"\x01" + msgpack.packb([msgpack.ExtType(code, body)]))


@pytest.mark.parametrize(
    ("header", "why"), [(0x00, "0x00"), (0x02, "newer"), (0x11, "encrypted"), (0x81, "compressed")]
)
def test_a_strange_header_is_told_in_words(header: int, why: str) -> None:
    with pytest.raises(DecodeError, match=why):
        decode(bytes([header]) + encode(1)[1:])
    with pytest.raises(DecodeError, match="empty"):
        decode(b"")
    assert encode(1)[0] == VERSION


def test_a_payload_never_makes_zones_out_of_paths() -> None:
    for key in (b"../etc/localtime", b"/etc/localtime", b"a" * 65):
        with pytest.raises(DecodeError):
            decode(
                b"\x01" + msgpack.packb(msgpack.ExtType(5, b"2026-01-01T00:00:00Z[" + key + b"]"))
            )


def test_a_fixed_offset_comes_back() -> None:
    value = datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=30, seconds=15)))
    assert repr(decode(encode(value))) == repr(value)
