"""Many at once: sliding windows, races, pages, map and reduce, children."""

import asyncio
import itertools
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from functools import lru_cache, partial, reduce
from operator import attrgetter, itemgetter
from typing import Any, NewType

import anyio

from durable import ChildError, Context, Operation, activity, workflow

AT_ONCE = 10


@activity
async def page(number: int) -> list[str]:
    return []


@activity
async def word_count(text: str) -> dict[str, int]:
    return {}


@activity
async def known_ids() -> set[int]:
    return set()


@lru_cache(maxsize=None)
def fibonacci(n: int) -> int:
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


def chunks(items: Iterable[str], size: int) -> list[list[str]]:
    found: list[list[str]] = []
    for index, item in enumerate(items):
        if index % size == 0:
            found.append([])
        found[-1].append(item)
    return found


def unique(items: Iterable[str]) -> list[str]:
    """Each once, in order: a set that only remembers decides nothing."""
    seen: set[str] = set()
    kept = []
    for item in items:
        if item not in seen:
            seen.add(item)
            kept.append(item)
    return kept


@workflow
async def one_page(ctx: Context, number: int) -> int:
    return len(await ctx.activity(page, number))


@workflow
async def sliding_window(ctx: Context, count: int) -> int:
    running: set[asyncio.Task[int]] = set()
    total = 0
    for number in range(count):
        if len(running) >= AT_ONCE:
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            total += sum(task.result() for task in done)
        running.add(asyncio.create_task(one_page(ctx, number)))
    for task in running:
        total += await task
    return total


@workflow
async def untyped_window(ctx: Context, count: int) -> int:
    running = set()
    for number in range(count):
        running.add(asyncio.create_task(one_page(ctx, number)))
    while running:
        done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            await task
    asked = {ctx.activity(page, number) for number in range(count)}
    for operation in asked:
        await operation
    return count


@workflow
async def children(ctx: Context, count: int) -> list[str]:
    begun = [await ctx.start_child("one_page", n, id=f"{ctx.id}/{n}") for n in range(count)]
    lines = []
    for child in begun:
        try:
            lines.append(f"{await child.result()}")
        except ChildError as error:
            lines.append(error.status)
    lines += [str(await ctx.child(one_page, n)) for n in {1, 2, 3}]
    return lines


@workflow
async def first_of_three(ctx: Context) -> int:
    races: list[Operation[list[str]]] = [ctx.activity(page, n) for n in range(3)]
    for finished in asyncio.as_completed(races):
        return len(await finished)
    return 0


@workflow
async def map_reduce(ctx: Context, texts: list[str]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    by_letter: defaultdict[str, list[str]] = defaultdict(list)
    for part in await asyncio.gather(*map(partial(ctx.activity, word_count), texts)):
        counts.update(part)
    for word in sorted(counts, key=itemgetter(0)):
        by_letter[word[0]].append(word)
    words = set(counts) - {"the", "a"}
    longest = max(len(word) for word in words)
    both = "the" in words or len({*words} & {"and"}) > 0
    ids = sorted(await ctx.activity(known_ids))
    for id in await ctx.activity(known_ids):
        await ctx.activity(page, id)
    numbers = set(range(5))
    for number in numbers:
        await ctx.activity(page, number)
    last: Any = counts.popitem() if both else None
    total = reduce(lambda a, b: a + b, (fibonacci(n) for n in range(longest)))
    return {**counts, "total": total, "last": last, **dict(zip(unique(texts), ids))}


async def pages(ctx: Context, count: int) -> AsyncIterator[list[str]]:
    for number in itertools.count():
        if number >= count:
            return
        yield await ctx.activity(page, number)


@workflow
async def with_anyio(ctx: Context, count: int) -> int:
    total = 0
    send, receive = anyio.create_memory_object_stream[int](5)

    async def work(number: int) -> None:
        await send.send(len(await ctx.activity(page, number)))

    async with anyio.create_task_group() as group:
        for number in range(count):
            group.start_soon(work, number)
        for _ in range(count):
            total += await receive.receive()
    with anyio.move_on_after(10):
        await anyio.sleep(5)
    async for each in pages(ctx, count):
        total += len(each)
    for batch in chunks([str(n) for n in range(count)], 7):
        total += len(batch)
    any_seen = any(item.startswith("x") for item in {"a", "b"})
    total += sum(len(each) for each in {"a", "b"}) + int(any_seen)
    return sorted([{"n": total}], key=itemgetter("n"))[0]["n"] + len([attrgetter("x")])


class Level(IntEnum):
    LOW = 1
    HIGH = 2


Cell = NewType("Cell", int)
Cells = set[Cell]


@dataclass
class Stamped:
    what: str
    at: datetime = field(default_factory=datetime.now)


@workflow
async def walks_what_is_the_same_everywhere(
    ctx: Context, levels: set[Level], cells: Cells, corners: set[tuple[int, int]]
) -> None:
    for level in levels:
        await ctx.activity(page, level)
    for cell in cells:
        await ctx.activity(page, cell)
    for x, y in corners | {(1, 2)}:
        await ctx.activity(page, x + y)
    fields = {"what": "x", "at": ctx.now()}
    Stamped("x", ctx.now()), Stamped(what="x", at=ctx.now()), Stamped(**fields)
