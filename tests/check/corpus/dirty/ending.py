"""Cancellations that are swallowed, loops without an end."""

import asyncio
from contextlib import suppress

from durable import Context, Signal, activity, workflow
from durable.errors import Evicted

poke = Signal[str]("dirty.poke")


@activity
async def act(what: str) -> None: ...


async def carefully(ctx: Context) -> bool:
    try:
        await ctx.activity(act, "x")
        return True
    except:  # expect: DUR601
        return False


@workflow
async def swallows(ctx: Context) -> int:
    try:
        await ctx.activity(act, "x")
    except BaseException as error:  # expect: DUR601
        ctx.log.error("failed: %s", error)
    try:
        await ctx.activity(act, "x")
    except (ValueError, BaseException):  # expect: DUR601
        pass
    try:
        await ctx.sleep(1)
    except asyncio.CancelledError:
        raise
    except BaseException:
        pass
    try:
        await ctx.sleep(1)
    except Evicted:  # expect: DUR601
        pass
    with suppress(BaseException):  # expect: DUR601
        await ctx.sleep(1)
    with suppress(Exception):
        await ctx.sleep(1)
    await carefully(ctx)
    try:
        await ctx.sleep(1)
    finally:
        return 3  # expect: DUR601


@workflow
async def goes_on(ctx: Context) -> None:
    for _ in range(3):
        try:
            await ctx.activity(act, "x")
        except Exception:
            continue
    stopped = False
    while not stopped:
        try:
            await ctx.activity(act, await ctx.receive(poke))
        except asyncio.CancelledError:  # expect: DUR601
            ctx.log.info("not now")
    async with asyncio.timeout(10):
        try:
            await ctx.sleep(3600)
        except asyncio.CancelledError:  # expect: DUR601
            await ctx.activity(act, "tidy up")
    while not stopped:
        try:
            await ctx.sleep(3600)
        except asyncio.CancelledError:
            stopped = True
            break


@workflow
async def endless(ctx: Context) -> None:
    while True:  # expect: DUR602
        await ctx.sleep(days=1)
        await ctx.activity(act, "daily")


@workflow
async def endless_messages(ctx: Context) -> None:
    async for text in ctx.messages(poke):  # expect: DUR602
        await ctx.activity(act, text)


@workflow
async def ends(ctx: Context) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(3600):
            while True:
                await ctx.activity(act, "hourly")
                await ctx.sleep(60)
    while True:
        if await ctx.receive(poke) == "stop":
            break
