"""The workflows that every fault is tried on: small, and each of another shape. Their
activities tell the history that they have begun, and under which key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import asyncpg

from durable import (
    Compensation,
    Context,
    Retry,
    State,
    Stream,
    activity,
    attempt,
    workflow,
)
from durable._authoring import attempts
from durable.errors import OutcomeUnknown
from tests.proof import history, visitors

QUICK = Retry(attempts=3, delay=0.01)


class Declined(Exception):
    pass


def begun(name: str) -> int:
    """Note that an attempt has begun; returns its number."""
    now, work = attempt(), attempts._current.get().__self__  # type: ignore[attr-defined]
    history.note("begin", run=now.id, name=name, op=work.command.op, claim=work.instance.claim,
                 key=now.idempotency_key, number=now.number)  # fmt: skip
    return now.number


@activity(name="canon.act", retry=Retry(attempts=50, delay=0.02, delay_max=0.2))
async def act(name: str) -> str:
    begun(name)
    await asyncio.sleep(0)
    return f"{name} done"


@activity(name="canon.act_in_thread", retry=Retry(attempts=50, delay=0.02, delay_max=0.2))
def act_in_thread(name: str) -> str:
    begun(name)
    return f"{name} done"


@activity(name="canon.shaky", retry=QUICK, raises=(Declined,))
async def shaky(name: str) -> str:
    if begun(name) == 1:
        raise ConnectionError("once more")
    raise Declined(name)


@activity(name="canon.fails", retry=Retry(attempts=1), record_start=False)
async def fails(name: str) -> str:
    begun(name)
    raise ConnectionError("no")


@activity(name="canon.recorded", retry=QUICK, record_start=True)
async def recorded(name: str) -> str:
    begun(name)
    return name


@activity(name="canon.slow")
async def slow(name: str) -> None:
    begun(name)
    await asyncio.sleep(30)


@activity(name="canon.after_failure", retry=Retry(attempts=50, delay=0.02, delay_max=0.2))
async def after_failure(name: str) -> str:
    begun(name)
    return name


async def book(conn: asyncpg.Connection, run: str, name: str) -> int:
    await conn.execute("insert into audit.booking (run, name) values ($1, $2)", run, name)
    count = await conn.fetchval("select count(*) from audit.booking where run = $1", run)
    return int(count)


@workflow(name="canon.steps")
async def steps(ctx: Context) -> list[str]:
    return [await ctx.activity(act, "same") for _ in range(2)] + [await ctx.activity(act, "last")]


@workflow(name="canon.gathered")
async def gathered(ctx: Context) -> list[str]:
    return await asyncio.gather(*(ctx.activity(act, name) for name in "abc"))


@workflow(name="canon.parked")
async def parked(ctx: Context) -> str:
    await ctx.activity(act, "before")
    await ctx.sleep(0.3)  # long enough to be put away: see `worker.QUICKER`
    return await ctx.activity(act, "after")


@workflow(name="canon.booked")
async def booked(ctx: Context) -> list[object]:
    first = await ctx.activity(act, "before")
    return [first, await ctx.transaction(book, ctx.id, "x"), await ctx.activity(act, "after")]


@workflow(name="canon.retried")
async def retried(ctx: Context) -> str:
    try:
        return await ctx.activity(shaky, "card")
    except Declined as error:
        return await ctx.activity(act, f"told {error}")


@workflow(name="canon.cancelled")
async def cancelled(ctx: Context) -> None:
    try:
        await ctx.activity(act, "before")
        await ctx.sleep(3600)
    finally:
        await ctx.activity(act, "clean-up")


@workflow(name="canon.terminated")
async def terminated(ctx: Context) -> None:
    try:
        await ctx.activity(act, "before")
        await ctx.sleep(3600)
    except asyncio.CancelledError:
        await ctx.activity(act, "never")


@workflow(name="canon.held")
async def held(ctx: Context) -> str:
    await ctx.activity(act, "before")
    await ctx.sleep(0.3)
    return await ctx.activity(act, "after")


@workflow(name="canon.timed")
async def timed(ctx: Context) -> str:
    try:
        async with asyncio.timeout(0.2):
            await ctx.activity(slow, "slow")
    except TimeoutError:
        return await ctx.activity(act, "instead")
    return "never"


@workflow(name="canon.raced")
async def raced(ctx: Context) -> str:
    racers: list[asyncio.Future[Any]] = [asyncio.ensure_future(ctx.activity(act, "quick")),
              asyncio.ensure_future(ctx.activity(slow, "slow"))]  # fmt: skip
    done, late = await asyncio.wait(racers, return_when=asyncio.FIRST_COMPLETED)
    for each in late:
        each.cancel()
    return str(await ctx.activity(act, str(done.pop().result())))


@workflow(name="canon.compensated")
async def compensated(ctx: Context) -> str:
    async with Compensation() as undo:
        await ctx.activity(act, "charge")
        undo.push_async_callback(ctx.activity, act, "refund")
        await ctx.activity(fails, "ship")
    return "never"


@workflow(name="canon.reopened")
async def reopened(ctx: Context) -> str:
    await ctx.activity(act, "before")
    await ctx.activity(fails, "always")
    return "never"


@workflow(name="canon.recorded_start")
async def recorded_start(ctx: Context) -> str:
    first = await ctx.activity(act, "before")
    try:
        return first + await ctx.activity(recorded, "noted")
    except OutcomeUnknown:  # its worker was lost in between: it must not begin again
        return first + "unknown"


@workflow(name="canon.booked_twice")
async def booked_twice(ctx: Context) -> list[int]:
    return sorted(await asyncio.gather(ctx.transaction(book, ctx.id, "x"),
                                       ctx.transaction(book, ctx.id, "y")))  # fmt: skip


@workflow(name="canon.overdue")
async def overdue(ctx: Context) -> None:
    try:
        await ctx.sleep(3600)
    finally:
        await ctx.transaction(book, ctx.id, "given up")


@workflow(name="canon.in_threads")
async def in_threads(ctx: Context) -> list[str]:
    return await asyncio.gather(*(ctx.activity(act_in_thread, name) for name in "ab"))


@workflow(name="canon.by_chance")
async def by_chance(ctx: Context) -> tuple[float, str]:
    chance = ctx.random.random()
    return chance, await ctx.activity(act, str(ctx.uuid4()))


said, stands = Stream[str]("canon.said"), State[int]("canon.stands")


@activity(name="canon.speaks", retry=Retry(attempts=50, delay=0.02, delay_max=0.2))
async def speaks(name: str) -> str:
    number = begun(name)
    for n in range(3):
        attempt().publish(said, f"{name} {n}")
        await asyncio.sleep(0)
    if number == 1:
        raise ConnectionError("once more")
    return f"{name} said"


@workflow(name="canon.shown")
async def shown(ctx: Context) -> str:
    for n in range(3):
        ctx.publish(said, f"begin {n}")
        ctx.set(stands, n)
        await ctx.activity(act, str(n))
        ctx.publish(said, f"end {n}")
    spoken = await ctx.activity(speaks, "words")
    ctx.publish(said, spoken)
    return spoken


@workflow(name="canon.promised")
async def promised(ctx: Context) -> str:
    answer = ctx.promise(str)
    await ctx.activity(act, answer.token)
    return await ctx.activity(act, await answer)


@workflow(name="canon.part")
async def part(ctx: Context, name: str) -> str:
    return await ctx.activity(act, name)


@workflow(name="canon.endless_part")
async def endless_part(ctx: Context) -> None:
    try:
        await ctx.sleep(3600)
    finally:
        await ctx.activity(act, "part cleans up")


@workflow(name="canon.family")
async def family(ctx: Context) -> list[str]:
    done = await asyncio.gather(*(ctx.child(part, name) for name in "ab"))
    with suppress(TimeoutError):
        async with asyncio.timeout(0.2):
            await ctx.child(endless_part)
    return [*done, await ctx.activity(act, "after them")]


@workflow(name="canon.continued")
async def continued(ctx: Context, left: int = 2) -> int:
    """Three runs of one id: what activities do is counted by ids, so there are none."""
    ctx.set(stands, left)
    await ctx.sleep(0.02)
    if left:
        ctx.continue_as_new(left - 1)
    return left


@activity(name="canon.labour", retry=Retry(attempts=50, delay=0.02, delay_max=0.2))
async def labour(name: str) -> str:
    begun(name)
    await asyncio.sleep(0.15)
    return f"{name} done"


@workflow(name="canon.laborious")
async def laborious(ctx: Context) -> list[str]:
    done = []
    for n in range(12):
        done += await asyncio.gather(*(ctx.activity(labour, f"{n}{each}") for each in "ab"))
        if n % 4 == 3:
            await ctx.sleep(0.1)
    return done


@workflow(name="canon.ticking")
async def ticking(ctx: Context) -> int:
    """Commits all the time, and does nothing that an audit counts by id."""
    for _ in range(40):
        await ctx.sleep(0.02)
    return 40


@dataclass(frozen=True)
class Case:
    """A workflow, how it ends, and what a client does meanwhile."""

    workflow: Callable[..., Any]
    status: str = "completed"
    meanwhile: visitors.Meanwhile | None = None
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        return self.workflow.__name__


FIRST_SIX = (
    Case(steps),
    Case(gathered),
    Case(parked),
    Case(booked),
    Case(retried),
    Case(cancelled, "cancelled", visitors.cancel),
)
CASES = (
    *FIRST_SIX,
    Case(terminated, "terminated", visitors.terminate),
    Case(held, meanwhile=visitors.hold),
    Case(timed),
    Case(raced),
    Case(compensated, "failed"),
    Case(reopened, "failed", visitors.retry),
    Case(recorded_start),
    Case(booked_twice),
    Case(overdue, "cancelled", options=(("deadline", 0.3),)),
    Case(in_threads),
    Case(by_chance),
    Case(shown),
    Case(promised, meanwhile=visitors.answer),
    Case(family),
    Case(continued),
)

# Too many round trips to try each, and the more for chaos.
LABORIOUS = Case(laborious)
