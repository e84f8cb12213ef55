"""The workflows that the tests of the client start."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime

from durable import Context, Signal, workflow


@dataclass
class Item:
    sku: str
    price: int


@dataclass
class Order:
    items: list[Item]
    note: str = ""
    tags: set[str] = field(default_factory=set)


@workflow
async def double(ctx: Context, a: int) -> int:
    return 2 * a


@workflow
async def named(ctx: Context) -> str:
    return ctx.id


@workflow
async def fails(ctx: Context, a: int = 0) -> None:
    raise ValueError(a)


@workflow
async def waits(ctx: Context, a: int = 0) -> int:
    await ctx.sleep(days=30)
    return a


@workflow
async def takes_order(ctx: Context, order: Order, express: bool = False) -> int:
    return sum(item.price for item in order.items)


@workflow
async def begun_at(ctx: Context) -> datetime:
    return ctx.now()


greeted = Signal[str]("flows.greeted")


@workflow
async def hears(ctx: Context) -> str:
    return await ctx.receive(greeted)


cleaned: list[str] = []


@workflow
async def tidies_up(ctx: Context) -> None:
    try:
        await ctx.sleep(days=30)
    except asyncio.CancelledError:
        await ctx.sleep(0.01)
        cleaned.append(ctx.id)
        raise
