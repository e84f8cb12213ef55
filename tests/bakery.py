"""A workflow with tasks of its own, to be looked at and debugged from the command line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from durable import Context, Signal, activity, workflow

order = Signal[str]("bakery/order")


@activity(name="bakery/knead")
async def knead(what: str) -> str:
    return f"dough of {what}"


@activity(name="bakery/cut")
async def cut(what: str) -> str:
    return f"half a {what}"


@workflow(name="bakery/bake")
async def bake(ctx: Context, flour: str) -> list[str]:
    dough = await ctx.activity(knead, flour)
    done = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        oven = group.create_task(heat(ctx, done), name="oven")
        group.create_task(serve(ctx, dough, done), name="counter")
    return oven.result()


async def doughs(ctx: Context) -> AsyncGenerator[str, None]:
    for flour in ("rye", "oat"):
        yield await ctx.activity(knead, flour)


@asynccontextmanager
async def opened(ctx: Context) -> AsyncGenerator[None, None]:
    await ctx.receive(order)
    yield


@workflow(name="bakery/knead_all")
async def knead_all(ctx: Context) -> None:
    async for dough in doughs(ctx):
        ctx.log.info("%s", dough)
    waits = asyncio.create_task(asyncio.sleep(60), name="clock")
    queue = asyncio.Queue[str]()
    customer = asyncio.create_task(queue.get(), name="queue")
    async with opened(ctx):
        await asyncio.shield(ctx.activity(cut, "loaf"))
        await asyncio.gather(waits, ctx.sleep(60))
    customer.cancel()


async def heat(ctx: Context, done: asyncio.Event) -> list[str]:
    degrees = [0]
    while degrees[-1] < 200:
        await asyncio.sleep(3600)
        degrees.append(degrees[-1] + 100)
    await done.wait()
    return [str(each) for each in degrees]


async def serve(ctx: Context, dough: str, done: asyncio.Event) -> None:
    customer = await ctx.receive(order)
    await ctx.activity(knead, customer)
    done.set()
