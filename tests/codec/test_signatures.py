"""A call as bytes: bound, normalised, and read back by the annotations of the function."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durable._codec.signatures import Signature
from durable._codec.values import PAYLOAD_BYTES_MAX, encode
from durable.errors import DecodeError, EncodeError, InvalidCall, PayloadTooLarge

if TYPE_CHECKING:
    from collections import Counter as Absent


@dataclass
class Item:
    sku: str
    price: Decimal


@dataclass
class Basket:
    items: list[Item]


def charge(card: str, cents: int) -> str:
    return f"{card}{cents}"


def ship(
    basket: Basket, to: str = "home", *more: Item, fast: bool = False, **extra: Decimal
) -> Basket:
    return basket


def place(a: int, /, b: int, c: int = 3, d: int = 4) -> None: ...


def vague(x: Absent[str], y: int) -> Absent[str]:
    return x


BASKET = Basket([Item("a", Decimal(1))])


def test_a_call_comes_back_typed() -> None:
    signature = Signature(ship)
    args = (BASKET, "there", Item("b", Decimal(2)))
    kwargs = {"fast": True, "tip": Decimal("0.5")}
    assert signature.decode_call(signature.encode_call(args, kwargs)) == (args, kwargs)
    assert signature.decode_result(signature.encode_result(BASKET)) == BASKET


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 4), st.permutations(["b", "c", "d"]), st.integers(0, 3))
def test_position_or_name_makes_no_difference(
    by_position: int, order: list[str], given_: int
) -> None:
    values = {"a": 1, "b": 2, "c": 30, "d": 40}
    names = list(values)[: given_ + 2]
    by_position = max(1, min(by_position, len(names)))
    args = tuple(values[name] for name in names[:by_position])
    kwargs = {name: values[name] for name in order if name in names[by_position:]}
    signature = Signature(place)
    everything = tuple(values[name] for name in names)
    assert signature.encode_call(args, kwargs) == signature.encode_call(everything, {})
    assert signature.decode_call(signature.encode_call(args, kwargs)) == (everything, {})


def test_keywords_that_skip_a_default_are_written_in_one_order() -> None:
    signature = Signature(place)
    payload = signature.encode_call((1, 2), {"d": 5})
    assert payload == signature.encode_call((1,), {"d": 5, "b": 2})
    assert signature.decode_call(payload) == ((1, 2), {"d": 5})

    signature = Signature(ship)
    one = signature.encode_call((BASKET,), {"x": Decimal(1), "y": Decimal(2), "fast": True})
    two = signature.encode_call(
        (), {"fast": True, "y": Decimal(2), "basket": BASKET, "x": Decimal(1)}
    )
    assert one == two


def test_defaults_are_not_filled_in() -> None:
    signature = Signature(place)
    assert signature.decode_call(signature.encode_call((1, 2), {})) == ((1, 2), {})


def test_the_first_parameter_can_be_left_out() -> None:
    async def order(ctx: Any, basket: Basket) -> Basket:
        return basket

    signature = Signature(order, skip=1)
    assert signature.decode_call(signature.encode_call((BASKET,), {})) == ((BASKET,), {})
    assert str(signature).endswith("Basket)")
    assert "ctx" not in str(signature)


@pytest.mark.parametrize(
    ("args", "kwargs", "why"),
    [
        ((), {"x": 1}, "charge() missing a required argument: 'card'"),
        (("a", 1), {"x": 1}, "charge() got an unexpected keyword argument 'x'"),
        (("a", 1), {"cents": 1}, "charge() multiple values for argument 'cents'"),
        (("a", 1, 2), {}, "charge() too many positional arguments"),
        (("a",), {}, "charge() missing a required argument: 'cents'"),
    ],
)
def test_a_wrong_call_shows_the_signature(args: Any, kwargs: Any, why: str) -> None:
    with pytest.raises(InvalidCall) as caught:
        Signature(charge).encode_call(args, kwargs)
    assert str(caught.value) == f"{why}; its signature is charge(card: str, cents: int)"


def test_a_required_keyword_must_be_there() -> None:
    def send(*, to: str) -> None: ...

    signature = Signature(send)
    with pytest.raises(InvalidCall, match="'to'"):
        signature.encode_call((), {})
    assert signature.decode_call(signature.encode_call((), {"to": "x"})) == ((), {"to": "x"})


def test_a_positional_only_name_is_no_keyword() -> None:
    with pytest.raises(InvalidCall, match="positional"):
        Signature(place).encode_call((), {"a": 1, "b": 2})


@pytest.mark.parametrize(
    ("args", "kwargs", "path"),
    [
        ((Basket([Item("a", object())]),), {}, "ship(basket=...).items[0].price"),  # type: ignore[arg-type]
        ((BASKET, "x", Item("a", Decimal(1)), object()), {}, "ship(more[1]=...)"),
        ((BASKET,), {"fast": [object()]}, "ship(fast=...)[0]"),
    ],
)
def test_paths_are_named_after_parameters(args: Any, kwargs: Any, path: str) -> None:
    with pytest.raises(EncodeError) as caught:
        Signature(ship).encode_call(args, kwargs)
    assert caught.value.path == path


def test_results_and_sizes_are_named_after_the_function() -> None:
    signature = Signature(charge)
    with pytest.raises(EncodeError, match=r"^the result of charge\(\)\[0\] is "):
        signature.encode_result([object()])
    with pytest.raises(PayloadTooLarge, match=r"^charge\(\) takes"):
        signature.encode_call(("x" * PAYLOAD_BYTES_MAX, 1), {})


def test_arguments_that_no_longer_fit_are_a_decode_error() -> None:
    payload = Signature(charge).encode_call(("a", 5), {})

    def fewer(card: str) -> None: ...
    def more(card: str, cents: int, currency: str) -> None: ...
    def other(card: str, cents: str) -> None: ...

    changed: list[tuple[Any, str]] = [
        (fewer, "too many"),
        (more, "'currency'"),
        (other, "Expected `str`"),
    ]
    for fn, why in changed:
        with pytest.raises(DecodeError, match=why):
            Signature(fn).decode_call(payload)
    with pytest.raises(DecodeError, match="charge"):
        Signature(charge).decode_call(encode(5))


def test_a_new_parameter_with_a_default_leaves_old_calls_as_they_are() -> None:
    def grown(card: str, cents: int, currency: str = "EUR") -> None: ...

    payload = Signature(charge).encode_call(("a", 5), {})
    assert Signature(grown).decode_call(payload) == (("a", 5), {})


def test_an_annotation_that_cannot_be_resolved_counts_as_any(
    caplog: pytest.LogCaptureFixture,
) -> None:
    signature = Signature(vague)
    assert signature.decode_call(signature.encode_call(({"k": (1,)}, 2), {})) == (
        ({"k": (1,)}, 2),
        {},
    )
    told = [each.getMessage() for each in caplog.records]
    assert ["of 'x' of" in each or "of 'return' of" in each for each in told] == [True, True]
    assert "NameError: name 'Absent'" in told[0]
    with pytest.raises(DecodeError):  # the other annotation still counts
        signature.decode_call(encode([1, "two"]))


def test_a_class_may_be_defined_after_the_function_that_names_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    namespace: dict[str, Any] = {}
    exec("from __future__ import annotations\ndef f(x: Later) -> Later: return x", namespace)
    signature = Signature(namespace["f"])
    namespace["Later"] = Basket
    assert signature.decode_call(signature.encode_call((BASKET,), {})) == ((BASKET,), {})
    assert not caplog.records


def test_local_classes_are_found_where_the_function_uses_them() -> None:
    @dataclass
    class Local:
        n: int

    def f(x: Local) -> Any:
        return Local(x.n)

    signature = Signature(f)
    assert signature.decode_call(signature.encode_call((Local(1),), {})) == ((Local(1),), {})


def test_wrapped_bound_partial_and_odd_callables_have_signatures_too() -> None:
    @functools.wraps(charge)
    def shim(*args: Any, **kwargs: Any) -> Any:
        return charge(*args, **kwargs)

    class Mail:
        def send(self, to: Item) -> Item:
            return to

        def __call__(self, to: Item) -> Item:
            return to

    item = Item("a", Decimal(1))
    assert Signature(shim).encode_call(("a",), {"cents": 1}) == encode(["a", 1])
    callables: list[Any] = [Mail().send, Mail(), functools.partial(Mail().send)]
    for fn in callables:
        signature = Signature(fn)
        assert signature.decode_call(signature.encode_call((item,), {})) == ((item,), {})
    signature = Signature(dict)
    assert signature.decode_call(signature.encode_call((), {"a": 1})) == ((), {"a": 1})


def test_a_function_that_takes_anything_gives_back_what_it_was_given() -> None:
    def anything(*args: Any) -> Any: ...

    signature = Signature(anything)
    assert signature.decode_call(signature.encode_call((1, (2,), {3}), {})) == ((1, (2,), {3}), {})
