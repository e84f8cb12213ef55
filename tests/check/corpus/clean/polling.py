"""Waiting for somebody else: polls with back-off, deadlines, heartbeats, debouncing."""

import asyncio
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from durable import Context, Signal, activity, workflow

poke = Signal[str]("poke")
OPENING = time(8, 0)


class NotYet(Exception): ...


@activity(raises=(NotYet,))
async def is_ready(job: str) -> bool:
    return True


@activity
async def tell(text: str) -> None: ...


@workflow
async def poll(ctx: Context, job: str, every: timedelta, limit: timedelta) -> int:
    began = ctx.now()
    tries = 0
    while ctx.now() - began < limit:
        tries += 1
        try:
            if await ctx.activity(is_ready, job):
                break
        except NotYet:
            ctx.log.info("not yet")
        jitter = ctx.random.uniform(0.9, 1.1)
        await ctx.sleep(every * jitter)
    else:
        raise TimeoutError(job)
    took = (ctx.now() - began).total_seconds()
    loop = asyncio.get_running_loop()
    assert loop.time() >= began.timestamp()
    await ctx.activity(tell, f"{job} took {took:.0f} s, ended {ctx.now():%Y-%m-%d}")
    return tries


@workflow
async def poll_for_ever(ctx: Context, job: str, polls: int = 0) -> None:
    """Goes on as a new run, as pollers do that outlive their history."""
    while True:
        await ctx.activity(is_ready, job)
        await ctx.sleep(hours=1)
        polls += 1
        if polls % 100 == 0:
            ctx.continue_as_new(job, polls)


@workflow
async def poll_in_rounds(ctx: Context, job: str) -> None:
    while True:
        await ctx.activity(is_ready, job)
        await _next_round(ctx, job)


async def _next_round(ctx: Context, job: str) -> None:
    await ctx.sleep(minutes=5)
    if ctx.events > 1_000:
        ctx.continue_as_new(job)


def next_opening(now: datetime, zone: str) -> datetime:
    there = now.astimezone(ZoneInfo(zone))
    day = there.date() + timedelta(days=1)
    return datetime.combine(day, OPENING, ZoneInfo(zone))


@workflow
async def remind(ctx: Context, text: str, zone: str, at: datetime) -> None:
    await ctx.sleep_until(next_opening(ctx.now(), zone))
    await ctx.sleep_until(datetime(2030, 1, 1, tzinfo=UTC))
    await ctx.sleep_until(datetime.fromtimestamp(1_900_000_000, tz=UTC))
    await ctx.sleep_until(datetime(2030, 1, 1, 12, tzinfo=ZoneInfo(zone)) + timedelta(days=1))
    await ctx.sleep_until(at.replace(hour=9))
    await ctx.activity(tell, text)


@workflow
async def debounce(ctx: Context, quiet: float) -> list[str]:
    """Gathers pokes until none has come for a while."""
    texts = [await ctx.receive(poke)]
    while True:
        try:
            async with asyncio.timeout(quiet):
                texts.append(await ctx.receive(poke))
        except TimeoutError:
            return texts


@workflow
async def with_heartbeat(ctx: Context, job: str) -> bool:
    async def beat() -> None:
        while True:
            await ctx.sleep(60)
            await ctx.activity(tell, "still at it")

    beating = asyncio.create_task(beat())
    try:
        return await ctx.activity(is_ready, job)
    finally:
        beating.cancel()
