"""Runs that leave memory and come back, while attempts at their ops are under way here."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from durable import Context, Durable, activity, attempt, workflow
from durable._runtime.claimer import Claimer
from durable._runtime.ghosts import reconcile
from durable._runtime.instance import Instance
from durable._runtime.worker import LiveWorker
from durable._store.protocol import Advance, Claimed, Verdict

from .takeovers import evict, fall_silent, until_rows, worker_of
from .test_runs import until
from .test_under_way import RUNNING, charges, door, doors, one_failure, one_wait, only_once, seen

gates: dict[str, threading.Event] = {}


@pytest.fixture
async def app(dsn: str) -> AsyncIterator[Durable]:
    for each in (seen, doors, gates):
        each.clear()
    async with Durable(dsn, grace=0.05) as app:
        yield app


def gate(name: str) -> threading.Event:
    return gates.setdefault(name, threading.Event())


@activity
def blocks_in_a_thread(name: str) -> int:
    seen.append(attempt().number)
    gate(f"{name} {len(seen)}").wait()
    seen.append("through")
    return attempt().number


@workflow
async def one_thread(ctx: Context, name: str) -> int:
    return await ctx.activity(blocks_in_a_thread, name)


async def test_an_attempt_under_way_goes_on_for_the_run_that_was_loaded_again(
    dsn: str, app: Durable
) -> None:
    handles = [await app.start(code, "w") for code in (one_wait, only_once, charges)]
    await until(lambda: len(seen) == 3)
    await evict(app)
    await evict(app)
    assert app.health().activities == 3
    for n in (1, 2, 3):
        door(f"w {n}").set()
    assert [(await each.result())[0] for each in handles] == [1, 1, 1]
    assert len(seen) == 3


async def test_a_result_that_came_while_the_run_was_nobodys_here_waits_for_it(
    dsn: str, app: Durable
) -> None:
    """As after a takeover: what may run once, and has run, is not an unknown."""
    handles = [await app.start(code, "w") for code in (one_wait, only_once)]
    await until(lambda: len(seen) == 2)
    for instance in list(worker_of(app).active.values()):
        worker_of(app).forget(instance)
    for n in (1, 2):
        door(f"w {n}").set()
    await until(lambda: app.health().activities == 0)
    await reconcile(worker_of(app))
    assert [(await each.result())[0] for each in handles] == [1, 1]
    assert len(seen) == 2


async def test_a_run_that_is_born_while_a_worker_looks_for_lost_ones_is_none(
    app: Durable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was in memory before its row was in the database, and its row is not in what was read."""
    worker = worker_of(app)
    before = await worker.store.runs.owned(worker.registration.worker)
    starting = asyncio.create_task(app.start(one_wait, "w"))
    while not worker.active:
        await asyncio.sleep(0)
    (instance,) = worker.active.values()
    assert instance.birth is not None

    async def owned(me: UUID) -> list[Any]:
        await starting
        return [*before]

    monkeypatch.setattr(worker.store.runs, "owned", owned)
    await reconcile(worker)
    assert [*worker.active.values()] == [instance]
    door("w 1").set()
    assert (await (await starting).result())[0] == 1
    assert len(seen) == 1


async def test_a_dropped_attempt_is_waited_for_before_its_op_begins_again(
    dsn: str, app: Durable
) -> None:
    """The thread cannot be stopped, and one process never runs an op twice at once."""
    handle = await app.start(one_thread, "w")
    await until(lambda: seen == [1])
    for _ in range(2):  # what waits for the thread is itself dropped
        for instance in worker_of(app).active.values():
            worker_of(app).attempts.drop_run(instance)
        await evict(app)
    await until_rows(dsn, "select from durable.runs where status = 'running'")
    assert seen == [1]
    gate("w 1").set()
    await until(lambda: len(seen) == 3)
    assert seen[1] == "through"
    gate("w 3").set()
    assert await handle.result() in (1, 2)
    await until(lambda: app.health().activities == 0)


async def test_a_run_that_is_lost_begins_nothing_more_here(
    dsn: str, app: Durable, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def pause(_: float) -> None:
        await door("pause").wait()

    monkeypatch.setattr(worker_of(app).clock, "sleep", pause)
    await app.start(one_failure, "db")
    await until_rows(dsn, RUNNING)
    await fall_silent(app)
    for instance in list(worker_of(app).active.values()):
        worker_of(app).forget(instance)
    door("pause").set()
    await until(lambda: app.health().activities == 0)
    assert len(seen) == 1


async def counts(conn: asyncpg.Connection[Any], n: int) -> int:
    return int(await conn.fetchval("select $1::bigint + 1", n))


@activity
async def one_more(n: int) -> int:
    await asyncio.sleep(0)
    return n + 1


@activity
def one_more_in_a_thread(n: int) -> int:
    return n + 1


@workflow
async def of_every_kind(ctx: Context) -> list[Any]:
    n = await ctx.activity(one_more, 0)
    both = await asyncio.gather(ctx.activity(one_more, n), ctx.transaction(counts, n))
    await ctx.sleep(0.01)
    async with asyncio.timeout(60):
        thread = await ctx.activity(one_more_in_a_thread, n)
    return [n, *both, thread]


async def test_a_run_that_leaves_memory_after_every_turn_comes_to_the_same_end(
    app: Durable, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = worker_of(app)
    written, evicted = worker._written, []

    async def load(run: int) -> None:
        me = worker.registration.worker
        owned = await worker.store.runs.owned(me)
        await worker.claimer.load(me, [each for each in owned if each.run == run])

    def then_evict(instance: Instance, advance: Advance, verdict: Verdict) -> None:
        written(instance, advance, verdict)
        if worker.active.get(instance.run) is instance:
            evicted.append(instance.position)
            worker.forget(instance)
            worker.own(load(instance.run))

    monkeypatch.setattr(worker.committer, "_on_written", then_evict)
    assert await app.run(of_every_kind) == [1, 2, 2, 2]
    assert len(evicted) >= 5


@pytest.mark.once
async def test_what_was_claimed_before_a_death_is_not_taken_up_after_it(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in (seen, doors):
        each.clear()
    async with Durable(dsn, serve=[one_wait], grace=0.01) as app:
        handle = await app.start(one_wait, "w")
        await until(lambda: len(seen) == 1)
    load, died = Claimer._load, list[UUID]()
    take_up, claims = LiveWorker.take_up, list[int]()

    async def dies(self: Claimer, me: UUID, told: dict[int, Claimed]) -> None:
        if not died:
            worker = self._worker
            died.append(worker.registration.worker)
            await worker.store.workers.take_over(died[0])
            worker.lost(died[0])
        await load(self, me, told)

    def takes_up(self: LiveWorker, instance: Instance) -> None:
        claims.append(instance.claim)
        take_up(self, instance)

    monkeypatch.setattr(Claimer, "_load", dies)
    monkeypatch.setattr(LiveWorker, "take_up", takes_up)
    async with Durable(dsn, serve=[one_wait]) as app:
        await until(lambda: len(seen) == 2)
        for n in (1, 2, 3):
            door(f"w {n}").set()
        await app.handle(handle.id, one_wait).result()
    assert claims == [3], "the second was another's by then"
