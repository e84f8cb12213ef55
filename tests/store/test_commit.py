"""The commit function: what one batch does, and what it answers."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from durable._store.protocol import Advance, Effects, Unwritable, Verdict
from durable.errors import LeaseLost

from .stage import NOW, Stage, birth, completed, failed, message, parked, row, turn

DONE, PARKED, LEFT_OUT, LOST, TAKEN = (
    Verdict.DONE, Verdict.PARKED, Verdict.LEFT_OUT, Verdict.LOST, Verdict.TAKEN,
)  # fmt: skip


async def test_rows_of_many_runs_are_written_in_one_call(stage: Stage) -> None:
    worker = await stage.worker()
    runs = await stage.born(worker, "a", "b", "c")

    assert await stage.commit(worker, *(turn(run, 1, rows=3) for run in runs)) == [DONE] * 3

    history = await stage.store.journal.read([(run, 0) for run in runs])
    assert [(each.run, each.position) for each in history] == [
        (run, position) for run in runs for position in range(4)
    ]


@pytest.mark.parametrize("position", [1, 9])
async def test_a_step_reads_the_row_of_its_own_run_however_many_its_worker_has(
    stage: Stage, position: int
) -> None:
    """Also where it is lost, and where plans are made while the tables are nearly empty."""
    worker = await stage.worker()
    run, *_ = await stage.born(worker, *(str(n) for n in range(200)))
    session = await stage.stranger()

    async with session.transaction():
        answer = await stage.commit_on(session, worker, turn(run, position))
        read = await session.fetchval(
            """select seq_tup_read + idx_tup_fetch from pg_stat_xact_user_tables
            where relid = 'durable.run'::regclass"""
        )

    assert (answer["verdicts"], read) == ((None, 1) if position == 1 else (["lost"], 3))


async def test_what_was_written_is_read_back_unchanged(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    rows = [
        row(run, 1, input=b"\x00" * 70_000, result=b""),
        row(run, 2, kind="timer", op=None, name=None, input=None, result=None, seq=4, site=None,
            digest=None, failure=b"f"),
    ]  # fmt: skip

    await stage.commit(worker, Advance(run, 1, rows))

    assert await stage.store.journal.read([(run, 1)]) == rows


async def test_sending_again_after_an_unknown_commit_is_done(stage: Stage) -> None:
    worker = await stage.worker()
    run, other = await stage.born(worker, "a", "b")
    sent = turn(run, 1, rows=2, deliveries=(message(other, "k"),))

    assert await stage.commit(worker, sent) == [DONE]
    assert await stage.commit(worker, sent) == [DONE]

    assert await stage.kinds(run) == ["started", "activity", "activity"]
    assert await stage.inbox(other) == [(1, "signal", "k")]


async def test_a_resent_birth_finds_its_own_key(stage: Stage) -> None:
    worker = await stage.worker()
    (key,) = await stage.store.runs.keys(1)
    sent = turn(key, 0, birth=birth("a"))

    assert await stage.commit(worker, sent) == [DONE]
    assert await stage.commit(worker, sent) == [DONE]


async def test_a_birth_whose_id_names_another_run_is_taken(stage: Stage) -> None:
    worker = await stage.worker()
    await stage.start("a")
    first, second, third = await stage.store.runs.keys(3)

    verdicts = await stage.commit(
        worker,
        turn(first, 0, birth=birth("a")),
        turn(second, 0, birth=birth("b")),
        turn(third, 0, birth=birth("b")),
    )

    assert verdicts == [TAKEN, DONE, TAKEN]
    assert await stage.kinds(first) == []


async def test_another_row_at_the_position_means_lost(stage: Stage) -> None:
    worker = await stage.worker()
    run, other = await stage.born(worker, "a", "b")
    await stage.commit(worker, turn(run, 1))

    assert await stage.commit(worker, turn(run, 1), turn(other, 1)) == [LOST, DONE]
    assert await stage.kinds(run) == ["started", "activity"]


async def test_a_row_after_a_gap_means_lost(stage: Stage) -> None:
    """After a lossy failover the journal may end earlier than memory says."""
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")

    assert await stage.commit(worker, turn(run, 3)) == [LOST]
    assert await stage.kinds(run) == ["started"]


async def test_a_turn_that_rests_on_another_row_is_lost_though_position_and_claim_fit(
    stage: Stage,
) -> None:
    """After a failover that lost some, the same worker may get the same claim again and write
    other rows; then a turn of before comes, for the position that is free."""
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    lost = turn(run, 1)
    assert await stage.commit(worker, turn(run, 1)) == [DONE]

    late = replace(turn(run, 2), after=lost.rows[0].key)
    assert await stage.commit(worker, late) == [LOST]
    assert await stage.commit(worker, turn(run, 2)) == [DONE]
    assert await stage.commit(
        worker, Advance(run, 1, [], lost.rows[0].key, effects=Effects(park=parked()))
    ) == [LOST]


async def test_an_older_claim_or_another_owner_means_lost(stage: Stage) -> None:
    worker, other = await stage.worker(), await stage.worker()
    (run,) = await stage.born(worker, "a")

    assert await stage.commit(worker, turn(run, 1, claim=0)) == [LOST]
    assert await stage.commit(worker, turn(run, 1, claim=2)) == [LOST]
    assert await stage.commit(other, turn(run, 1)) == [LOST]


async def test_a_run_that_is_terminated_from_outside_is_lost_to_its_owner(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")

    await stage.start("a", "replace")

    assert await stage.commit(worker, turn(run, 1)) == [LOST]
    assert await stage.kinds(run) == ["started", "terminated"]


async def test_a_worker_that_was_declared_dead_is_fenced(stage: Stage) -> None:
    worker, judge = await stage.worker(), await stage.worker()
    (run,) = await stage.born(worker, "a")

    assert await stage.store.workers.take_over(worker) == 1

    with pytest.raises(LeaseLost):
        await stage.commit(worker, turn(run, 1))
    with pytest.raises(LeaseLost):
        await stage.store.runs.claim(worker, limit=1)
    assert [each.run for each in await stage.store.runs.claim(judge, limit=1)] == [run]


# Effects: the seven ways in which one statement of CTEs goes wrong


async def test_a_message_and_the_close_of_its_receiver_in_one_batch(stage: Stage) -> None:
    worker = await stage.worker()
    sender, receiver = await stage.born(worker, "a", "b")

    verdicts = await stage.commit(
        worker,
        turn(sender, 1, deliveries=(message(receiver, "k"),)),
        turn(receiver, 1, close=completed()),
    )

    assert verdicts == [DONE, DONE]
    assert await stage.inbox(receiver) == [(1, "signal", "k")]
    assert (await stage.run(receiver))["status"] == "completed"


async def test_a_message_and_the_park_of_its_receiver_in_one_batch(stage: Stage) -> None:
    worker = await stage.worker()
    sender, receiver = await stage.born(worker, "a", "b")

    verdicts = await stage.commit(
        worker,
        turn(receiver, 1, park=parked(due_at=NOW + timedelta(days=3))),
        turn(sender, 1, deliveries=(message(receiver, "k"),)),
    )

    assert verdicts == [DONE, DONE]  # not parked: it has not seen the message
    stands = await stage.run(receiver)
    assert (stands["status"], stands["worker"], stands["last_seq"]) == ("running", worker, 1)
    assert await stage.store.inbox.mail(worker) == {receiver: False}


async def test_two_messages_to_one_run_in_one_batch(stage: Stage) -> None:
    worker = await stage.worker()
    first, second, receiver = await stage.born(worker, "a", "b", "c")

    await stage.commit(
        worker,
        turn(first, 1, deliveries=(message(receiver, "k1"), message(receiver, "k2"))),
        turn(second, 1, deliveries=(message(receiver, "k3"),)),
    )

    assert [(seq, key) for seq, _, key in await stage.inbox(receiver)] == [
        (1, "k1"), (2, "k2"), (3, "k3"),
    ]  # fmt: skip
    assert (await stage.run(receiver))["last_seq"] == 3


async def test_a_run_that_is_born_and_sent_a_message_in_one_batch(stage: Stage) -> None:
    worker = await stage.worker()
    (sender,) = await stage.born(worker, "a")
    (child,) = await stage.store.runs.keys(1)

    verdicts = await stage.commit(
        worker,
        turn(sender, 1, deliveries=(message(child, "k"),)),
        turn(child, 0, birth=birth("b")),
    )

    assert verdicts == [DONE, DONE]
    assert await stage.inbox(child) == [(1, "signal", "k")]


async def test_one_key_is_accepted_once_however_often_it_is_sent(stage: Stage) -> None:
    worker = await stage.worker()
    sender, receiver = await stage.born(worker, "a", "b")

    await stage.commit(
        worker, turn(sender, 1, deliveries=(message(receiver, "k"), message(receiver, "k")))
    )
    await stage.commit(worker, turn(sender, 2, deliveries=(message(receiver, "k"),)))

    assert await stage.inbox(receiver) == [(1, "signal", "k")]


async def test_a_message_to_a_closed_run_comes_back_as_refused(stage: Stage) -> None:
    worker = await stage.worker()
    sender, closed = await stage.born(worker, "a", "b")
    await stage.commit(worker, turn(closed, 1, close=completed()))
    absent = 10**12

    sent = turn(sender, 1, deliveries=(message(closed, "k", op=5), message(absent, "k", op=6)))
    assert await stage.commit(worker, sent) == [DONE]

    answers = await stage.store.inbox.read([(sender, 0)])
    assert [(each.kind, each.name, each.op) for each in answers] == [
        ("refused", "closed", 5), ("refused", "absent", 6),
    ]  # fmt: skip
    assert await stage.inbox(closed) == []
    assert await stage.store.inbox.mail(worker) == {sender: False}


async def test_a_run_is_born_and_closed_by_one_commit(stage: Stage) -> None:
    worker = await stage.worker()
    (key,) = await stage.store.runs.keys(1)

    assert await stage.commit(worker, turn(key, 0, birth=birth("a"), close=completed())) == [DONE]
    (outcome,) = await stage.store.runs.outcomes([key])
    assert (outcome.status, outcome.result) == ("completed", b"\xc0")


async def test_a_closed_run_is_done_with_for_a_sender_that_asks_again(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    sent = turn(run, 1, close=failed(1))

    assert await stage.commit(worker, sent) == [DONE]
    assert await stage.commit(worker, sent) == [DONE]
    assert await stage.commit(worker, turn(run, 2)) == [LOST]


# Parking


async def test_a_parked_run_belongs_to_nobody(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    sent = turn(run, 1, park=parked(due_at=NOW))

    assert await stage.commit(worker, sent) == [PARKED]
    assert await stage.commit(worker, sent) == [PARKED]  # as it stands

    (claimed,) = await stage.store.runs.claim(worker, limit=1)
    assert (claimed.run, claimed.claim) == (run, 2)
    assert await stage.commit(worker, sent) == [PARKED]
    assert await stage.commit(worker, turn(run, 2)) == [LOST]  # under the old claim
    assert await stage.commit(worker, turn(run, 2, claim=2)) == [DONE]


async def test_an_advance_without_rows_only_parks(stage: Stage) -> None:
    worker = await stage.worker()
    run, other = await stage.born(worker, "a", "b")
    sent = Advance(run, 1, [], effects=Effects(park=parked()))

    assert await stage.commit(worker, sent, turn(other, 1)) == [PARKED, DONE]
    assert await stage.commit(worker, sent) == [PARKED]
    await stage.send("a", "k")
    await stage.store.runs.claim(worker, limit=1)
    assert await stage.commit(worker, sent) == [LOST]


# Values


@pytest.mark.parametrize("name", ["a\0b", "\ud800"], ids=["NUL", "surrogate"])
async def test_a_value_that_cannot_be_written_is_a_data_error(stage: Stage, name: str) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")

    with pytest.raises(Unwritable):
        await stage.commit(worker, Advance(run, 1, [row(run, 1, name=name)]))

    assert await stage.commit(worker, turn(run, 1)) == [DONE]
