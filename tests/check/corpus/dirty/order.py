"""Sets that are walked, addresses and hashes that decide."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from durable import Context, activity, workflow


@dataclass(frozen=True)
class Customer:
    name: str
    tags: frozenset[str] = frozenset()


@activity
async def tell(name: str) -> None: ...


@activity
async def names() -> set[str]:
    return set()


def others(name: str) -> set[str]:
    return {name}


def tagged(customer: Customer) -> Iterator[str]:
    for tag in customer.tags:  # expect: DUR301
        yield tag


@workflow
async def walks(ctx: Context, given: set[str], maybe: "set[str] | None", scores: dict[str, int]) -> None:
    for name in given:  # expect: DUR301
        await ctx.activity(tell, name)
    for name in sorted(given):
        await ctx.activity(tell, name)
    for name in maybe or set():  # expect: DUR301
        await ctx.activity(tell, name)
    for name in await ctx.activity(names):  # expect: DUR301
        await ctx.activity(tell, name)
    for name in others("ada"):  # expect: DUR301
        await ctx.activity(tell, name)
    for name in scores.keys() - given:  # expect: DUR301
        await ctx.activity(tell, name)
    for name in scores:
        await ctx.activity(tell, name)
    for name in {"ada", "bob"} | given:  # expect: DUR301
        await ctx.activity(tell, name)
    await asyncio.gather(*(ctx.activity(tell, name) for name in given))  # expect: DUR301
    await asyncio.gather(*[ctx.activity(tell, name) for name in sorted(given)])
    await asyncio.gather(*{ctx.activity(tell, name) for name in sorted(given)})
    async with asyncio.TaskGroup() as group:
        for name in set(scores):  # expect: DUR301
            group.create_task(ctx.activity(tell, name))
    customers = {Customer("ada"), Customer("bob")}
    for customer in customers:  # expect: DUR301
        await ctx.activity(tell, customer.name)
        list(tagged(customer))


@workflow
async def shows(ctx: Context, given: frozenset[str]) -> object:
    first = next(iter(given))  # expect: DUR301
    as_list = list(given)  # expect: DUR301
    text = ", ".join(given)  # expect: DUR301
    pairs = [(name, 1) for name in given]  # expect: DUR301
    numbered = dict(enumerate(given))  # expect: DUR301
    taken = set(given)
    taken.pop()  # expect: DUR301
    lines: list[str] = []
    for name in given:  # expect: DUR301
        lines.append(name)
    for name in given:
        if name.startswith("a"):
            return True
    for name in given:  # expect: DUR301
        if name.startswith("a"):
            return name
    count = 0
    for name in given:
        count += len(name)
    for name in given:
        if name.startswith("a"):
            return tell
    if len(given) == 1:
        count += len(next(iter(given)))
    only = given.pop() if len(given) == 1 else ""
    assert only is not None
    for name in given:  # expect: DUR301
        upper = name.upper()
        if upper.startswith("A"):
            return upper + "!"
    seen = set()
    for name in ["ada"]:
        seen.add(name)
    for name in seen:  # expect: DUR301
        ctx.log.info(name)
    fine = [len(given), sorted(list(given)), max(given), {n.upper() for n in given}]
    more = [any(n for n in given), "ada" in given, sum(len(n) for n in given), set(list(given))]
    return [first, as_list, text, pairs, numbered, fine, more]


@workflow
async def decides(ctx: Context, name: str, things: list[object]) -> int:
    shard = hash(name) % 4  # expect: DUR302
    hash(7)
    hash(name)  # can it be hashed?
    assert hash(name) == hash(name)
    things.sort(key=id)  # expect: DUR302
    sorted(things, key=hash)  # expect: DUR302
    await ctx.activity(tell, f"object {id(things)}")  # expect: DUR302
    await ctx.activity(tell, str(id(things)))  # expect: DUR302
    seen = {id(thing) for thing in things}
    assert id(things) not in seen and id(things) == id(things)
    return shard
