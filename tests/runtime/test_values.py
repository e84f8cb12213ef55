"""Values through whole runs: what fits comes back, what does not is told, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from hypothesis import given, settings

from durable import (
    ActivityError,
    Client,
    Context,
    Durable,
    Retry,
    RunCancelled,
    RunFailed,
    Status,
    activity,
    workflow,
)
from durable.errors import (
    EncodeError,
    InvalidCall,
    PayloadTooLarge,
    RunNotFound,
)

from ..codec.values import shape, values

if TYPE_CHECKING:
    from collections import Counter as Unseen

SLOW = Retry(attempts=5, delay=30)  # one more try would outlive the test


@dataclass(frozen=True)
class Line:
    sku: str
    price: Decimal


@dataclass
class Basket:
    lines: list[Line]
    id: str = field(init=False)

    def __post_init__(self) -> None:
        self.id = str(uuid4())


class Odd:
    def __repr__(self) -> str:
        return "Odd()" + "x" * 100_000


calls: list[Any] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    calls.clear()


@activity(retry=SLOW)
async def takes(n: int, text: str = "") -> int:
    calls.append(n)
    return n


@activity(retry=SLOW)
async def gives(what: str) -> Any:
    calls.append(what)
    return (HARD | EASY)[what]()


@activity(retry=SLOW)
async def promises_int() -> int:
    calls.append("promised")
    return "no int"  # type: ignore[return-value]


@activity
async def passes(basket: Basket) -> Basket:
    return basket


@activity
async def unseen(x: Unseen[str]) -> Any:
    return x


def _cycle() -> list[Any]:
    box: list[Any] = [0]
    box.append(box)
    return box


HARD: dict[str, Callable[[], Any]] = {
    "an object": Odd,
    "a cycle": _cycle,
    "too much": lambda: "x" * 3_000_000,
    "too deep": lambda: __import__("functools").reduce(lambda inner, _: [inner], range(99), 0),
    "half a character": lambda: "\ud800",
    "a key that cannot come back": lambda: {Line("a", Decimal(1)): 1},
}
EASY: dict[str, Callable[[], Any]] = {
    "nul": lambda: {"a\0b": ["\0", b"\0"]},
    "emptiness": lambda: [[] for _ in range(100_000)],
    "control characters": lambda: "\x1b[31m\x7f\u202e\ufffe",
    "a large number": lambda: -(10**6000),
}


@workflow
async def asks(ctx: Context, what: str) -> Any:
    try:
        await ctx.activity(gives, what)
    except ActivityError as error:
        return error.message, error.attempts
    return "recorded"


@workflow
async def returns(ctx: Context, what: str) -> Any:
    await ctx.activity(takes, 1)
    return (HARD | EASY)[what]()


@workflow
async def passes_on(ctx: Context, what: str) -> Any:
    try:
        await ctx.activity(takes, HARD[what]())
    except (EncodeError, PayloadTooLarge) as error:
        return str(error)


@workflow
async def misuses(ctx: Context) -> Any:
    try:
        return await ctx.activity(takes, "one")  # type: ignore[call-overload]
    except ActivityError as error:
        return error.message, error.attempts


@workflow
async def breaks_its_promise(ctx: Context) -> Any:
    try:
        return await ctx.activity(promises_int)
    except ActivityError as error:
        return error.message, error.attempts


@workflow
async def buys(ctx: Context, basket: Basket) -> list[Basket]:
    first = await ctx.activity(passes, basket)
    second = await ctx.activity(passes, first)
    await ctx.sleep(0.01)
    return [basket, first, second]


@activity
async def echoes(value: Any) -> Any:
    return value


@workflow
async def sees(ctx: Context, drawn: list[Any]) -> None:
    seen = [await ctx.activity(echoes, each) for each in drawn]
    calls.append([shape(each) for each in seen])
    await ctx.sleep(3600)


@workflow
async def counts(ctx: Context, n: int) -> int:
    return n


@workflow
async def uses_unseen(ctx: Context) -> Any:
    return await ctx.activity(unseen, {"a": 1})  # type: ignore[call-overload]


@pytest.fixture
async def app(dsn: str) -> Any:
    async with Durable(dsn) as app:
        yield app


async def test_a_result_that_cannot_be_recorded_is_a_failure_and_never_tried_again(
    app: Durable,
) -> None:
    for what in HARD:
        calls.clear()
        message, attempts = await app.run(asks, what, id=what)
        assert (attempts, calls) == (1, [what])
        assert "the activity returned" in message
        assert len(message) < 1000
        _, event = await app.history(what)
        assert event["failure"]["type"] == "Unrecordable"


async def test_a_run_whose_result_cannot_be_recorded_fails_in_words(app: Durable) -> None:
    for what in HARD:
        with pytest.raises(RunFailed, match=r"Error|TooLarge") as caught:
            await app.run(returns, what, id=what)
        assert (await app.handle(what).describe()).status is Status.FAILED
        assert len(caught.value.message) < 1000


async def test_an_argument_that_cannot_be_recorded_is_told_at_the_call(app: Durable) -> None:
    for what in HARD.keys() - {"a key that cannot come back"}:
        told = await app.run(passes_on, what, id=what)
        assert told.startswith("takes(")
        with pytest.raises((EncodeError, PayloadTooLarge)):
            await app.start(asks, HARD[what](), id="never")
        with pytest.raises(RunNotFound):
            await app.handle("never").status()
    assert calls == []


async def test_odd_values_that_can_be_recorded_come_back_and_are_shown(app: Durable) -> None:
    for what, made in EASY.items():
        assert await app.run(asks, what) == "recorded"
        assert await app.run(returns, what, id=what) == made()
        shown = (await app.handle(what).describe()).result
        assert not isinstance(shown, dict) or "unreadable" not in shown


async def test_arguments_that_do_not_fit_are_not_tried_again(app: Durable) -> None:
    message, attempts = await app.run(misuses)
    assert "int in takes(n='one'): Expected `int`, got `str`" in message
    assert attempts == 1
    assert calls == []


async def test_a_result_that_breaks_its_annotation_is_not_tried_again(app: Durable) -> None:
    message, attempts = await app.run(breaks_its_promise)
    assert "returned 'no int'" in message
    assert (attempts, calls) == (1, ["promised"])


async def test_start_refuses_arguments_that_do_not_fit(app: Durable, dsn: str) -> None:
    async with Client(dsn) as client:
        for each in (app, client):
            with pytest.raises(InvalidCall, match=r"int in counts\(n='one'\): Expected `int`"):
                await each.start(counts, "one", id="x")  # type: ignore[arg-type]
            with pytest.raises(InvalidCall, match="map keys"):
                await each.start("counts", {Line("a", Decimal(1)): 2}, id="x")
    assert await app.list() == []


async def test_any_values_come_back_as_they_went_in_now_and_on_replay(dsn: str) -> None:
    @settings(max_examples=80, deadline=None, database=None)
    @given(values)
    def draw(value: Any) -> None:
        drawn.append(value)

    drawn: list[Any] = []
    draw()
    wanted = [shape(each) for each in drawn]
    async with Durable(dsn) as app:
        await app.start(sees, drawn, id="s")
        while await app.handle("s").status() is not Status.WAITING:
            await asyncio.sleep(0.01)
    async with Durable(dsn) as app:
        await app.handle("s").cancel()
        with pytest.raises(RunCancelled):
            await app.handle("s").result()
    assert calls == [wanted, wanted]


async def test_what_a_class_makes_up_is_made_up_once(app: Durable, dsn: str) -> None:
    basket = Basket([Line("a", Decimal("1.10"))])
    assert await app.run(buys, basket, id="b") == [basket] * 3
    async with Client(dsn) as client:
        assert await client.handle("b", buys).result() == [basket] * 3


@pytest.mark.once
async def test_an_annotation_that_cannot_be_resolved_is_told(
    app: Durable, caplog: pytest.LogCaptureFixture
) -> None:
    assert await app.run(uses_unseen) == {"a": 1}
    assert "the annotation of 'x' of unseen() cannot be resolved (NameError" in caplog.text
