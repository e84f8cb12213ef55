"""Whether two calls ask for the same, and where they first differ."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given

from durable._codec.sameness import MISSING, Difference, difference, digest
from durable._codec.signatures import Signature
from durable._codec.values import digest as replay_digest
from durable._codec.values import encode

from .values import values

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def call(*args: Any) -> bytes:
    return encode(list(args))


SAME = [
    ({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}),
    ({"x", "y", "z"}, {"z", "y", "x"}),
    ({1, 2}, frozenset({2, 1})),
    ((1, 2), [1, 2]),
    ([{(1, 2): {"b": 1, "a": 2}}], [{(1, 2): {"a": 2, "b": 1}}]),
    (NOON, NOON.astimezone(timezone(timedelta(hours=5)))),
    ([NOON], (NOON.astimezone(ZoneInfo("Europe/Berlin")),)),
    ({NOON: 1, "a": 2}, {"a": 2, NOON.astimezone(ZoneInfo("Asia/Tokyo")): 1}),
]

OTHER = [
    (1, 1.0), (1, True), (0, False), (1, "1"), ("a", b"a"), (None, 0), ([], {}), ([], ""),
    ({}, set()),
    (0.0, -0.0), (Decimal("1.0"), Decimal("1.00")), (NOON, NOON.replace(tzinfo=None)),
    (NOON, NOON + timedelta(microseconds=1)), ([1, 2], [2, 1]), ([[1], 2], [[1, 2]]),
    ({"a": 1}, {"a": 1, "b": None}), ({1, 2}, [1, 2]), (UUID(int=1), str(UUID(int=1))),
    (2**63, -(2**63)), (datetime.max.replace(tzinfo=UTC), datetime.max),
]  # fmt: skip


@pytest.mark.parametrize(("a", "b"), SAME)
def test_what_makes_no_difference_is_the_same(a: object, b: object) -> None:
    assert digest(call(a)) == digest(call(b))
    assert difference(call(a), call(b), None) is None
    assert digest(call(1, {"k": a})) == digest(call(1, {"k": b}))


@pytest.mark.parametrize(("a", "b"), OTHER)
def test_what_makes_a_difference_is_told_with_both_values(a: object, b: object) -> None:
    assert digest(call(a)) != digest(call(b))
    found = difference(call(a), call(b), None)
    assert found is not None
    assert found.path.startswith("args[0]")


@given(values)
def test_every_value_is_the_same_as_itself(value: Any) -> None:
    assert difference(call(value), call(value), None) is None
    assert digest(call(value)) == digest(call(value))


def test_the_path_leads_to_the_first_difference() -> None:
    before = call("a", {"items": [1, 2, 3, {"price": 5, "odd key": 1}]})
    now = call("a", {"items": [1, 2, 3, {"price": 6, "odd key": 1}]})
    assert difference(before, now, None) == Difference("args[1].items[3].price", 5, 6)
    odd = call("a", {"items": [1, 2, 3, {"price": 5, "odd key": 2}]})
    assert difference(before, odd, None) == Difference("args[1].items[3]['odd key']", 1, 2)
    assert difference(call(1), call(1, 2), None) == Difference("args[1]", MISSING, 2)
    assert difference(call({"a": 1}), call({}), None) == Difference("args[0].a", 1, MISSING)
    assert repr(MISSING) == "missing"


@dataclass
class Order:
    sku: str
    pieces: int = 1
    tags: set[str] = field(default_factory=set)


async def order(ctx: Any, order: Order, express: bool = False, zone: str = "UTC") -> None: ...


ORDER = Signature(order, skip=1)


def test_defaults_given_or_not_are_the_same_to_a_function_that_is_known() -> None:
    short, long = call({"sku": "a"}), call({"sku": "a", "pieces": 1, "tags": []}, False, "UTC")
    assert difference(short, long, ORDER) is None
    assert difference(short, long, None) == Difference("args[0].tags", MISSING, ())
    other = call({"sku": "a", "pieces": 2})
    assert difference(short, other, ORDER) == Difference("args[0].pieces", 1, 2)
    assert difference(short, call({"sku": "a"}, True), ORDER) == Difference("args[1]", False, True)


def test_keyword_and_position_are_the_same() -> None:
    by_position = ORDER.encode_call((Order("a"), True), {})
    by_name = ORDER.encode_call((), {"express": True, "order": Order("a")})
    assert digest(by_position) == digest(by_name)
    skipped = ORDER.encode_call((Order("a"),), {"zone": "UTC", "express": True})
    assert difference(by_position, skipped, ORDER) is None


def test_a_call_that_fits_no_more_is_compared_as_it_was_written() -> None:
    old, now = call({"name": "a"}), call({"sku": "a"})
    assert difference(old, now, ORDER) == Difference("args[0].name", "a", MISSING)
    assert difference(old, old, ORDER) is None


def test_the_digest_that_replay_compares_is_of_the_bytes_themselves() -> None:
    a, b = call({"a": 1, "b": 2}), call({"b": 2, "a": 1})
    assert replay_digest(a) != replay_digest(b)
    assert replay_digest(a) == a, "what is short stands for itself"
