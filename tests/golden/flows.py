"""Workflows that are recorded for ever: their code never changes, since journals of every release
rest on it. Together they know each kind of event, and each type of value."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import anyio

from durable import (
    ActivityError,
    ActivityTimedOut,
    ChildError,
    Compensation,
    Context,
    PromiseRejected,
    Retry,
    Signal,
    State,
    Stream,
    Update,
    activity,
    workflow,
)

news = Signal[str]("golden/news")
add = Update[int, int]("golden/add")
shown, spoken = State[dict[str, int]]("golden/shown"), Stream[bytes]("golden/spoken")


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Sock:
    colour: Colour
    size: int
    holes: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class Everything:
    """A value of each type that travels as itself."""

    none: None
    yes: bool
    small: int
    big: int
    real: float
    text: str
    raw: bytes
    items: list[Any]
    pair: tuple[int, str]
    several: set[int]
    frozen: frozenset[str]
    named: dict[str, Decimal]
    moment: datetime
    zoned: datetime
    day: date
    hour: time
    length: timedelta
    key: UUID
    sock: Sock | None


EVERYTHING = Everything(
    None, True, -7, 2**80, 0.1, "süß ☂", b"\x00\xff", [1, [None, {"a": b""}]], (1, "x"), {3, 1, 2},
    frozenset({"b", "a"}), {"price": Decimal("4.20")},
    datetime(2026, 3, 1, 12, 30, 0, 5, tzinfo=UTC),
    datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
    date(2026, 2, 28), time(23, 59, 59, 1), timedelta(days=-1, microseconds=7),
    UUID("12345678-1234-5678-1234-567812345678"), Sock(Colour.BLUE, 43, [(1, 2)]),
)  # fmt: skip


class Refused(Exception):
    def __init__(self, sku: str, left: int) -> None:
        super().__init__(sku, left)
        self.sku, self.left = sku, left


@activity(name="golden/echo")
async def echo(value: Everything, *, twice: bool = False) -> list[Everything]:
    return [value, value] if twice else [value]


@activity(name="golden/name")
async def name(what: str) -> str:
    return what


@activity(name="golden/refuses", raises=(Refused,))
async def refuses(sku: str) -> None:
    raise Refused(sku, 3)


@activity(name="golden/breaks", retry=Retry(attempts=2, delay=1))
async def breaks(what: str) -> str:
    raise ConnectionError(f"no line to {what}")


@activity(name="golden/hangs", timeout=1, retry=Retry(attempts=1), record_start=False)
async def hangs() -> None:
    raise NotImplementedError("it has a stand-in")


async def book(conn: Any, sku: str) -> int:
    raise NotImplementedError("it has a stand-in")


@workflow(name="golden/values")
async def values(ctx: Context, given: Everything) -> Everything:
    first, second = await ctx.activity(echo, given, twice=True)
    (third,) = await ctx.activity(echo, second)
    return first if first == third else given


@workflow(name="golden/failures")
async def failures(ctx: Context) -> list[str]:
    told: list[str] = []
    try:
        await ctx.activity(refuses, "socks")
    except Refused as error:
        told.append(f"{error.sku} {error.left}")
    for call in (ctx.activity(breaks, "x"), ctx.activity(hangs)):
        try:
            await call
        except ActivityTimedOut:
            told.append("too late")
        except ActivityError as error:
            told.append(f"{error.type} after {error.attempts}")
    async with Compensation() as undo:
        undo.push_async_callback(ctx.activity, name, "undone")
        await ctx.activity(breaks, "y")
    return told


@workflow(name="golden/together")
async def together(ctx: Context) -> list[Any]:
    """Plain asyncio, and anyio: who waits for whom, in which order."""
    gate, queue, found = asyncio.Event(), asyncio.Queue[str](2), list[Any]()

    async def opens() -> None:
        await ctx.sleep(2)
        gate.set()

    async def fills() -> None:
        for each in "abc":
            await queue.put(await ctx.activity(name, each))

    async with asyncio.TaskGroup() as group:
        group.create_task(opens())
        group.create_task(fills())
        while len(found) < 3:
            found.append(await queue.get())
        await gate.wait()
    first = [asyncio.ensure_future(ctx.activity(name, each)) for each in ("quick", "quicker")]
    done, _ = await asyncio.wait(first, return_when=asyncio.ALL_COMPLETED)
    found += sorted(each.result() for each in done)
    with anyio.move_on_after(5) as scope:
        await ctx.sleep(days=1)
    found.append(scope.cancelled_caught)
    limit = asyncio.Semaphore(2)

    async def limited(what: str) -> str:
        async with limit:
            return await ctx.activity(name, what)

    found += await asyncio.gather(*map(limited, ("one", "two", "three")))
    return found


@workflow(name="golden/chance")
async def chance(ctx: Context) -> list[str]:
    drawn = [str(ctx.random.randint(1, 10**9)), str(ctx.uuid4()), ctx.now().isoformat()]
    drawn.append(await ctx.activity(name, drawn[1]))
    await ctx.sleep_until(ctx.now() + timedelta(hours=1))
    return [*drawn, ctx.now().isoformat(), str(ctx.random.random()), str(ctx.uuid4())]


@workflow(name="golden/answers")
async def answers(ctx: Context) -> int:
    total = 0

    async def put_in(n: int) -> int:
        nonlocal total
        if n == 13:
            raise ValueError("an unlucky number")
        await ctx.activity(name, str(n))
        total += n
        ctx.set(shown, {"total": total})
        ctx.publish(spoken, str(total).encode())
        return total

    ctx.on(add, put_in, check=lambda n: n > 0)
    async for word in ctx.messages(news):
        if word == "enough":
            break
    return total


@workflow(name="golden/asks")
async def asks(ctx: Context) -> str:
    first, second = ctx.promise(str), ctx.promise(int)
    await ctx.activity(name, f"{first.token} {second.token}")
    try:
        return f"{await first} {await second}"
    except PromiseRejected as error:
        return f"{await first}, but {error.message}"


@workflow(name="golden/child")
async def child(ctx: Context, how: str) -> str:
    if how == "fails":
        await ctx.activity(breaks, how)
    if how == "lasts":
        return await ctx.receive(news)
    return await ctx.activity(name, how)


@workflow(name="golden/parent")
async def parent(ctx: Context) -> list[str]:
    told = [await ctx.child(child, "does")]
    for how, id in (("fails", None), ("does", "golden/taken")):
        try:
            await ctx.child(child, how, id=id)
        except ChildError as error:
            told.append(f"{error.status} {error.type}")
    lasting = await ctx.start_child(child, "lasts")
    lasting.signal(news, "to the child")
    told.append(await lasting.result())
    late = asyncio.ensure_future(ctx.child(child, "lasts"))
    await ctx.sleep(1)
    late.cancel()
    await asyncio.wait([late])
    ctx.send("golden/nobody", news, "to nobody")
    await ctx.sleep(1)
    return told


@workflow(name="golden/chapters")
async def chapters(ctx: Context, left: int) -> str:
    ctx.set(shown, {"left": left})
    word = await ctx.receive(news)
    await ctx.activity(name, word)
    if left:
        ctx.continue_as_new(left - 1)
    return word


@workflow(name="golden/cleans_up")
async def cleans_up(ctx: Context) -> None:
    try:
        await ctx.activity(name, "before")
        await ctx.sleep(days=365)
    finally:
        await ctx.activity(name, "after")


@workflow(name="golden/books")
async def books(ctx: Context, sku: str) -> int:
    left = await ctx.transaction(book, sku)
    if left < 0:
        raise LookupError(f"no {sku}")
    return left


@workflow(name="golden/patched")
async def patched(ctx: Context) -> list[str]:
    told = [await ctx.activity(name, "old")]
    if ctx.patched("golden/second"):
        told.append(await ctx.activity(name, "new"))
    ctx.retire_patch("golden/first")
    await ctx.sleep(1)
    if ctx.patched("golden/second"):
        told.append(await ctx.activity(name, "new again"))
    return told
