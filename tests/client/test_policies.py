"""What a start does when its id names a run: every policy, by a client and by a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import asyncpg
import pytest

from durable import Client, Durable, Handle, RunCancelled, RunFailed, RunTerminated, Status
from durable._client.starting import IfExists
from durable._runtime.instance import Instance
from durable._store.protocol import Verdict
from durable.errors import RunExists

from .conftest import until
from .flows import double, fails, tidies_up, waits

Stands: TypeAlias = Literal["open", "completed", "failed", "cancelled"]

POLICIES: tuple[IfExists, ...] = ("use", "reject", "after_close", "after_failure", "replace")
NEW: set[tuple[IfExists, Stands]] = {
    ("after_close", "completed"), ("after_close", "failed"), ("after_close", "cancelled"),
    ("after_failure", "failed"), ("after_failure", "cancelled"),
    ("replace", "open"), ("replace", "completed"), ("replace", "failed"), ("replace", "cancelled"),
}  # fmt: skip


async def standing(starter: Client, stands: Stands) -> Handle[Any]:
    """A run under the id "a" that stands like this."""
    match stands:
        case "open":
            return await starter.start(waits, 1, id="a")
        case "completed":
            first: Handle[Any] = await starter.start(double, 1, id="a")
            assert await first.result() == 2
        case "failed":
            first = await starter.start(fails, 1, id="a")
            with pytest.raises(RunFailed):
                await first.result()
        case "cancelled":
            first = await starter.start(waits, 1, id="a")
            assert await first.cancel()
            with pytest.raises(RunCancelled):
                await first.result()
    return first


@pytest.mark.parametrize("stands", ["open", "completed", "failed", "cancelled"])
async def test_each_policy_does_what_it_says(starter: Client, stands: Stands) -> None:
    for policy in POLICIES:
        first = await standing(starter, stands)
        again: Any = {"completed": double, "failed": fails}.get(stands, waits)
        if policy == "use":
            assert (await starter.start(again, 1, id="a"))._run == first._run
        elif (policy, stands) in NEW:
            second = await starter.start(double, 4, id="a", if_exists=policy)
            assert await second.result() == 8
            assert second._run != first._run
            if stands == "open":
                with pytest.raises(RunTerminated):
                    await first.result()
        else:
            with pytest.raises(RunExists) as caught:
                await starter.start(again, 1, id="a", if_exists=policy)
            assert caught.value.policy == policy
        await starter.handle("a").cancel()
        await until(lambda: closed(starter))
        await starter.delete(older_than=0)


async def closed(starter: Client) -> bool:
    return await starter.handle("a").status() not in (Status.PENDING, Status.RUNNING,
                                                       Status.WAITING)  # fmt: skip


@pytest.mark.parametrize("policy", POLICIES)
async def test_starts_that_race_agree_on_one_run(starter: Client, policy: IfExists) -> None:
    starts = [starter.start(waits, 1, id="a", if_exists=policy) for _ in range(12)]

    answers = await asyncio.gather(*starts, return_exceptions=True)

    made = {each._run for each in answers if isinstance(each, Handle)}
    current = (await starter.handle("a").describe()).run
    if policy == "replace":
        assert current in made
        assert len(made) == 12
    else:
        assert made == {current}
        refused = [each for each in answers if isinstance(each, RunExists)]
        assert len(refused) == (0 if policy == "use" else 11)


async def test_a_birth_whose_id_was_taken_meanwhile_follows_the_policy(
    dsn: str, app: Durable
) -> None:
    """The id is taken after the worker has begun to bear the run: its commit says TAKEN."""
    worker = app._worker
    assert worker is not None
    bear, verdicts, taken = worker.bear, list[Verdict](), dict[str, asyncio.Task[None]]()

    async def late(instance: Instance, told: Callable[[Verdict], None]) -> None:
        def heard(born: Verdict) -> None:
            verdicts.append(born)
            told(born)

        async with Client(dsn) as other:
            await other.start("elsewhere", id=instance.id)
        bear(instance, heard)

    def bear_late(instance: Instance, told: Callable[[Verdict], None]) -> None:
        if instance.id in taken:
            bear(instance, told)
        else:
            worker.adopt(instance)
            taken[instance.id] = asyncio.create_task(late(instance, told))

    worker.bear = bear_late  # type: ignore[method-assign]
    with pytest.raises(RunExists, match=r"pending|unserved"):
        await app.start(double, 1, id="b", if_exists="reject")
    replaced = await app.start(double, 2, id="c", if_exists="replace")

    assert await replaced.result() == 4
    assert await app.run(double, 3, id="d", if_exists="replace") == 6
    assert verdicts == [Verdict.TAKEN] * 3


async def test_a_birth_by_a_worker_that_is_declared_dead_happens_once(
    app: Durable, database: asyncpg.Connection[Any]
) -> None:
    """It may have been written before the worker died: the start finds its own run again,
    under a policy that would refuse anybody else's."""
    worker = app._worker
    assert worker is not None
    bear, loop = worker.bear, asyncio.get_running_loop()

    def dies(instance: Instance, told: Callable[[Verdict], None]) -> None:
        def die() -> None:
            worker.lost(worker.registration.worker)
            told(Verdict.LOST)

        def written(_: Verdict) -> None:
            loop.call_soon(die)

        bear(instance, written)

    worker.bear = dies  # type: ignore[method-assign]
    handle = await app.start(waits, 1, id="a", if_exists="reject")
    worker.bear = bear  # type: ignore[method-assign]

    assert await database.fetchval("select count(*) from durable.run") == 1
    assert (await handle.describe()).run == handle._run
    assert await app.run(double, 1) == 2, "and the worker goes on under a new name"


async def test_a_worker_that_is_fenced_in_the_middle_of_a_birth_starts_it_once(
    app: Durable, database: asyncpg.Connection[Any]
) -> None:
    await database.execute("update durable.worker set state = 'dead'")

    handle = await app.start(double, 3, id="a", if_exists="reject")

    assert await handle.result() == 6
    assert await database.fetchval("select count(*) from durable.run") == 1


async def test_a_caller_who_is_cancelled_in_the_middle_may_repeat(
    starter: Client, database: asyncpg.Connection[Any]
) -> None:
    for pauses in range(12):
        id = f"cancelled-{pauses}"
        task = asyncio.create_task(starter.start(double, pauses, id=id))
        for _ in range(pauses):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

        assert await starter.run(double, pauses, id=id) == 2 * pauses
    assert await database.fetchval("select count(*) from durable.run") == 12


async def test_a_start_whose_answer_was_lost_finds_its_own_run(
    client: Client, database: asyncpg.Connection[Any]
) -> None:
    """The session is ended while the start waits for a lock, then again right after it."""
    fetch = client.store.runs._line.fetch  # type: ignore[attr-defined]
    lost: list[tuple[str, ...]] = []

    async def forgets(query: str, *args: Any, **given: Any) -> Any:
        rows = await fetch(query, *args, **given)
        if not lost:
            lost.append(args[0])
            await database.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where application_name = 'durable:client'"
            )
            await fetch("select 1")  # raises: the session is gone
        return rows

    client.store.runs._line.fetch = forgets  # type: ignore[attr-defined]
    handle = await client.start(waits, 1, id="a", if_exists="reject")

    assert lost == [("a",)]
    assert (await handle.describe()).run == handle._run
    assert await database.fetchval("select count(*) from durable.run") == 1


async def test_a_replaced_run_cleans_nothing_up_and_its_waiter_is_told(starter: Client) -> None:
    first = await starter.start(tidies_up, id="a")
    waiter = asyncio.create_task(first.result())

    await starter.start(double, 1, id="a", if_exists="replace")

    with pytest.raises(RunTerminated):
        await waiter
    assert (await starter.handle("a", double).result()) == 2
