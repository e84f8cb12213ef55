"""Retry: nothing is deleted, no number is used for two things."""

from __future__ import annotations

from uuid import UUID

import pytest

from durable._store.protocol import Advance, Effects, JournalRow, Verdict

from .stage import Stage, completed, failed, row, turn


async def failed_run(stage: Stage, worker: UUID, *, failed_at: int | None, length: int) -> int:
    """A run with ``length`` events whose last turn closed it as failed."""
    (run,) = await stage.born(worker, "a")
    sent = turn(run, 1, rows=length - 1, close=failed(failed_at, next_op=7))
    assert await stage.commit(worker, sent) == [Verdict.DONE]
    return run


async def last_row(stage: Stage, run: int) -> tuple[JournalRow, int]:
    row = (await stage.store.journal.read([(run, 0)]))[-1]
    return row, await stage.voids(run, row.position)


async def test_a_failure_at_the_end_is_voided(stage: Stage) -> None:
    worker = await stage.worker()
    run = await failed_run(stage, worker, failed_at=3, length=4)

    assert await stage.store.runs.retry("a") is None

    voided, voids = await last_row(stage, run)
    assert (voided.position, voided.kind, voided.name, voided.op) == (4, "voided", None, 7)
    assert voids == 3
    (outcome,) = await stage.store.runs.outcomes([run])
    assert (outcome.status, outcome.failure) == ("pending", None)
    (claim,) = await stage.store.runs.claim(worker, limit=1)
    assert await stage.commit(worker, turn(run, 5, claim=claim.claim)) == [Verdict.DONE]


async def test_where_the_code_raised_the_last_event_is_to_be_fed_again(stage: Stage) -> None:
    worker = await stage.worker()
    run = await failed_run(stage, worker, failed_at=None, length=3)

    assert await stage.store.runs.retry("a") is None

    voided, voids = await last_row(stage, run)
    assert (voided.position, voided.name, voided.op, voids) == (3, "redo", 7, 2)


async def test_a_failure_that_was_handled_is_not_voided(stage: Stage) -> None:
    worker = await stage.worker()
    run = await failed_run(stage, worker, failed_at=2, length=5)

    refusal = await stage.store.runs.retry("a")

    assert refusal is not None
    assert "position 2" in refusal
    assert "Fork" in refusal
    assert (await stage.run(run))["status"] == "failed"
    assert "voided" not in await stage.kinds(run)


async def test_a_retry_of_a_retry_voids_the_new_failure(stage: Stage) -> None:
    worker = await stage.worker()
    run = await failed_run(stage, worker, failed_at=2, length=3)
    await stage.store.runs.retry("a")  # voids 2 with 3
    (claim,) = await stage.store.runs.claim(worker, limit=1)
    again = Advance(
        run, claim.claim, [row(run, 4, op=2)], effects=Effects(close=failed(4, next_op=8))
    )
    assert await stage.commit(worker, again) == [Verdict.DONE]

    assert await stage.store.runs.retry("a") is None

    voided, voids = await last_row(stage, run)
    assert (voided.position, voided.op, voids) == (5, 8, 4)


async def test_voided_rows_at_the_end_are_not_events(stage: Stage) -> None:
    """The code raises before it does anything more: the event before the pair is the last."""
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    rows = [row(run, 1), row(run, 2)]
    await stage.commit(worker, Advance(run, 1, rows, effects=Effects(close=failed(2))))
    await stage.store.runs.retry("a")  # voids 2 with 3
    (claim,) = await stage.store.runs.claim(worker, limit=1)
    park = await stage.store.runs.set_stuck(worker, run, claim.claim, report="r", build="1")
    assert park
    # Closed as failed without another event: by hand, as an operator's script might.
    await stage.observer.execute(
        "update durable.run set status = 'failed', closed_at = now(), due_at = null "
        "where run = $1", run)  # fmt: skip
    await stage.observer.execute(
        "insert into durable.result (run, failure, failed_at, next_op) values ($1, 'x', null, 9)",
        run,
    )

    assert await stage.store.runs.retry("a") is None

    voided, voids = await last_row(stage, run)
    assert (voided.position, voided.name, voids) == (4, "redo", 1)


async def test_a_delayed_duplicate_of_the_failure_changes_nothing(stage: Stage) -> None:
    """Had the failure been deleted, its position would be free for it."""
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    sent = turn(run, 1, close=failed(1))
    await stage.commit(worker, sent)
    await stage.store.runs.retry("a")

    assert await stage.commit(worker, sent) == [Verdict.DONE]  # it was written, long ago

    assert await stage.kinds(run) == ["started", "activity", "voided"]
    assert (await stage.run(run))["status"] == "pending"


async def test_a_stuck_run_is_made_due(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    await stage.store.runs.set_stuck(worker, run, 1, report="diverged", build="1")

    assert await stage.store.runs.retry("a") is None

    assert await stage.kinds(run) == ["started"]
    assert len(await stage.store.runs.claim(worker, limit=1)) == 1


@pytest.mark.parametrize("status", ["running", "completed"])
async def test_others_are_refused_in_words(stage: Stage, status: str) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    if status == "completed":
        await stage.commit(worker, turn(run, 1, close=completed()))

    refusal = await stage.store.runs.retry("a")

    assert refusal is not None
    assert status in refusal
    assert await stage.store.runs.retry("nobody") == "absent"


async def test_messages_that_came_before_the_failure_are_still_there(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    await stage.send("a", "k")
    await stage.commit(worker, turn(run, 1, close=failed(1)))

    await stage.store.runs.retry("a")

    assert [each.seq for each in await stage.store.inbox.read([(run, 0)])] == [1]
