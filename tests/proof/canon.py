"""The workflows that every fault is tried on: small, and each of another shape. What they do is in
``acts.py``, what clients do meanwhile in ``visitors.py``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from durable import Compensation, Context, Signal, State, workflow
from durable.errors import OutcomeUnknown
from tests.proof import visitors
from tests.proof.acts import (
    Declined,
    act,
    act_in_thread,
    book,
    fails,
    labour,
    recorded,
    said,
    shaky,
    slow,
    speaks,
)


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


stands = State[int]("canon.stands")


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


@workflow(name="canon.patched")
async def patched(ctx: Context) -> list[str]:
    """Branches ask in turns of their own, one id twice, and one that is retired on the way."""

    async def branch(name: str) -> str:
        done = await ctx.activity(act, f"{name} begins")
        if ctx.patched(f"canon {name}") and ctx.patched("canon"):
            done = await ctx.activity(act, f"{name} goes the new way")
        return done

    done = await asyncio.gather(*(branch(name) for name in "ab"))
    ctx.retire_patch("canon c")
    return [*done, await ctx.activity(act, "after them")]


@workflow(name="canon.continued")
async def continued(ctx: Context, left: int = 2) -> int:
    """Three runs of one id: what activities do is counted by ids, so there are none."""
    ctx.set(stands, left)
    await ctx.sleep(0.02)
    if left:
        ctx.continue_as_new(left - 1)
    return left


@workflow(name="canon.asked")
async def asked(ctx: Context) -> int:
    total = 0

    async def put(n: int) -> int:
        nonlocal total
        total += n
        if n == 13:
            raise ValueError(n)
        await ctx.activity(act, f"put {n}")
        if n == 100:
            await ctx.sleep(3600)
        return total

    ctx.on(visitors.add, put, check=lambda n: n > 0)
    await ctx.receive(visitors.word)
    return total


@workflow(name="canon.relayed")
async def relayed(ctx: Context, heard: tuple[int, ...] = ()) -> list[int]:
    """Four runs of one id; what all but the last have not received is for the next."""
    heard = (*heard, await ctx.receive(visitors.word))
    await ctx.activity(act, f"heard {heard[-1]}")
    if len(heard) < 4:
        ctx.continue_as_new(heard)
    ctx.on(visitors.add, sum(heard).__add__)
    return list(heard)


echo = Signal[str]("canon.echo")


@workflow(name="canon.echoes")
async def echoes(ctx: Context, to: str) -> None:
    async for each in ctx.messages(echo):
        ctx.send(to, echo, each)
        if each == "c":
            return


@workflow(name="canon.corresponding")
async def corresponding(ctx: Context) -> list[str]:
    child = await ctx.start_child(echoes, ctx.id)
    ctx.send("nobody", echo, "lost")
    for each in "ab":
        child.signal(echo, each)
    heard = [await ctx.receive(echo)]
    child.signal(echo, "c")
    heard += [await ctx.receive(echo) for _ in "bc"]
    await child.result()
    child.signal(echo, "too late")
    return [*heard, await ctx.activity(act, "after it")]


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
    Case(patched),
    Case(continued),
    Case(relayed, meanwhile=visitors.relay),
    Case(asked, meanwhile=visitors.converse),
    Case(corresponding),
)

# Too many round trips to try each, and the more for chaos.
LABORIOUS = Case(laborious)
