"""Delays, deadlines, many starts, lists with filters and deletion, on both stores."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import pytest

from durable._store.protocol import Letter, Started, Verdict

from .stage import Stage, completed, failed, new_run, parked, turn

HOUR = timedelta(hours=1)


async def ids(stage: Stage, **filters: Any) -> list[str]:
    page = await stage.store.listing.page(filters, oldest_first=True, limit=99, beyond=None)
    return [each["id"] for each in page]


async def test_many_starts_are_answered_in_order_each_for_itself(stage: Stage) -> None:
    old = await stage.start("b", workflow="another")
    new = [new_run("a"), new_run("b", input_digest=b"other"), new_run("a"), new_run("c")]

    answers = [each for each in await stage.store.runs.start_many(new) if isinstance(each, Started)]

    assert [each.created for each in answers] == [True, False, False, True]
    assert (answers[1].run, answers[1].workflow, answers[1].input) == (old.run, "another", b"\x90")
    assert answers[2].run == answers[0].run
    assert [each.created for each in await stage.store.runs.start_many(new)
            if isinstance(each, Started)] == [True, False, False, True]  # fmt: skip


async def test_the_seed_tells_a_start_that_is_sent_again(stage: Stage) -> None:
    seed = os.urandom(16)
    first = await stage.start("a", "replace", seed=seed)
    again = await stage.start("a", "replace", seed=seed)
    other = await stage.start("a", "replace")
    assert (again.run, again.created) == (first.run, True)
    assert other.run != first.run


async def test_a_delayed_run_waits_for_its_time_and_only_a_cancel_hurries_it(stage: Stage) -> None:
    worker, now = await stage.worker(), await stage.now()
    runs = stage.store.runs
    at = await stage.start("at", begins_at=now + HOUR)
    after = await stage.start("after", begins_after=HOUR, ends_after=HOUR)
    past = await stage.start("past", begins_at=now - HOUR)

    assert [each.run for each in await runs.claim(worker, limit=9)] == [past.run]
    stands = await stage.run(after.run)
    assert stands["due_at"] - stands["created_at"] == HOUR
    assert stands["deadline"] - stands["due_at"] == HOUR
    await stage.send("at", "k")
    assert await runs.claim(worker, limit=9) == []
    await stage.store.inbox.deliver("at", Letter("cancel", None, "c", None))
    assert [each.run for each in await runs.claim(worker, limit=9)] == [at.run]


async def test_at_its_deadline_a_run_is_asked_to_cancel_once(stage: Stage) -> None:
    now = await stage.now()
    late = await stage.start("late", ends_at=now - HOUR)
    await stage.start("early", ends_at=now + HOUR)

    assert (await stage.store.runs.expire(), await stage.store.runs.expire()) == (1, 0)

    (message,) = await stage.store.inbox.read([(late.run, 0)])
    assert message.kind == "cancel"
    assert message.name is not None
    assert message.name.startswith("its deadline of ")
    assert (await stage.run(late.run))["deadline"] is None


async def test_what_is_over_stuck_or_gone_is_settled(stage: Stage) -> None:
    worker = await stage.worker()
    open_, over, stuck = await stage.born(worker, "open", "over", "stuck")
    await stage.commit(worker, turn(over, 1, close=completed()))
    await stage.store.runs.set_stuck(worker, stuck, 1, report="why", build="1")

    settled = await stage.store.runs.settled([open_, over, stuck, 10**9])

    assert sorted((each.run, each.status) for each in settled) == [
        (over, "completed"), (stuck, "stuck"), (10**9, "absent"),
    ]  # fmt: skip


async def test_lists_have_filters(stage: Stage) -> None:
    worker = await stage.worker()
    (closed,) = await stage.born(worker, "b-closed")
    await stage.commit(worker, turn(closed, 1, close=failed(1)))
    await stage.start("a", queue="fast")
    await stage.start("b%", workflow="another")
    later = await stage.now() + HOUR

    assert await ids(stage) == ["b-closed", "a", "b%"]
    assert await ids(stage, status="failed") == ["b-closed"]
    assert await ids(stage, status="pending") == ["a", "b%"]
    assert await ids(stage, queue="fast") == ["a"]
    assert await ids(stage, workflow="another") == ["b%"]
    assert await ids(stage, id_prefix="b") == ["b-closed", "b%"]
    assert await ids(stage, id_prefix="b%") == ["b%"]
    assert await ids(stage, closed_until=later) == ["b-closed"]
    assert await ids(stage, created_since=later) == []
    assert await ids(stage, created_until=later, workflow="order") == ["b-closed", "a"]


@pytest.mark.parametrize("dry_run", [True, False])
async def test_only_what_closed_long_enough_ago_is_deleted(stage: Stage, dry_run: bool) -> None:
    worker = await stage.worker()
    done, away = await stage.born(worker, "done", "away")
    await stage.commit(worker, turn(done, 1, close=completed()))
    assert await stage.commit(worker, turn(away, 1, park=parked())) == [Verdict.PARKED]
    which: dict[str, Any] = {"status": None, "workflow": None, "dry_run": dry_run}

    assert await stage.store.listing.delete(older_than=HOUR, **which) == 0
    assert (
        await stage.store.listing.delete(older_than=-HOUR, **{**which, "status": ["failed"]}) == 0
    )
    assert await stage.store.listing.delete(older_than=-HOUR, **which) == 1

    assert await ids(stage) == (["done", "away"] if dry_run else ["away"])
    assert bool(await stage.store.journal.read([(done, 0)])) is dry_run
    assert (await stage.start("done")).created is not dry_run
