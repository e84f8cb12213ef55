"""What all runs of a process share."""

import asyncio
import itertools
from collections import defaultdict
from dataclasses import dataclass, field

from durable import Context, activity, workflow

from .settings import limits, settings

count = 0
cache: dict[str, int] = {}
totals = defaultdict(int)
history: list[str] = []
numbers = itertools.count()
gate = asyncio.Lock()
slots = asyncio.Semaphore(3)
balance = {"cents": 0}
latest = ""
NAMES = {"a": "ada"}
ORDER = ["a", "b"]


@dataclass
class Statistics:
    seen: list[str] = field(default_factory=list)
    runs: int = 0
    made = 0


statistics = Statistics()


@activity
async def pay(cents: int) -> None:
    global latest
    balance["cents"] -= cents
    latest = "paid"


def remember(key: str, value: int) -> int:
    if key not in cache:
        cache[key] = value  # expect: DUR401
    return cache[key]


def collect(item: str, into: list[str] = []) -> list[str]:
    into.append(item)  # expect: DUR403
    return into


def merge(item: str, *, into: dict[str, int] = {}) -> dict[str, int]:
    into[item] = 1  # expect: DUR403
    return into


def fine(item: str, into: list[str] = [], known: dict[str, int] | None = None) -> list[str]:
    known = known or {}
    known[item] = 1
    return [*into, item]


@workflow
async def changes(ctx: Context, name: str, log: list[str] = []) -> str:
    global count  # expect: DUR401
    count += 1
    history.append(name)  # expect: DUR401
    totals[name] += 1  # expect: DUR401
    del cache[name]  # expect: DUR401
    statistics.runs += 1  # expect: DUR401
    Statistics.made += 1  # expect: DUR401
    settings.stage = "live"  # expect: DUR401
    limits["calls"] = 3  # expect: DUR401
    limits.update(calls=3)  # expect: DUR401
    next(numbers)  # expect: DUR401
    log += [name]  # expect: DUR403
    remember(name, 1)
    collect(name)
    merge(name)
    fine(name)
    local = Statistics()
    local.runs += 1
    local.seen.append(name)
    names = dict(NAMES)
    names[name] = name
    copied = list(ORDER)
    copied.append(name)
    return NAMES.get(name, ORDER[0])


@workflow
async def reads(ctx: Context) -> int:
    await ctx.activity(pay, 3)
    if balance["cents"] < 0:  # expect: DUR402
        return 0
    return len(latest)  # expect: DUR402


@workflow
async def meets(ctx: Context) -> None:
    async with gate:  # expect: DUR404
        await ctx.activity(pay, 3)
    async with slots:  # expect: DUR404
        own = asyncio.Lock()
        async with own:
            await ctx.activity(pay, 3)
