"""Starting runs under an id, and sending to what an id names, in races."""

from __future__ import annotations

import asyncio
from typing import Literal, TypeAlias

import asyncpg
import pytest

from durable._store.protocol import Delivered, Verdict

from .stage import Stage, completed, failed, new_run, parked, turn
from .test_strangers import signal_on, start_on

Isolation: TypeAlias = Literal["repeatable_read", "serializable"]


async def closed(stage: Stage, id: str, how: str) -> int:
    worker = await stage.worker()
    (run,) = await stage.born(worker, id)
    close = completed() if how == "completed" else failed(None)
    assert await stage.commit(worker, turn(run, 1, close=close)) == [Verdict.DONE]
    return run


async def test_a_start_writes_a_run_that_is_due(stage: Stage) -> None:
    started = await stage.start("a", queue="fast", priority=2)

    stands = await stage.run(started.run)
    assert started.created
    assert (stands["status"], stands["queue"], stands["priority"]) == ("pending", "fast", 2)
    assert stands["due_at"] == stands["created_at"]
    assert len(stands["seed"]) == 16


async def test_a_start_that_the_database_refuses_costs_those_that_go_with_it_nothing(
    stage: Stage,
) -> None:
    asked = [new_run(f"run-{n}", priority=7 if n == 2 else 0) for n in range(5)]

    answers = await stage.store.runs.start_many(asked)

    assert [each is None for each in answers] == [False, False, True, False, False]
    assert await stage.value("select count(*) from durable.run") == 4


async def test_seeds_differ(stage: Stage) -> None:
    runs = [(await stage.start(id)).run for id in "abc"]
    assert len({(await stage.run(run))["seed"] for run in runs}) == 3


async def test_starting_again_finds_the_run_and_what_it_was_started_with(stage: Stage) -> None:
    first = await stage.start("a")
    second = await stage.start("a", workflow="another", input=b"\x91\x01", input_digest=b"other")
    third = await stage.start("a")

    assert (second.run, second.created) == (first.run, False)
    assert (second.workflow, second.input) == ("order", b"\x90")
    assert third.input is None, "what is the same is not sent back"


@pytest.mark.parametrize(
    ("if_exists", "stands", "new"),
    [
        ("use", "open", False), ("use", "completed", False), ("use", "failed", False),
        ("reject", "open", False), ("reject", "completed", False), ("reject", "failed", False),
        ("after_close", "open", False), ("after_close", "completed", True),
        ("after_close", "failed", True), ("after_failure", "open", False),
        ("after_failure", "completed", False), ("after_failure", "failed", True),
        ("replace", "open", True), ("replace", "completed", True), ("replace", "failed", True),
    ],
)  # fmt: skip
async def test_what_an_existing_run_means(
    stage: Stage, if_exists: str, stands: str, new: bool
) -> None:
    old = (await stage.start("a")).run if stands == "open" else await closed(stage, "a", stands)

    started = await stage.start("a", if_exists)

    assert started.created is new
    assert (started.run != old) is new
    assert await stage.store.runs.current("a") == started.run


async def test_replacing_an_open_run_terminates_it_and_keeps_its_record(stage: Stage) -> None:
    worker = await stage.worker()
    (old,) = await stage.born(worker, "a")

    new = await stage.start("a", "replace")

    assert await stage.kinds(old) == ["started", "terminated"]
    stands = await stage.run(old)
    assert (stands["status"], stands["worker"], stands["current"]) == ("terminated", None, False)
    assert (await stage.run(new.run))["previous"] == old
    (outcome,) = await stage.store.runs.outcomes([old])
    assert outcome.status == "terminated"


async def test_a_run_that_was_never_claimed_can_be_replaced(stage: Stage) -> None:
    old = await stage.start("a")
    assert (await stage.start("a", "replace")).created
    assert await stage.kinds(old.run) == ["terminated"]


@pytest.mark.parametrize("if_exists", ["use", "replace"])
async def test_of_many_racing_starts_one_at_a_time_acts(stage: Stage, if_exists: str) -> None:
    strangers = [await stage.stranger() for _ in range(8)]

    rows = await asyncio.gather(*(start_on(each, "a", if_exists) for each in strangers))

    created = [row for row in rows if row["created"]]
    assert len(created) == (1 if if_exists == "use" else 8)
    assert await stage.value("select count(*) from durable.run where id = 'a' and current") == 1
    assert {row["run"] for row in rows} == {row["run"] for row in created}


async def test_a_start_waits_for_a_racing_one_and_finds_its_run(stage: Stage) -> None:
    """`on conflict do nothing` united with a select answers with no row here."""
    first, second = await stage.stranger(), await stage.stranger()
    transaction = first.transaction()
    await transaction.start()
    created = await start_on(first, "a")
    waiting = await stage.waits(second, start_on(second, "a"))

    await transaction.commit()

    assert (await waiting)["run"] == created["run"]


async def test_a_start_that_is_rolled_back_leaves_nothing(stage: Stage) -> None:
    first, second = await stage.stranger(), await stage.stranger()
    transaction = first.transaction()
    await transaction.start()
    joined = await stage.start("a", connection=first)
    assert joined.created
    waiting = await stage.waits(second, start_on(second, "a"))

    await transaction.rollback()

    assert (await waiting)["created"]
    assert await stage.run(joined.run) is None


async def test_replacing_waits_for_the_owners_commit_in_flight(stage: Stage) -> None:
    worker, owner, other = await stage.worker(), await stage.stranger(), await stage.stranger()
    (old,) = await stage.born(worker, "a")
    transaction = owner.transaction()
    await transaction.start()
    await stage.commit_on(owner, worker, turn(old, 1))
    waiting = await stage.waits(other, start_on(other, "a", "replace"))

    await transaction.commit()

    assert (await waiting)["created"]
    assert await stage.kinds(old) == ["started", "activity", "terminated"]


async def test_replacing_a_run_that_closes_meanwhile_leaves_its_end_alone(stage: Stage) -> None:
    worker, owner, other = await stage.worker(), await stage.stranger(), await stage.stranger()
    (old,) = await stage.born(worker, "a")
    transaction = owner.transaction()
    await transaction.start()
    await stage.commit_on(owner, worker, turn(old, 1, close=completed()))
    waiting = await stage.waits(other, start_on(other, "a", "replace"))

    await transaction.commit()

    assert (await waiting)["created"]
    (outcome,) = await stage.store.runs.outcomes([old])
    assert outcome.status == "completed"


async def test_a_retry_that_races_a_new_start_keeps_one_current_run(stage: Stage) -> None:
    old = await closed(stage, "a", "failed")
    first, second = await stage.stranger(), await stage.stranger()
    transaction = first.transaction()
    await transaction.start()
    assert await first.fetchval("select durable.retry_run('a', null)") is None
    waiting = await stage.waits(second, start_on(second, "a", "after_failure"))

    await transaction.commit()

    assert not (await waiting)["created"]
    assert (await stage.run(old))["status"] == "pending"


# Sending


async def test_a_signal_makes_a_parked_run_due(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    await stage.commit(worker, turn(run, 1, park=parked()))
    assert await stage.store.runs.claim(worker, limit=1) == []

    sent = await stage.send("a", "k")

    assert (sent.run, sent.state, sent.status) == (run, "accepted", "waiting")
    assert [each.run for each in await stage.store.runs.claim(worker, limit=1)] == [run]


async def test_a_signal_is_accepted_once_per_key(stage: Stage) -> None:
    run = (await stage.start("a")).run

    assert [(await stage.send("a", "k")).state for _ in range(3)] == ["accepted"] * 3

    assert await stage.inbox(run) == [(1, "signal", "k")]


async def test_a_signal_to_a_closed_or_unknown_run_says_so(stage: Stage) -> None:
    run = await closed(stage, "a", "completed")

    assert await stage.send("a", "k") == Delivered(run, "closed", "completed")
    assert await stage.send("nobody", "k") == Delivered(None, "absent", None)


async def test_a_signal_that_races_a_replacement_reaches_the_successor(stage: Stage) -> None:
    """Joined to the row that it waited for, it would find a live id closed."""
    await stage.start("a")
    first, second = await stage.stranger(), await stage.stranger()
    transaction = first.transaction()
    await transaction.start()
    new = await start_on(first, "a", "replace")
    waiting = await stage.waits(second, signal_on(second, "a"))

    await transaction.commit()

    sent = await waiting
    assert (sent["run"], sent["state"]) == (new["run"], "accepted")


async def test_a_signal_that_races_the_close_is_accepted_before_it_or_told(stage: Stage) -> None:
    worker, owner, other = await stage.worker(), await stage.stranger(), await stage.stranger()
    (run,) = await stage.born(worker, "a")
    transaction = owner.transaction()
    await transaction.start()
    await stage.commit_on(owner, worker, turn(run, 1, close=completed()))
    waiting = await stage.waits(other, signal_on(other, "a"))

    await transaction.commit()

    assert (await waiting)["state"] == "closed"
    assert await stage.inbox(run) == []


async def test_a_signal_sent_again_finds_the_run_that_took_it(stage: Stage) -> None:
    """The answer was lost, and the id has been given to another run since."""
    old = await stage.start("a")
    await stage.send("a", "k")
    new = await stage.start("a", "replace")
    deliver = "select run, state from durable.deliver('a', 'signal', 'shipped', $1, null, true)"

    again = await stage.observer.fetchrow(deliver, "k")
    fresh = await stage.observer.fetchrow(deliver, "another")

    assert again is not None and fresh is not None
    assert tuple(again) == (old.run, "accepted")
    assert tuple(fresh) == (new.run, "accepted")
    assert await stage.inbox(new.run) == [(1, "signal", "another")]


async def test_a_signal_sent_again_is_not_taken_for_an_old_one_of_another_run(stage: Stage) -> None:
    """A sender's key may come again with each run of an id; the first try never arrived."""
    await stage.start("a")
    await stage.send("a", "k")
    await stage.observer.execute("update durable.inbox set at = at - interval '1 hour'")
    new = await stage.start("a", "replace")

    deliver = "select run, state from durable.deliver('a', 'signal', 'shipped', 'k', null, true)"
    again = await stage.observer.fetchrow(deliver)

    assert again is not None
    assert tuple(again) == (new.run, "accepted")
    assert await stage.inbox(new.run) == [(1, "signal", "k")]


async def test_signals_that_race_are_numbered_without_gaps(stage: Stage) -> None:
    run = (await stage.start("a")).run
    strangers = [await stage.stranger() for _ in range(6)]

    await asyncio.gather(*(signal_on(each, "a", f"k{n}") for n, each in enumerate(strangers)))

    assert [seq for seq, _, _ in await stage.inbox(run)] == [1, 2, 3, 4, 5, 6]


# A caller's transaction that sees the past


@pytest.mark.parametrize("isolation", ["repeatable_read", "serializable"])
async def test_a_snapshot_that_is_too_old_never_misleads(
    stage: Stage, isolation: Isolation
) -> None:
    caller = await stage.stranger()
    for call in (start_on, signal_on):
        transaction = caller.transaction(isolation=isolation)
        await transaction.start()
        await caller.fetchval("select count(*) from durable.run")
        await stage.start(f"younger-{call.__name__}")

        with pytest.raises(asyncpg.SerializationError):
            await call(caller, f"younger-{call.__name__}")
        await transaction.rollback()


async def test_in_such_a_transaction_what_can_be_seen_is_used(stage: Stage) -> None:
    caller = await stage.stranger()
    run = (await stage.start("a")).run

    async with caller.transaction(isolation="repeatable_read"):
        assert (await start_on(caller, "a"))["run"] == run
        assert (await signal_on(caller, "a"))["state"] == "accepted"
        assert (await start_on(caller, "b"))["created"]
