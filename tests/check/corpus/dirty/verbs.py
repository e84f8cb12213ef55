"""Wrong calls of what is Durable's."""

import asyncio
import functools
import json
from datetime import UTC, datetime, time, timedelta

import asyncpg

import durable
from durable import Compensation, Context, activity, workflow

poked = durable.Signal[str]("poked")
quick = functools.partial(activity, timeout=5)


@activity
async def charge(cents: int) -> str:
    return ""


@quick(name="verbs.look")
def look(what: str) -> str:
    return what


@durable.activity(timeout=3)
async def refund(payment: str) -> None: ...


def _ship(sku: str) -> None: ...


ship = activity(timeout=5)(_ship)


def plain(x: int) -> int:
    return x


async def reserve(conn: asyncpg.Connection, sku: str) -> None: ...


def not_async(conn: asyncpg.Connection) -> None: ...


async def pause(ctx: Context) -> None:
    await ctx.sleep(1)


class Shop:
    @activity
    async def sell(self, sku: str) -> None: ...

    async def close(self) -> None:
        await asyncio.sleep(1)


@workflow
async def other(ctx: Context, x: int = 0) -> None: ...


def total(cents: list[int]) -> str:
    return look(json.dumps(sum(cents)))  # expect: DUR501


@workflow
async def direct(ctx: Context, shop: Shop) -> None:
    await charge(3)  # expect: DUR501
    look("x")  # expect: DUR501
    total([1, 2])
    ship("socks")  # expect: DUR501
    await ctx.activity(ship, "socks")
    await ctx.activity(charge(3))  # expect: DUR501
    await ctx.options(timeout=3).activity(charge, 3)
    async with Compensation() as undo:
        undo.push_async_callback(ctx.activity, refund, "x")
        undo.push_async_callback(refund, "x")
    await other(ctx)


@workflow
async def cannot_run(ctx: Context, shop: Shop) -> None:
    await ctx.activity(plain, 3)  # expect: DUR502
    await ctx.activity("charge", 3)  # expect: DUR502
    await ctx.activity(json.dumps, {})  # expect: DUR502
    await ctx.activity(lambda: 3)  # expect: DUR502
    await ctx.activity(other, ctx)  # expect: DUR502
    await ctx.activity(shop.sell, "socks")  # expect: DUR502
    await ctx.activity(plain(3))  # expect: DUR502
    await ctx.child(charge, 3)  # expect: DUR502
    await ctx.child(pause)  # expect: DUR502
    await ctx.child("other", 3)
    await ctx.child(other, 3)
    await ctx.transaction(not_async)  # expect: DUR502
    await ctx.transaction(reserve, "socks")


@workflow
async def forgotten(ctx: Context, shop: Shop) -> None:
    ctx.activity(charge, 3)  # expect: DUR503
    ctx.options(timeout=3).activity(charge, 3)  # expect: DUR503
    ctx.sleep(3)  # expect: DUR503
    asyncio.sleep(3)  # expect: DUR503
    pause(ctx)  # expect: DUR503
    shop.close()  # expect: DUR503
    asyncio.gather(ctx.sleep(1), ctx.sleep(2))  # expect: DUR503
    ctx.start_child(other)  # expect: DUR503
    ctx.send("order-1", durable.Signal[None]("poked"))
    ctx.continue_as_new(shop)
    asyncio.create_task(pause(ctx))
    kept = ctx.activity(charge, 3)
    await kept
    if ctx.activity(charge, 3):  # expect: DUR503
        return
    while not asks(ctx):  # expect: DUR503
        await ctx.sleep(1)
    assert ctx.receive(poked) == "x" or await ctx.receive(poked) == "x"  # expect: DUR503
    text = f"{ctx.activity(charge, 3)}"  # expect: DUR503
    first = ctx.activity(charge, 3)[0]  # expect: DUR503
    await ctx.activity(refund, ctx.activity(charge, 3))  # expect: DUR503
    await ctx.activity(refund, await ctx.activity(charge, 3) + text + first)


@workflow
async def returned(ctx: Context) -> str:
    def later() -> object:
        return ctx.activity(charge, 3)

    later()
    return ctx.activity(charge, 3)  # expect: DUR503


async def asks(ctx: Context) -> bool:
    return bool(await operation(ctx))


def operation(ctx: Context) -> durable.Operation[str]:
    return ctx.activity(charge, 3)


@workflow
async def naive(ctx: Context, day: datetime) -> None:
    await ctx.sleep_until(datetime(2030, 1, 1))  # expect: DUR504
    await ctx.sleep_until(datetime(2030, 1, 1, tzinfo=UTC))
    later = datetime(2030, 1, 1, 12)  # expect: DUR504
    await ctx.sleep_until(later)
    await ctx.sleep_until(datetime.combine(day, time(8)))  # expect: DUR504
    await ctx.sleep_until(datetime.combine(day, time(8), UTC))
    await ctx.sleep_until(datetime.combine(day, time(8, tzinfo=UTC)))
    await ctx.sleep_until(datetime(2030, 1, 1) + timedelta(days=1))  # expect: DUR504
    await ctx.child(other, at=datetime(2030, 1, 1))  # expect: DUR504
    await ctx.child(other, deadline=3600)
