"""Whoever waits for one of our coroutines may be cancelled at any of its awaits. Nothing stays
behind then: no task, no connection, no lock, nothing half-written; and the next call works.

The cancel comes at the n-th wait, for n = 1, 2, ... until the call ends before it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import asyncpg
import pytest

from durable import (
    Client,
    Context,
    Durable,
    DurableError,
    Query,
    Signal,
    Start,
    State,
    Stream,
    Update,
    activity,
    workflow,
)
from durable.errors import RetryRefused
from tests.proof import checkers, evidence


@activity(name="proof.echo")
async def echo(text: str) -> str:
    return text


@workflow(name="proof.echoed")
async def echoed(ctx: Context, text: str) -> str:
    return await ctx.activity(echo, text)


@workflow(name="proof.sleeps_on")
async def sleeps_on(ctx: Context) -> None:
    await ctx.sleep(3600)


told = Signal[int]("proof.told")
add = Update[int, int]("proof.add")
sum_of = Query[int]("proof.sum_of")
stands = State[int]("proof.stands")
said = Stream[int]("proof.said")


@workflow(name="proof.talks")
async def talks(ctx: Context) -> None:
    numbers: list[int] = []

    async def put(n: int) -> int:
        numbers.append(n)
        await ctx.activity(echo, str(n))
        return n

    ctx.on(add, put)
    ctx.answer(sum_of, lambda: sum(numbers))
    ctx.set(stands, 1)
    ctx.publish(said, 1)
    async for n in ctx.messages(told):
        ctx.publish(said, n)


Call = Callable[[Any, str], Awaitable[Any]]


async def listed(app: Client, id: str) -> int:
    return len([each async for each in app.list(workflow="proof.echoed")])


async def retried(app: Client, id: str) -> None:
    with suppress(RetryRefused):
        await app.handle("done").retry()


async def first_of(items: AsyncGenerator[Any, None]) -> Any:
    try:
        return await anext(items)
    finally:
        await items.aclose()


# What a run is told, asked and made to do; `make proof` tries them.
TALK: dict[str, Call] = {
    "signal": lambda app, id: app.handle("talks").signal(told, 7),
    "update": lambda app, id: app.handle("talks").update(add, 7, key=id),
    "query": lambda app, id: app.handle("talks").query(sum_of),
    "state": lambda app, id: app.handle("talks").state(stands),
    "changes": lambda app, id: first_of(app.handle("talks").changes(stands)),
    "stream": lambda app, id: first_of(app.handle("talks").stream(said)),
    "pause and resume": lambda app, id: held(app.handle("asleep")),
    "terminate": lambda app, id: app.handle("asleep").terminate("enough"),
    "start with a message": lambda app, id: app.start(talks, id=f"talk-{id}", message=told(7)),
    "start many": lambda app, id: app.start_many([Start(echoed, "x", id=id)]),
}


async def held(handle: Any) -> None:
    try:
        await handle.pause()
    finally:
        await handle.resume()


CALLS: dict[str, Call] = {
    "start": lambda app, id: app.start(echoed, "x", id=id),
    "run": lambda app, id: app.run(echoed, "x", id=id),
    "result": lambda app, id: app.handle("done").result(),
    "cancel": lambda app, id: app.handle("asleep").cancel(),
    "retry": retried,
    "describe": lambda app, id: app.handle("done").describe(),
    "list": listed,
}


async def cancelled_at(n: int, call: Awaitable[Any]) -> bool:
    """Let the call wait n times, and cancel it there. False if it ended before."""
    task = asyncio.ensure_future(call)
    waits = 0
    before: object = None
    while not task.done():
        await asyncio.sleep(0)
        waiting = task._fut_waiter  # type: ignore[attr-defined]  # what its present wait is for
        if waiting is not None and waiting is not before:
            before, waits = waiting, waits + 1
            if waits == n:
                task.cancel()
                with suppress(asyncio.CancelledError, DurableError):
                    await task
                return True
    await task
    return False


async def left_behind(dsn: str) -> tuple[int, int]:
    """Sessions that are in a transaction, and locks of rows that nobody will give back."""
    connection = await asyncpg.connect(dsn)
    try:
        idle = "select count(*) from pg_stat_activity where state like 'idle in transaction%'"
        locks = (
            "select count(*) from pg_locks l join pg_stat_activity s using (pid) where "
            "s.datname = current_database() and l.locktype in ('transactionid', 'advisory') "
            "and not exists (select from durable.worker w where s.pid = any(w.backend_pids))"
        )
        async with asyncio.timeout(20):
            while (await connection.fetchval(idle), await connection.fetchval(locks)) != (0, 0):
                await asyncio.sleep(0.01)
        return 0, 0
    finally:
        await connection.close()


@pytest.mark.parametrize("kind", [Client, Durable])
@pytest.mark.parametrize(
    "name", [*CALLS, *(pytest.param(each, marks=pytest.mark.points) for each in TALK)]
)
async def test_a_call_that_is_cancelled_at_any_wait_leaves_nothing_behind(
    dsn: str, kind: type[Client], name: str
) -> None:
    calls = CALLS | TALK
    async with Durable(dsn, serve=[echoed, sleeps_on, talks], grace=0.1) as worker:
        await worker.run(echoed, "x", id="done")
        await worker.start(sleeps_on, id="asleep")
        await worker.start(talks, id="talks")
        app = worker if kind is Durable else Client(dsn)
        if app is not worker:
            await app.__aenter__()
        try:
            n = 1
            while await cancelled_at(n, calls[name](app, f"run-{n}")):
                n += 1
            assert n > 1
            await left_behind(dsn)
            for each in range(1, n + 1):  # the same call again finds what was begun, or begins it
                async with asyncio.timeout(20):
                    assert await app.run(echoed, "x", id=f"run-{each}") == "x"
        finally:
            if app is not worker:
                await app.__aexit__(None, None, None)
    assert checkers.check(await evidence_without_audit(dsn)) == {}


async def evidence_without_audit(dsn: str) -> evidence.Evidence:
    await evidence.install(dsn)  # only now: the writes before are none of its business
    found = await evidence.gather(dsn, None)
    found.audit = [
        {"place": "journal", "what": "insert", "run": row.run, "row": {"position": row.position,
         "kind": row.kind, "op": row.op, "failure": None}, "owner": "", "session": "", "at": 0.0}
        for journal in found.journals.values() for row in journal
    ]  # fmt: skip
    return found


@pytest.mark.parametrize("kind", [Client, Durable])
@pytest.mark.parametrize("leaving", [False, True], ids=["entering", "leaving"])
async def test_entering_and_leaving_may_be_cancelled_at_any_wait(
    dsn: str, kind: type[Client], leaving: bool
) -> None:
    tasks, n = asyncio.all_tasks(), 0
    while True:
        n += 1
        app = kind(dsn, serve=[echoed], grace=0.1) if kind is Durable else kind(dsn)
        if leaving:
            await app.__aenter__()
        went_on = await cancelled_at(n, app.__aexit__(None, None, None) if leaving
                                     else app.__aenter__())  # fmt: skip
        if not went_on and not leaving:
            await app.__aexit__(None, None, None)
        assert asyncio.all_tasks() == tasks
        assert not [each for each in threading.enumerate() if each.name == "durable heartbeat"]
        if not went_on:
            break
    assert n > 1
    connection = await asyncpg.connect(dsn)
    try:
        ours = (
            "select count(*) from pg_stat_activity where application_name like 'durable:%' "
            "and datname = current_database()"
        )
        async with asyncio.timeout(20):
            while await connection.fetchval(ours):
                await asyncio.sleep(0.01)
        assert (
            await connection.fetchval("select count(*) from durable.worker where state='live'") == 0
        )
    finally:
        await connection.close()
