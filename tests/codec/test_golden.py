"""Payloads as they stand in databases: a later version that cannot read them is broken.

``payloads.golden`` has one a line: its bytes in hex, and the value in Python. Lines are added,
never changed.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from durable._codec.failures import decode_failure
from durable._codec.signatures import Signature
from durable._codec.values import decode, encode

from .values import shape

NAMES: dict[str, Any] = {
    "dt": dt, "Decimal": Decimal, "UUID": UUID, "ZoneInfo": ZoneInfo,
    "nan": float("nan"), "inf": float("inf"),
}  # fmt: skip
LINES = [
    line.split(" ", 1)
    for line in (Path(__file__).parent / "payloads.golden").read_text("utf-8").splitlines()
]


def ship(to: str, *, fast: bool) -> None: ...


@pytest.mark.parametrize(("written", "value"), LINES, ids=[value[:40] for _, value in LINES])
def test_a_recorded_payload_is_read_and_written_as_ever(written: str, value: str) -> None:
    payload = bytes.fromhex(written)
    expected = eval(value, NAMES)
    assert shape(decode(payload)) == shape(expected)
    assert encode(expected) == payload


def test_a_recorded_call_is_read_as_ever() -> None:
    payload = bytes.fromhex("0192a55061726973c7070b81a466617374c3")
    assert Signature(ship).decode_call(payload) == (("Paris",), {"fast": True})
    assert Signature(ship).encode_call(("Paris",), {"fast": True}) == payload


def test_a_recorded_failure_is_read_as_ever() -> None:
    failure = decode_failure(bytes.fromhex(
        "018aa474797065a84465636c696e6564a66d6f64756c65a473686f70a76d657373616765a26e6fa97472"
        "6163656261636ba0a8617474656d70747303a46b696e64a6616e73776572a461726773d60191a26e6fa5"
        "737461746581a4636f646505a56e6f74657391a46e6f7465a5636175736583a474797065a84b65794572"
        "726f72a66d6f64756c65a86275696c74696e73a76d657373616765a3277827"
    ))  # fmt: skip
    assert (failure.type, failure.module, failure.message) == ("Declined", "shop", "no")
    assert (failure.attempts, failure.kind, failure.args) == (3, "answer", ("no",))
    assert (failure.state, failure.notes) == ({"code": 5}, ("note",))
    assert failure.cause is not None
    assert failure.cause.type == "KeyError"
