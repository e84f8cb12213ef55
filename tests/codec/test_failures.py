"""Exceptions as data: whatever they hold, they are written; only named classes come back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durable._codec.failures import (
    CAUSES_MAX,
    LISTED_MAX,
    TRACEBACK_CHARS_MAX,
    Failure,
    decode_failure,
    encode_failure,
    rebuild,
)
from durable._codec.values import PAYLOAD_BYTES_MAX, encode
from durable.errors import DecodeError


class CardDeclined(Exception):
    made = 0

    def __init__(self, card: str, *, code: int, order: Any = None) -> None:
        super().__init__(f"card {card} was declined")
        self.card = card
        self.code = code
        self.order = order
        CardDeclined.made += 1


@dataclass
class Sold(Exception):
    sku: str
    left: int


class Slotted(Exception):
    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        self.code = code


def again(error: BaseException, **facts: Any) -> Failure:
    return decode_failure(encode_failure(error, **facts))


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except type(error) as caught:
        return caught


def test_a_failure_tells_type_message_and_traceback() -> None:
    secret = "in-a-local"  # noqa: F841 - a local, which must not be told
    failure = again(raised(KeyError("x")), attempts=3, kind="timed_out")
    assert (failure.type, failure.module, failure.message) == ("KeyError", "builtins", "'x'")
    assert (failure.attempts, failure.kind) == (3, "timed_out")
    assert "raise error from cause" in failure.traceback
    assert "in-a-local" not in failure.traceback


def test_a_named_class_is_made_again_without_its_init() -> None:
    error = CardDeclined("1234", code=51)
    error.add_note("seen at the till")
    failure = again(error)
    count = CardDeclined.made
    back = rebuild(failure, [ValueError, CardDeclined])
    assert type(back) is CardDeclined
    assert (back.card, back.code, str(back)) == ("1234", 51, "card 1234 was declined")
    assert back.__notes__ == ["seen at the till"]
    assert CardDeclined.made == count


def test_a_class_that_is_not_named_stays_a_description() -> None:
    failure = again(CardDeclined("1", code=1))
    assert rebuild(failure, []) is None
    assert rebuild(failure, [KeyError, ValueError]) is None


def test_a_class_derived_from_a_named_one_is_made_again_as_itself() -> None:
    class Expired(CardDeclined):
        def add_note(self, note: str) -> None:
            raise RuntimeError("no notes")

    error = Expired("1", code=2)
    Exception.add_note(error, "seen")
    back = rebuild(again(error), [CardDeclined])
    assert type(back) is Expired
    assert (back.code, back.__notes__) == (2, ["seen"])


def test_dataclass_and_slotted_exceptions_come_back() -> None:
    assert rebuild(again(Sold("a", 2)), [Sold]) == Sold("a", 2)
    back = rebuild(again(Slotted(7)), [Slotted])
    assert isinstance(back, Slotted)
    assert back.code == 7
    os_error = rebuild(again(OSError(2, "No such file")), [FileNotFoundError])
    assert isinstance(os_error, OSError)
    assert str(os_error) == "[Errno 2] No such file"


def test_what_cannot_be_recorded_is_left_out_of_an_exception() -> None:
    error = CardDeclined("1", code=5, order=object())
    error.args = (object(),)
    back = rebuild(again(error), [CardDeclined])
    assert isinstance(back, CardDeclined)
    assert back.code == 5
    assert not hasattr(back, "order")


def test_a_class_that_cannot_be_made_again_stays_a_description() -> None:
    class Picky(Exception):
        def __new__(cls, *args: Any) -> Picky:
            if args != ("original", 1):
                raise RuntimeError("only the original")
            return super().__new__(cls, *args)

    error = Picky("original", 1)
    error.args = ()
    assert type(rebuild(again(error), [Picky])) is Picky  # nor is its __new__ called
    twin = type("Picky", (Exception,), {"__module__": Picky.__module__})
    twin.__qualname__ = Picky.__qualname__
    assert rebuild(again(error), [Picky, twin]) is None  # whose is it?
    group = ExceptionGroup("all", [ValueError("a")])
    assert rebuild(again(group), [ExceptionGroup]) is None


def test_causes_and_contexts_are_told() -> None:
    error = raised(ValueError("outer"), KeyError("inner"))
    inner = again(error).cause
    assert inner is not None
    assert (inner.type, inner.message, inner.args) == ("KeyError", "'inner'", ("inner",))
    try:
        try:
            raise KeyError("first")
        except KeyError:
            raise ValueError("second")  # noqa: B904 - that is the point
    except ValueError as caught:
        cause = again(caught).cause
    assert cause is not None
    assert cause.type == "KeyError"


def test_causes_in_a_circle_end() -> None:
    one, two = ValueError("one"), KeyError("two")
    one.__cause__, two.__cause__ = two, one
    cause = again(one).cause
    assert cause is not None
    assert cause.type == "KeyError"
    assert cause.cause is None


def test_long_chains_and_large_groups_are_bounded() -> None:
    error: BaseException = ValueError("0")
    for number in range(500):
        following = ValueError(str(number))
        following.__cause__ = error
        error = following
    failure: Failure | None = again(error)
    depth = 0
    while failure is not None:
        failure, depth = failure.cause, depth + 1
    assert depth == CAUSES_MAX + 1

    big = "x" * 100_000
    group: ExceptionGroup[Exception] = ExceptionGroup(big, [ValueError(big, i) for i in range(500)])
    for _ in range(50):
        group = ExceptionGroup(big, [group, *[ValueError(big) for _ in range(50)]])
    payload = encode_failure(group)
    assert len(payload) < PAYLOAD_BYTES_MAX
    assert len(decode_failure(payload).members) <= LISTED_MAX


def test_members_of_a_group_are_told() -> None:
    members = again(ExceptionGroup("two", [ValueError("a"), KeyError("b")])).members
    assert [(each.type, each.message) for each in members] == [
        ("ValueError", "a"),
        ("KeyError", "'b'"),
    ]


def test_the_traceback_is_bounded() -> None:
    def down(n: int) -> None:
        if n:
            sideways(n)
        raise ValueError("deep " + "x" * 50_000)

    def sideways(n: int) -> None:
        down(n - 1)

    with pytest.raises(ValueError, match="deep") as caught:
        down(200)
    failure = again(caught.value)
    assert len(failure.traceback) <= TRACEBACK_CHARS_MAX
    assert len(failure.message) < 10_000


class Hostile(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("no attributes")


def test_any_exception_can_be_written() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    hostile = Hostile(object(), cycle)
    hostile.__dict__.update({"__notes__": 5, "\ud800": 1, "loop": hostile, "f": print})
    assert "RuntimeError" in again(raised(hostile)).message
    assert again(ValueError("half \ud800 and \0")).message == "half ? and \0"
    odd_module = type("Odd", (Exception,), {"__module__": "bad\ud800name"})
    assert again(odd_module()).module == "bad?name"
    assert again(KeyboardInterrupt()).type == "KeyboardInterrupt"
    odd_notes = ValueError()
    odd_notes.__notes__ = ["fine", 5, "\ud800"]  # type: ignore[list-item]
    assert again(odd_notes).notes == ("fine", "?")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.text(), st.integers(), st.binary(), st.just(object())), max_size=3))
def test_an_exception_with_any_arguments_can_be_written(args: list[Any]) -> None:
    error = ValueError(*args)
    back = rebuild(again(error), [ValueError])
    assert isinstance(back, ValueError)


@pytest.mark.parametrize("value", [5, None, [], {}, {"type": 5}, {"type": "a", "module": "b"}])
def test_what_is_no_failure_is_a_decode_error(value: Any) -> None:
    with pytest.raises(DecodeError):
        decode_failure(encode(value))


def test_a_hostile_payload_sets_nothing_but_plain_attributes() -> None:
    told = {"type": "CardDeclined", "module": __name__, "message": "m", "args": ("m",)}
    payload = encode(told | {"state": {"__class__": "x", "__dict__": {}, "made": -1, "code": 1}})
    back = rebuild(decode_failure(payload), [CardDeclined])
    assert type(back) is CardDeclined
    assert back.code == 1
    assert CardDeclined.made >= 0


def test_the_text_of_a_traceback_ends_with_the_error() -> None:
    failure = again(raised(CardDeclined("1", code=1)))
    assert re.search(r"CardDeclined: card 1 was declined\s*$", failure.traceback)
