"""What people do to runs from outside: terminate, pause, resume."""

from __future__ import annotations

from datetime import timedelta

import pytest

from durable._store.protocol import HandBack, Letter, Verdict

from .stage import Stage, completed, failed, parked, turn

DONE, PARKED, LOST = Verdict.DONE, Verdict.PARKED, Verdict.LOST


async def test_a_terminated_run_is_closed_with_an_event_at_the_next_position(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    assert await stage.store.runs.terminate("a", "enough") is None
    assert await stage.kinds(run) == ["started", "terminated"]
    row = await stage.run(run)
    assert (row["status"], row["worker"], row["due_at"]) == ("terminated", None, None)
    (outcome,) = await stage.store.runs.outcomes([run])
    assert (outcome.status, outcome.reason) == ("terminated", "enough")


async def test_the_owner_of_a_terminated_run_has_lost_it(stage: Stage) -> None:
    worker = await stage.worker()
    terminated, other = await stage.born(worker, "a", "b")
    turns = await stage.chained(turn(terminated, 1), turn(other, 1))
    await stage.store.runs.terminate("a", None)
    assert await stage.store.journal.commit(worker, turns) == [LOST, DONE]
    assert await stage.store.runs.claims(worker, [terminated, other]) == {other: 1}
    assert await stage.store.runs.owned(worker) != []


async def test_what_is_closed_or_absent_is_not_terminated(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    await stage.commit(worker, turn(run, 1, close=completed()))
    assert await stage.store.runs.terminate("a", None) == "completed"
    assert await stage.store.runs.terminate("nobody", None) == "absent"
    assert await stage.store.runs.pause("a", True) == "completed"
    assert await stage.store.runs.pause("nobody", False) == "absent"
    assert await stage.kinds(run) == ["started", "activity"]


async def test_whoever_means_a_run_terminates_no_other_of_its_id(stage: Stage) -> None:
    first = await stage.start("a")
    await stage.start("a", "replace")
    assert await stage.store.runs.terminate("a", None, first.run) == "terminated"
    assert await stage.store.runs.pause("a", True, first.run) == "terminated"
    second = await stage.store.runs.current("a")
    assert second is not None
    assert (await stage.run(second))["status"] == "pending"


@pytest.mark.parametrize("how", ["pending", "waiting", "stuck", "paused"])
async def test_an_open_run_is_terminated_wherever_it_stands(stage: Stage, how: str) -> None:
    worker = await stage.worker()
    (run,) = [(await stage.start("a")).run] if how == "pending" else await stage.born(worker, "a")
    if how in ("waiting", "paused"):
        assert await stage.commit(worker, turn(run, 1, park=parked())) == [PARKED]
    if how == "paused":
        await stage.store.runs.pause("a", True)
    if how == "stuck":
        await stage.store.runs.set_stuck(worker, run, 1, report="no code", build="1")
    assert (await stage.run(run))["status"] == how
    assert await stage.store.runs.terminate("a", None) is None
    assert (await stage.run(run))["status"] == "terminated"


async def test_a_paused_run_is_not_claimed_and_a_resumed_one_is(stage: Stage) -> None:
    worker = await stage.worker()
    run = (await stage.start("a")).run
    assert await stage.store.runs.pause("a", True) is None
    assert await stage.store.runs.pause("a", True) is None
    assert (await stage.run(run))["status"] == "paused"
    assert await stage.store.runs.claim(worker, limit=9) == []
    assert await stage.store.runs.pause("a", False) is None
    assert await stage.store.runs.pause("a", False) is None
    assert [each.run for each in await stage.store.runs.claim(worker, limit=9)] == [run]


async def test_a_run_that_has_begun_looks_for_its_messages_when_resumed(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    assert await stage.commit(worker, turn(run, 1, park=parked())) == [PARKED]
    await stage.store.runs.pause("a", True)
    assert (await stage.send("a", "k")).state == "accepted"
    assert (await stage.run(run))["due_at"] is None
    assert await stage.store.runs.claim(worker, limit=9) == []
    await stage.store.runs.pause("a", False)
    assert [each.run for each in await stage.store.runs.claim(worker, limit=9)] == [run]
    assert [each.seq for each in await stage.store.inbox.read([(run, 0)])] == [1]


async def test_a_delayed_run_that_was_paused_keeps_its_time(stage: Stage) -> None:
    run = (await stage.start("a", begins_after=timedelta(hours=1))).run
    due_at = (await stage.run(run))["due_at"]
    await stage.store.runs.pause("a", True)
    await stage.store.runs.pause("a", False)
    row = await stage.run(run)
    assert (row["status"], row["due_at"]) == ("pending", due_at)


async def test_a_delayed_run_that_was_asked_to_cancel_is_due_when_resumed(stage: Stage) -> None:
    worker = await stage.worker()
    run = (await stage.start("a", begins_after=timedelta(hours=1))).run
    await stage.store.runs.pause("a", True)
    await stage.store.inbox.deliver("a", Letter("cancel", None, "c", None))
    assert await stage.store.runs.claim(worker, limit=9) == []
    await stage.store.runs.pause("a", False)
    assert [each.run for each in await stage.store.runs.claim(worker, limit=9)] == [run]


async def test_an_owner_hears_that_its_run_is_to_hold_and_hands_it_back(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    await stage.store.runs.pause("a", True)
    assert (await stage.run(run))["status"] == "running"
    assert await stage.store.inbox.mail(worker) == {run: True}
    await stage.store.inbox.clear_due(worker, [(run, 0)])
    assert await stage.store.inbox.mail(worker) == {run: True}, "it is heard of until it is back"
    assert await stage.commit(worker, turn(run, 1)) == [DONE]
    back = HandBack(run, 1, await stage.now(), None, None)
    assert await stage.store.runs.hand_back(worker, [back]) == [run]
    assert (await stage.run(run))["status"] == "paused"
    assert await stage.store.runs.claim(worker, limit=9) == []


async def test_a_run_that_is_to_hold_is_put_away_as_paused(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    await stage.store.runs.pause("a", True)
    away = turn(run, 1, rows=0, park=parked())
    assert await stage.commit(worker, away) == [PARKED]
    assert (await stage.run(run))["status"] == "paused"
    assert await stage.commit(worker, away) == [PARKED], "a repeated send is told the same"


async def test_a_pause_outlives_the_owner_and_a_stuck_run(stage: Stage) -> None:
    dead, worker = await stage.worker(), await stage.worker(build="2")
    run, stuck = await stage.born(dead, "a", "stuck")
    await stage.store.runs.set_stuck(dead, stuck, 1, report="no code", build="1")
    for id in ("a", "stuck"):
        await stage.store.runs.pause(id, True)
    await stage.store.workers.take_over(dead)
    assert (await stage.run(run))["status"] == "paused"
    assert (await stage.run(stuck))["status"] == "stuck"
    await stage.store.runs.sweep_unserved()
    assert (await stage.run(stuck))["status"] == "paused"
    assert await stage.store.runs.claim(worker, limit=9) == []


async def test_a_retry_is_a_resume(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    await stage.store.runs.pause("a", True)
    await stage.commit(worker, turn(run, 1, close=failed(1)))
    assert await stage.store.runs.retry("a") is None
    assert [each.run for each in await stage.store.runs.claim(worker, limit=9)] == [run]


# Two sessions


async def test_a_close_that_meets_a_terminate_waits_and_has_lost(stage: Stage) -> None:
    worker, stranger = await stage.worker(), await stage.stranger()
    (run,) = await stage.born(worker, "a")
    (closing,) = await stage.chained(turn(run, 1, close=completed()))
    async with stranger.transaction():
        await stranger.fetchval("select durable.terminate_run('a', 'enough', null)")
        assert await stage.store.journal.commit(worker, [closing]) == [Verdict.LEFT_OUT]
        waiting = stage.store.journal.commit(worker, [closing], patient=True)
        assert await waiting == [Verdict.LEFT_OUT], "half a second, then it is told so again"
    assert await stage.store.journal.commit(worker, [closing], patient=True) == [LOST]
    assert (await stage.run(run))["status"] == "terminated"
    assert await stage.kinds(run) == ["started", "terminated"]


async def test_a_terminate_that_meets_a_close_waits_and_comes_too_late(stage: Stage) -> None:
    worker, stranger, other = await stage.worker(), await stage.stranger(), await stage.stranger()
    (run,) = await stage.born(worker, "a")
    transaction = stranger.transaction()
    await transaction.start()
    await stage.commit_on(stranger, worker, turn(run, 1, close=completed()))
    late = await stage.waits(other, other.fetchval("select durable.terminate_run('a', '', null)"))
    await transaction.commit()
    assert await late == "completed"
    assert await stage.kinds(run) == ["started", "activity"]


async def test_a_step_that_meets_a_terminate_is_nothing_or_comes_before(stage: Stage) -> None:
    worker, stranger, other = await stage.worker(), await stage.stranger(), await stage.stranger()
    (run,) = await stage.born(worker, "a")
    transaction = stranger.transaction()
    await transaction.start()
    await stage.commit_on(stranger, worker, turn(run, 1))
    after = await stage.waits(other, other.fetchval("select durable.terminate_run('a', '', null)"))
    await transaction.commit()
    assert await after is None
    assert await stage.kinds(run) == ["started", "activity", "terminated"]


@pytest.mark.parametrize("cancel_first", [True, False])
async def test_a_cancel_that_meets_a_completion_is_kept_or_told(
    stage: Stage, cancel_first: bool
) -> None:
    """Whichever commits first: the run has completed. A cancel was accepted before, or told that
    the run is closed; never neither."""
    worker, stranger, other = await stage.worker(), await stage.stranger(), await stage.stranger()
    (run,) = await stage.born(worker, "a")
    cancel = "select state from durable.deliver('a', 'cancel', null, 'c', null, false)"
    (closing,) = await stage.chained(turn(run, 1, close=completed()))
    transaction = stranger.transaction()
    await transaction.start()
    if cancel_first:
        assert await stranger.fetchval(cancel) == "accepted"
        assert await stage.store.journal.commit(worker, [closing]) == [Verdict.LEFT_OUT]
        await transaction.commit()
        assert await stage.store.journal.commit(worker, [closing]) == [DONE]
        assert await stage.inbox(run) == [(1, "cancel", "c")]
    else:
        await stage.commit_on(stranger, worker, closing)
        late = await stage.waits(other, other.fetchval(cancel))
        await transaction.commit()
        assert await late == "closed"
    assert (await stage.run(run))["status"] == "completed"


async def test_a_pause_that_meets_a_park_is_not_lost(stage: Stage) -> None:
    worker, stranger, other = await stage.worker(), await stage.stranger(), await stage.stranger()
    (run,) = await stage.born(worker, "a")
    transaction = stranger.transaction()
    await transaction.start()
    await stage.commit_on(stranger, worker, turn(run, 1, park=parked()))
    pausing = await stage.waits(other, other.fetchval("select durable.pause_run('a', true, null)"))
    await transaction.commit()
    assert await pausing is None
    assert (await stage.run(run))["status"] == "paused"
