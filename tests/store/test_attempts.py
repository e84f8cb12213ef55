"""Notes of activities under way: written before the journal, removed after it, never late."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from durable._store.protocol import Advance, Effects, Note, Verdict

from .stage import NOW, Stage, completed, turn


def note(op: int, attempt: int = 1, **given: Any) -> Note:
    fields = {"name": "charge", "digest": bytes(8), "since": NOW, "began_at": NOW,
              "failure": None, "next_at": None, "details": None, "nth": attempt,
              **given}  # fmt: skip
    return Note(op=op, attempt=attempt, **fields)


def noted(run: int, at: int, *notes: Note, claim: int = 1) -> Advance:
    return Advance(run, claim, [], after=b"@%d" % at, effects=Effects(notes=notes))


async def ops(stage: Stage, run: int) -> list[tuple[int, int]]:
    found = (await stage.store.journal.notes([run]))[run]
    return sorted((each.op, each.attempt) for each in found)


async def test_a_note_is_read_back_unchanged_and_replaced_by_the_next(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    later = note(3, 2, failure=b"f", next_at=NOW + timedelta(seconds=9), details=b"\x01\xc3")

    assert await stage.commit(worker, noted(run, 1, note(3), note(4))) == [Verdict.DONE]
    assert await stage.commit(worker, noted(run, 1, later)) == [Verdict.DONE]

    found = (await stage.store.journal.notes([run]))[run]
    assert sorted(found) == [later, note(4)]
    (shown,) = await stage.observer.fetch("select * from durable.running where op = 3")
    assert (shown["id"], shown["activity"], shown["attempt"]) == ("a", "charge", 2)
    assert (shown["worker"], shown["details"]) == ("host:1", "true")


async def test_the_turn_that_records_the_result_removes_the_note(stage: Stage) -> None:
    worker = await stage.worker()
    run, other = await stage.born(worker, "a", "b")
    await stage.commit(worker, noted(run, 1, note(1), note(2)), noted(other, 1, note(1)))

    await stage.commit(worker, turn(run, 1, ended=(1,)), turn(other, 1, notes=(note(7),)))
    assert (await ops(stage, run), await ops(stage, other)) == ([(2, 1)], [(1, 1), (7, 1)])

    await stage.commit(worker, turn(run, 2, ended=(2,), close=completed()))
    assert await ops(stage, run) == []


async def test_a_late_note_does_not_replace_a_newer_one_of_its_worker(stage: Stage) -> None:
    """A session that outlived its client commits what the client has long sent again."""
    worker, heir = await stage.worker(), await stage.worker()
    (run,) = await stage.born(worker, "a")
    late = noted(run, 1, note(1, 1), note(2, 1, nth=5))

    assert await stage.commit(worker, late) == [Verdict.DONE]
    assert await stage.commit(worker, noted(run, 1, note(1, 3))) == [Verdict.DONE]
    assert await stage.commit(worker, late) == [Verdict.DONE]
    assert await ops(stage, run) == [(1, 3), (2, 1)]

    await stage.store.workers.take_over(worker)
    (claimed,) = await stage.store.runs.claim(heir, limit=1)
    again = noted(run, 1, note(1, 4, nth=1), claim=claimed.claim)
    assert await stage.commit(heir, again) == [Verdict.DONE], "another process counts anew"
    assert await ops(stage, run) == [(1, 4), (2, 1)]


async def test_a_note_that_comes_after_the_result_is_not_taken(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    await stage.commit(worker, noted(run, 1, note(1)))
    await stage.commit(worker, turn(run, 1, ended=(1,)))

    assert await stage.commit(worker, noted(run, 1, note(1))) == [Verdict.LOST]
    assert await ops(stage, run) == []


async def test_a_note_of_an_older_owner_is_not_taken(stage: Stage) -> None:
    worker, other = await stage.worker(), await stage.worker()
    (run,) = await stage.born(worker, "a")

    assert await stage.commit(other, noted(run, 1, note(1))) == [Verdict.LOST]
    assert await stage.commit(worker, noted(run, 1, note(1), claim=2)) == [Verdict.LOST]
    assert await stage.commit(worker, noted(run, 2, note(1))) == [Verdict.LOST]
    assert await ops(stage, run) == []


async def test_sending_again_changes_nothing(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    await stage.commit(worker, noted(run, 1, note(1)))
    sent = turn(run, 1, notes=(note(2),), ended=(1,))

    assert await stage.commit(worker, sent) == [Verdict.DONE]
    assert await stage.commit(worker, turn(run, 2, ended=(2,))) == [Verdict.DONE]
    assert await stage.commit(worker, sent) == [Verdict.DONE]
    assert await ops(stage, run) == []


async def test_a_turn_that_is_left_out_leaves_its_notes_out(stage: Stage) -> None:
    worker = await stage.worker()
    run, other = await stage.born(worker, "a", "b")
    await stage.commit(worker, noted(run, 1, note(1)))
    stranger = await stage.stranger()
    async with stranger.transaction():
        await stranger.execute("select from durable.run where run = $1 for update", run)

        sent = turn(run, 1, notes=(note(2),), ended=(1,))
        verdicts = await stage.commit(worker, sent, noted(other, 1, note(5)))

        assert verdicts == [Verdict.LEFT_OUT, Verdict.DONE]
        assert (await ops(stage, run), await ops(stage, other)) == ([(1, 1)], [(5, 1)])
    assert await stage.commit(worker, sent, patient=True) == [Verdict.DONE]
    assert await ops(stage, run) == [(2, 1)]


async def test_a_run_that_is_closed_from_outside_keeps_none(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    await stage.commit(worker, noted(run, 1, note(1)))

    await stage.start("a", "replace")

    assert await ops(stage, run) == []
    assert await stage.commit(worker, noted(run, 1, note(1))) == [Verdict.LOST]
    assert await ops(stage, run) == []
