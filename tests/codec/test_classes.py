"""Classes and annotations of every kind: what was written comes back, equal and of its type."""

from __future__ import annotations

import collections
import enum
import ipaddress
import sys
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import KW_ONLY, InitVar, dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    TypedDict,
    TypeVar,
)
from uuid import uuid4

import msgspec
import pytest

from durable._codec.values import decode, encode
from durable.errors import DecodeError

T = TypeVar("T")
made = 0


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


class Odd(enum.Enum):
    PAIR = (1, 2)
    NOTHING = None
    PRICE = Decimal("1.5")


@dataclass(frozen=True, slots=True)
class Frozen:
    a: int


@dataclass
class Wide:
    a: int
    _: KW_ONLY
    b: str = "x"


@dataclass
class Child(Wide):
    c: int = field(default=0, kw_only=True)


class Planet(enum.Enum):
    EARTH = Frozen(1)
    MARS = Frozen(2)


@dataclass
class Numbered:
    name: str
    id: str = field(init=False)
    tries: int = 0

    def __post_init__(self) -> None:
        self.id = str(uuid4())
        self.tries += 1
        self.extra = self.name.upper()


@dataclass(frozen=True)
class Checked:
    cents: int
    euros: Decimal = field(init=False)

    def __post_init__(self) -> None:
        if self.cents < 0:
            raise ValueError("a price is never negative")
        object.__setattr__(self, "euros", Decimal(self.cents) / 100)


@dataclass
class Scaled:
    a: int
    by: InitVar[int]
    b: int = field(init=False)

    def __post_init__(self, by: int) -> None:
        self.b = self.a * by


@dataclass
class Box(Generic[T]):
    item: T
    items: list[T]


@dataclass
class Mixed(Generic[T]):
    item: T | None
    either: Frozen | Wide


@dataclass
class MixedInts(Mixed[list[T]]):
    count: T


@dataclass
class Tree:
    value: int
    kids: list[Tree | Frozen] = field(default_factory=list)


class Pair(NamedTuple):
    a: Frozen | Wide
    b: int | None = None


Point = collections.namedtuple("Point", "x y")


class Film(TypedDict):
    title: Frozen | Wide
    year: NotRequired[int]


class Plain(msgspec.Struct):
    frozen: Frozen
    odd: Odd


class Cat(msgspec.Struct, tag="cat", rename="camel", frozen=True):
    pet_name: str
    made_of: Frozen | Wide = Frozen(0)


class Dog(msgspec.Struct, tag="dog", array_like=True):
    name: str
    odd: Odd = Odd.PAIR


class Counted(msgspec.Struct):
    n: int
    unset: int | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        self.n += 1


class Name(str):
    """Its own text is not what it holds."""

    __slots__ = ()

    def __str__(self) -> str:
        return self


class Names(list[str]):
    pass


Id = NewType("Id", int)
FrozenId = NewType("FrozenId", Frozen)

CASES: list[tuple[Any, Any]] = [
    (Frozen(1), Frozen), (Wide(1, b="y"), Wide), (Child(1, c=2), Child),
    (Numbered("a"), Numbered), ([Numbered("a")], list[Numbered]), (Numbered("a"), Numbered | None),
    (Checked(150), Checked), ({"k": Checked(1)}, dict[str, Checked]), (Scaled(2, 3), Scaled),
    (Box(1, [2]), Box[int]), (Box(Frozen(1), [Frozen(2)]), Box[Frozen]), (Box(1, [2]), Box),
    (Box(Odd.PAIR, [Odd.NOTHING]), Box[Odd]), (Box(Numbered("a"), []), Box[Numbered]),
    (Mixed(1, Wide(1)), Mixed[int]), (Mixed(Frozen(1), Frozen(2)), Mixed[Frozen]),
    (MixedInts([Frozen(1)], Wide(1), Frozen(2)), MixedInts[Frozen]),
    (Tree(1, [Tree(2, [Frozen(3)])]), Tree),
    (Pair(Wide(1)), Pair), (Pair(Frozen(1), 2), Pair), ([Pair(Wide(1))], list[Pair]),
    (Point(1, 2), Point), ({Point(1, 2): 3}, dict[Point, int]), ({Point(1, 2)}, set[Point]),
    ({"title": Wide(1)}, Film), ({"title": Frozen(1), "year": 1931}, Film),
    (Plain(Frozen(1), Odd.PRICE), Plain), (Cat("Tom", Wide(1)), Cat), (Dog("Rex"), Dog),
    (Cat("Tom"), Cat | Frozen), (Counted(1), Counted), (Counted(1, 2), Counted),
    (Odd.NOTHING, Odd), ([Odd.PAIR, Odd.NOTHING], list[Odd]), ({Odd.PAIR: 1}, dict[Odd, int]),
    (Planet.MARS, Planet), ([Planet.MARS], list[Planet]),
    (Colour.RED, Literal[Colour.RED]), (b"x", Literal["x", b"x"]), (True, Literal[1, True]),
    ({Frozen(1), Frozen(2)}, set[Frozen]), (frozenset({Frozen(1)}), frozenset[Frozen]),
    ((1, 2), Sequence[int]), ([1, 2], Sequence[int]), ({1}, Collection[int]), ((1,), Iterable[int]),
    (frozenset({1}), AbstractSet[int]), ([(Frozen(1),)], list[Sequence[Frozen]]),
    ({"a": Frozen(1)}, Mapping[str, Frozen]), ((Frozen(1), Wide(1)), tuple[Frozen | Wide, ...]),
    ((1, Wide(1)), tuple[int, Frozen | Wide]), ([1], list[int] | tuple[int, ...]),
    ((1,), list[int] | tuple[int, ...]), ({"a": 1, "z": 2}, Frozen | dict[str, int]),
    (Wide(1), Frozen | Wide | str), ("x", Frozen | Wide | str), (2**80, Frozen | Wide | int),
    (Name("x"), Name), (Names("ab"), Names), (Counter("aab"), Counter[str]),
    (OrderedDict(b=Frozen(1), a=Frozen(2)), OrderedDict[str, Frozen]),
    (Path("/a/b"), Path), (ipaddress.ip_address("::1"), ipaddress.IPv6Address),
    ([Path("a")], list[Path]), (Path("a"), Path | None),
    (5, Id), (Frozen(1), FrozenId), (Wide(1), Annotated[Frozen | Wide, "either"]),
]  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), CASES, ids=lambda each: str(each)[:12])
def test_it_comes_back_equal_and_of_its_class(value: Any, expected: Any) -> None:
    payload = encode(value)
    back = decode(payload, expected)
    assert back == value
    assert type(back) is type(value)
    assert encode(back) == payload


def test_what_a_class_keeps_beside_its_fields_is_made_again() -> None:
    assert decode(encode(Numbered("a")), Numbered).extra == "A"


def test_a_class_may_still_refuse_what_was_recorded() -> None:
    with pytest.raises(DecodeError, match=r"never negative - at `\$\[1\]`"):
        decode(encode([{"cents": 1}, {"cents": -1}]), list[Checked])


def test_a_record_that_lacks_what_the_class_makes_up_is_made_whole() -> None:
    assert decode(encode({"cents": 250}), Checked) == Checked(250)
    with pytest.raises(DecodeError, match="cents"):
        decode(encode({}), Checked)


@dataclass
class Approved:
    by: str


@dataclass
class Rejected:
    by: str


@dataclass
class Told:
    kind: Literal["told"]
    by: str


@dataclass
class Asked:
    kind: Literal["asked"]
    by: str


def test_a_union_whose_members_look_alike_is_an_error_never_a_guess() -> None:
    with pytest.raises(DecodeError, match=r"fits Approved as well as Rejected.*Literal"):
        decode(encode(Rejected("me")), Approved | Rejected)
    for each in (Told("told", "me"), Asked("asked", "me")):
        assert decode(encode(each), Told | Asked) == each


@pytest.mark.parametrize(
    ("value", "expected", "why"),
    [
        ({"item": 1, "either": {"a": "x"}}, Mixed[int], "$.either"),
        ([{"a": 1}, {"value": 1, "kids": [{"a": "x"}]}], list[Tree | Frozen], "at `$.kids[0]`"),
        ({"title": {"a": 1}, "year": "x"}, Film, "at `$.year`"),
        ({"year": 1}, Film, "missing required field `title`"),
        ({"type": "dog", "petName": "x"}, Cat, "dog"),
        ([{"a": 1}, 1, 2], Pair, "at most 2 items"),
        ("green", Literal[Colour.RED], "none of <Colour.RED: 'r'>"),
        ([1], Counter[str], "Expected `Counter`, got `list`"),
        ({"a": {"a": 1}, 5: {"a": "x"}}, dict[Any, Frozen | Wide], "at `$[5]"),
    ],
    ids=str,
)
def test_what_does_not_fit_says_where(value: Any, expected: Any, why: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(encode(value), expected)
    assert why in caught.value.why


def test_what_is_equal_only_when_written_is_no_set_any_more() -> None:
    with pytest.raises(DecodeError, match="equal now"):
        decode(encode({Colour.RED, "r"}))


@pytest.mark.skipif(sys.version_info < (3, 12), reason="`type X = ...` came with Python 3.12")
def test_type_aliases_are_seen_through() -> None:
    names: dict[str, Any] = globals() | {}
    source = (
        "type Either = Frozen | Wide\n"
        "type Many[K] = list[K]\n"
        "type Nested = int | list[Nested]\n"
        "@dataclass\n"
        "class Holder[K]:\n"
        "    one: Either\n"
        "    many: Many[K | Wide]\n"
    )
    exec(compile(source, "aliases", "exec", dont_inherit=True), names)
    for value, expected in [
        (Wide(1), "Either"), ([Wide(1)], "Many[Either]"), (Wide(1), "Either | None"),
        ([{"a": Frozen(1)}], "Many[dict[str, Either]]"), ([1, [2, [3]]], "Nested"),
        (names["Holder"](Wide(1), [Frozen(1), Wide(2)]), "Holder[Frozen]"),
    ]:  # fmt: skip
        assert decode(encode(value), eval(expected, names)) == value


def test_attrs_classes_come_back() -> None:
    attrs = pytest.importorskip("attrs")
    names: dict[str, Any] = globals() | {"attrs": attrs}
    exec(
        "@attrs.define\n"
        "class Owner:\n"
        "    _secret: int\n"
        "    pet: Frozen | Wide\n"
        "    size: int = attrs.field(default=3, alias='how_big', converter=int)\n"
        "    made: int = attrs.field(init=False, default=7)\n"
        "    def __attrs_post_init__(self): self.made += 1\n",
        names,
    )
    owner = names["Owner"](1, Wide(2), how_big="5")
    assert decode(encode(owner), names["Owner"]) == owner
