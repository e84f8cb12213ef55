"""What goes into a payload comes out of it, and nothing else does."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, TypedDict
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from durable._codec.values import decode, digest, encode
from durable.errors import DecodeError

from .values import hashable, scalars, shape, values

quick = settings(max_examples=100, deadline=None)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Point(enum.Enum):
    ORIGIN = (0, 0)
    ONE = (1, 1)


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Level(enum.IntEnum):
    LOW = 1


class Pair(NamedTuple):
    left: int
    right: list[Decimal]


class Movie(TypedDict):
    title: str
    year: int


class Tagged(msgspec.Struct, tag="tagged", rename="camel"):
    first_name: str
    tags: set[str]


class Row(msgspec.Struct, array_like=True):
    a: int
    b: str


@dataclass
class Line:
    sku: str
    price: Decimal
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Order:
    id: UUID
    lines: list[Line]
    at: datetime
    colour: Colour = Colour.RED
    parent: Order | None = None
    total: int = field(init=False, default=0)


@dataclass
class Card:
    number: str


@dataclass
class Cash:
    amount: int
    currency: str = "EUR"


@dataclass
class Paid:
    by: Card | Cash
    where: Point = Point.ORIGIN


ORDER = Order(
    UUID(int=7), [Line("a", Decimal("1.10"), frozenset({"x"}))], datetime(2026, 1, 1, tzinfo=UTC)
)


# Without an annotation


@quick
@given(values)
@example(datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1))
@example(datetime(2024, 3, 31, 2, 30, tzinfo=ZoneInfo("Europe/Berlin")))
@example({(1, 2): {None: b"x"}, True: 1.5})
@example(-0.0)
def test_standard_values_come_back_as_themselves(value: Any) -> None:
    assert shape(decode(encode(value))) == shape(value)


@quick
@given(st.sets(hashable, max_size=8), st.randoms())
def test_equal_sets_give_equal_bytes_however_they_were_filled(value: set[Any], random: Any) -> None:
    items = list(value)
    random.shuffle(items)
    other: set[Any] = {object() for _ in range(100)}
    other.clear()
    for each in items:
        other.add(each)
    assert encode(other) == encode(value)


@quick
@given(values)
def test_what_was_read_is_written_as_the_same_bytes(value: Any) -> None:
    payload = encode(value)
    assert encode(decode(payload)) == payload


@quick
@given(st.one_of(scalars, st.lists(scalars)))
def test_the_fast_way_writes_the_same_bytes_as_the_thorough_one(value: Any) -> None:
    from durable._codec import values as room

    assert room._pack(value) == room._pack_at(value, 0)


def test_later_changes_of_a_value_do_not_reach_its_payload() -> None:
    value = {"items": [1]}
    payload = encode(value)
    value["items"].append(2)
    assert decode(payload) == {"items": [1]}


def test_two_reads_share_nothing() -> None:
    payload = encode([[1]])
    first = decode(payload, list)
    first[0].append(2)
    assert decode(payload, list) == [[1]]


def test_an_int_of_any_size_comes_back() -> None:
    for value in (2**64, -(2**63) - 1, 10**5000, -(10**5000)):
        assert decode(encode(value)) == value


def test_a_digest_is_short_and_tells_payloads_apart() -> None:
    assert len(digest(encode(1))) == 2
    assert len(digest(encode("x" * 99))) == 16
    assert digest(encode(1)) != digest(encode(True))
    assert digest(encode({1, 2})) == digest(encode({2, 1}))


def test_derived_classes_of_standard_types_are_written_as_the_standard_type() -> None:
    class Moment(datetime):
        pass

    class Name(str):
        __slots__ = ()

    value = [Moment(2026, 1, 1, tzinfo=UTC), Name("x"), Level.LOW, {Name("k"): Name("v")}]
    assert shape(decode(encode(value))) == shape(
        [datetime(2026, 1, 1, tzinfo=UTC), "x", 1, {"k": "v"}]
    )


def test_the_instant_outlives_a_change_of_its_zones_rules() -> None:
    payload = encode(datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin")))
    changed = payload.replace(b"+02:00", b"+05:00")
    assert decode(changed) == datetime(2026, 7, 1, 7, tzinfo=UTC)


# With an annotation


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (ORDER, Order),
        ([ORDER, ORDER], list[Order]),
        ({"a": ORDER}, dict[str, Order]),
        (ORDER, Order | None),
        (None, Order | None),
        (Pair(1, [Decimal("1.5")]), Pair),
        (Movie(title="M", year=1931), Movie),
        (Tagged("Ada", {"a", "b"}), Tagged),
        (Row(1, "x"), Row),
        (Colour.BLUE, Colour),
        ({Colour.BLUE: 1}, dict[Colour, int]),
        (Level.LOW, Level),
        (Point.ONE, Point),
        ([Point.ONE], list[Point]),
        (Rights.READ | Rights.WRITE, Rights),
        (Paid(Card("1")), Paid),
        (Paid(Cash(5), Point.ONE), Paid),
        (Cash(5), Card | Cash),
        ([Card("1"), Cash(5), None], list[Card | Cash | None]),
        ({1: (Cash(1), {2})}, dict[int, tuple[Card | Cash, set[int]]]),
        (Cash(5), Annotated[Card | Cash, "how"]),
        (timedelta(days=-1, microseconds=5), timedelta),
        ({(1, 2): {3}}, dict[tuple[int, int], set[int]]),
        (2**80, int),
        ([2**80], list[int]),
        ("a", Literal["a", "b"]),
        (b"\xff\x00", bytes),
        (5, Any),
        (date(2026, 1, 1), date | datetime),
    ],
    ids=lambda each: str(each)[:12],
)
def test_a_typed_value_comes_back_equal_and_of_its_class(value: Any, expected: Any) -> None:
    back = decode(encode(value), expected)
    assert back == value
    assert type(back) is type(value)


@quick
@given(
    st.builds(
        Order,
        st.uuids(),
        st.lists(
            st.builds(Line, st.text(), st.decimals(allow_nan=False), st.frozensets(st.text()))
        ),
        st.datetimes(timezones=st.just(UTC)),
        st.sampled_from(Colour),
    )
)
def test_typed_values_come_back_equal(value: Order) -> None:
    assert decode(encode(value), Order) == value
    assert encode(decode(encode(value), Order)) == encode(value)


def test_a_dataclass_without_an_annotation_comes_back_as_a_dict() -> None:
    assert decode(encode(Cash(1))) == {"amount": 1, "currency": "EUR"}


@pytest.mark.parametrize(
    ("value", "expected", "why"),
    [
        ("5", int, "Expected `int`, got `str`"),
        (5, str, "Expected `str`, got `int`"),
        (True, int, "got `bool`"),
        ({"sku": "a"}, Line, "missing required field `price`"),
        ({"number": 5}, Card, "$.number"),
        ([1, "x"], list[int], "$[1]"),
        ("green", Colour, "green"),
        ((9, 9), Point, "(9, 9)"),
        ({"n": 1}, Card | Cash, "no member"),
    ],
    ids=str,
)
def test_a_value_that_does_not_fit_its_annotation_says_where(
    value: Any, expected: Any, why: str
) -> None:
    with pytest.raises(DecodeError, match=re.escape(why)) as caught:
        decode(encode(value), expected)
    assert caught.value.expected
    assert "$[0]" not in caught.value.why
