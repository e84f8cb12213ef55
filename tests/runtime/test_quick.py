"""Many first attempts in one task: nothing of one may reach another."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

from durable import Context, Durable, activity, attempt, workflow
from durable._runtime.quick import AWAITS_AGAIN, Quick

bound: ContextVar[str] = ContextVar("bound", default="nothing")


@activity
async def binds(name: str) -> str:
    before = bound.get()
    bound.set(name)
    return before


@activity
async def binds_and_waits(name: str) -> str:
    before = bound.get()
    bound.set(name)
    await asyncio.sleep(0)
    key = attempt().idempotency_key
    await asyncio.sleep(0.001)
    assert bound.get() == name
    assert attempt().idempotency_key == key
    return before


@activity
async def cancels_its_own_task(name: str) -> str:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    return "nothing"


@activity
async def waits_in_vain(name: str) -> str:
    try:
        async with asyncio.timeout(0.001):
            await asyncio.Event().wait()
    except TimeoutError:
        return "nothing"
    return "it came"


@activity(raises=(ValueError,))
async def raises_after_a_wait(name: str) -> str:
    await asyncio.sleep(0)
    raise ValueError(name)


@workflow
async def mixes(ctx: Context, times: int) -> list[str]:
    kinds = (binds, binds_and_waits, cancels_its_own_task, waits_in_vain)
    return await asyncio.gather(
        *(ctx.activity(kinds[n % len(kinds)], f"n{n}") for n in range(times))
    )


@workflow
async def mixes_with_failures(ctx: Context, times: int) -> list[str]:
    answers = await asyncio.gather(
        *(ctx.activity(raises_after_a_wait if n % 3 else binds, f"n{n}") for n in range(times)),
        return_exceptions=True,
    )
    assert [isinstance(each, ValueError) for each in answers] == [n % 3 > 0 for n in range(times)]
    return [each for each in answers if isinstance(each, str)]


@workflow
async def gives_up(ctx: Context, times: int) -> str:
    asked = [ctx.activity(waits_in_vain, f"g{n}") for n in range(times)]
    first = ctx.activity(binds, "first")
    answer = await first
    for each in asked:
        each.cancel()
    return answer


async def test_each_has_its_own_context_and_cancels_nobody_else(dsn: str) -> None:
    async with Durable(dsn, serve=[mixes, mixes_with_failures], activities_max=1_000) as app:
        runs = await asyncio.gather(*(app.run(mixes, 40) for _ in range(5)))
        runs += await asyncio.gather(*(app.run(mixes_with_failures, 30) for _ in range(5)))
        assert app.health().activities == 0
    assert {answer for run in runs for answer in run} == {"nothing"}


async def test_what_nobody_waits_for_any_more_gives_its_slot_back(dsn: str) -> None:
    async with Durable(dsn, serve=[gives_up, mixes], activities_max=30) as app:
        for _ in range(5):
            assert await app.run(gives_up, 20) == "nothing"
        assert set(await app.run(mixes, 30)) == {"nothing"}


async def test_a_drain_waits_for_those_that_have_not_begun(dsn: str) -> None:
    async with Durable(dsn, serve=[mixes]) as app:
        handle = await app.start(mixes, 100)
    async with Durable(dsn, serve=[mixes]) as app:
        assert len(await app.handle(handle.id, mixes).result()) == 100


async def test_what_has_awaited_gets_tasks_of_its_own_from_then_on() -> None:
    """All of them begin in one round of the loop, and none whom nobody waits for any more."""
    began: list[Any] = []
    skipped: list[Any] = []

    async def run(work: Any) -> None:
        began.append(work)
        await asyncio.sleep(0)

    quick = Quick(run, may_begin=lambda: None, skip=skipped.append)
    first, *others = [Waiting() for _ in range(AWAITS_AGAIN + 1)]
    quick.add(first)  # type: ignore[arg-type]
    await asyncio.sleep(0)
    for each in others:
        quick.add(each)  # type: ignore[arg-type]
    others[0].abandoned = True
    await quick.begun()
    assert began == [first, *others[1:]]
    assert skipped == [others[0]]
    assert others[1].task is not first.task


class Waiting:
    """As much of a work as is looked at here; all are of one activity."""

    command = SimpleNamespace(name="awaits")
    abandoned = False
    task: asyncio.Task[None] | None = None
