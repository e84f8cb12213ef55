"""Other people's open transactions: they delay what needs their rows, and nothing else."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import asyncpg
import pytest

from durable._store.postgres import line as lines
from durable._store.postgres import statements
from durable._store.postgres.connecting import Sessions
from durable._store.postgres.journal import Journal
from durable._store.postgres.line import Line
from durable._store.protocol import HandBack, Verdict
from durable.errors import StoreUnavailable

from .stage import NOW, Stage, birth, completed, message, new_run, parked, turn

DONE, PARKED, LEFT_OUT, LOST = Verdict.DONE, Verdict.PARKED, Verdict.LEFT_OUT, Verdict.LOST

# What a batch may take although a stranger is in its way. The best of a few tries counts:
# the machine may be busy, a lock that is waited for is so each time.
BATCH_SECONDS_MAX = 0.1
TRIES = 5


async def start_on(connection: asyncpg.Connection[Any], id: str, if_exists: str = "use") -> Any:
    return await connection.fetchrow(
        statements.load("runs", "durable")["start"], *new_run(id, if_exists)
    )


async def signal_on(connection: asyncpg.Connection[Any], id: str, key: str = "k") -> Any:
    return await connection.fetchrow(
        statements.load("inbox", "durable")["deliver"],
        id,
        "signal",
        "shipped",
        key,
        None,
        None,
        False,
    )


async def test_an_idle_signal_to_a_run_does_not_hold_up_its_steps(stage: Stage) -> None:
    worker, stranger = await stage.worker(), await stage.stranger()
    (run,) = await stage.born(worker, "a")

    async with stranger.transaction():
        await signal_on(stranger, "a")
        assert await stage.commit(worker, turn(run, 1)) == [DONE]


async def test_a_park_that_races_a_signal_is_left_out_and_then_declined(stage: Stage) -> None:
    """In one statement, the park would have waited and then not seen the message."""
    worker, stranger = await stage.worker(), await stage.stranger()
    (run,) = await stage.born(worker, "a")
    sent = turn(run, 1, park=parked())

    async with stranger.transaction():
        await signal_on(stranger, "a")
        assert await stage.commit(worker, sent) == [LEFT_OUT]

    assert await stage.commit(worker, sent) == [DONE]
    assert (await stage.run(run))["worker"] == worker
    assert await stage.store.inbox.mail(worker) == {run: False}


@pytest.mark.parametrize("hold", ["signal", "replace", "row"])
async def test_no_stranger_makes_a_batch_wait(stage: Stage, hold: str) -> None:
    worker, stranger = await stage.worker(), await stage.stranger()
    held, sender, other = await stage.born(worker, "held", "sender", "other")
    took = []

    async with stranger.transaction():
        if hold == "signal":
            await signal_on(stranger, "held")
        elif hold == "replace":
            await start_on(stranger, "held", "replace")
        else:
            await stranger.execute("select from durable.run where run = $1 for update", held)
        for position in range(1, TRIES + 1):
            before = time.perf_counter()
            verdicts = await stage.commit(
                worker,
                turn(held, 1, close=completed()),
                turn(sender, 1, deliveries=(message(held, "k"),)),
                turn(other, position),
            )
            took.append(time.perf_counter() - before)
            assert verdicts == [LEFT_OUT, LEFT_OUT, DONE]

    assert min(took) < BATCH_SECONDS_MAX
    assert await stage.kinds(sender) == ["started"]


async def test_a_stranger_who_holds_an_id_holds_up_that_birth_alone(stage: Stage) -> None:
    worker, stranger = await stage.worker(), await stage.stranger()
    took = []

    async with stranger.transaction():
        await start_on(stranger, "held")
        for attempt in range(TRIES):
            first, second = await stage.store.runs.keys(2)
            before = time.perf_counter()
            verdicts = await stage.commit(
                worker,
                turn(first, 0, birth=birth("held")),
                turn(second, 0, birth=birth(f"free-{attempt}")),
            )
            took.append(time.perf_counter() - before)
            assert verdicts == [LEFT_OUT, DONE]

    assert min(took) < BATCH_SECONDS_MAX
    assert await stage.commit(worker, turn(first, 0, birth=birth("held"))) == [Verdict.TAKEN]


async def test_a_birth_whose_message_hangs_leaves_nothing_behind(stage: Stage) -> None:
    """A turn is all or nothing."""
    worker, stranger = await stage.worker(), await stage.stranger()
    (held,) = await stage.born(worker, "held")
    (key,) = await stage.store.runs.keys(1)
    sent = turn(key, 0, birth=birth("new"), deliveries=(message(held, "k"),))

    async with stranger.transaction():
        await signal_on(stranger, "held", "from the stranger")
        assert await stage.commit(worker, sent) == [LEFT_OUT]
        assert await stage.run(key) is None

    assert await stage.commit(worker, sent) == [DONE]
    assert [each for _, _, each in await stage.inbox(held)] == ["from the stranger", "k"]
    assert (await stage.run(key))["status"] == "running"


async def test_a_refusal_that_hangs_holds_up_its_sender_alone(stage: Stage) -> None:
    """The answer goes to the sender's own row, and a stranger has that one."""
    worker, stranger = await stage.worker(), await stage.stranger()
    sender, closed, other = await stage.born(worker, "sender", "closed", "other")
    await stage.commit(worker, turn(closed, 1, close=completed()))
    sent = turn(sender, 1, deliveries=(message(closed, "k", op=4),))

    async with stranger.transaction():
        await signal_on(stranger, "sender")
        assert await stage.commit(worker, sent, turn(other, 1)) == [LEFT_OUT, DONE]

    assert await stage.commit(worker, sent) == [DONE]
    assert [kind for _, kind, _ in await stage.inbox(sender)] == ["signal", "refused"]


async def test_a_turn_that_was_left_out_gets_through_by_waiting(stage: Stage) -> None:
    worker, stranger = await stage.worker(), await stage.stranger()
    (run,) = await stage.born(worker, "a")
    transaction = stranger.transaction()
    await transaction.start()
    await signal_on(stranger, "a")
    waiting = asyncio.create_task(
        stage.commit(worker, turn(run, 1, close=completed()), patient=True)
    )
    await stage.until_waiting("query like $1", "/* durable: commit%", waiting)

    await transaction.commit()

    assert await waiting == [DONE]


async def test_waiting_ends_before_postgres_looks_for_deadlocks(stage: Stage) -> None:
    worker, stranger = await stage.worker(), await stage.stranger()
    (run,) = await stage.born(worker, "a")

    async with stranger.transaction():
        await stranger.execute("select from durable.run where run = $1 for update", run)
        before = time.perf_counter()
        assert await stage.commit(worker, turn(run, 1), patient=True) == [LEFT_OUT]
        assert time.perf_counter() - before < 1.0


async def test_batches_that_park_and_signal_each_other_crosswise_never_deadlock(
    stage: Stage,
) -> None:
    first, second = await stage.worker(), await stage.worker()
    other = await stage.another_store()
    (a,), (b,) = await stage.born(first, "a"), await stage.born(second, "b")
    at = {a: 1, b: 1}
    for round_ in range(60):
        batch_a = turn(a, at[a], park=parked(seen=-1), deliveries=(message(b, f"k{round_}"),))
        batch_b = turn(b, at[b], park=parked(seen=-1), deliveries=(message(a, f"k{round_}"),))
        (one,), (two,) = await asyncio.gather(
            stage.commit(first, batch_a), other.journal.commit(second, await stage.chained(batch_b))
        )
        assert {one, two} <= {DONE, LEFT_OUT}
        at[a] += one is DONE
        at[b] += two is DONE
    assert len(await stage.inbox(a)) == at[b] - 1
    assert len(await stage.inbox(b)) == at[a] - 1
    assert at[a] > 1 and at[b] > 1


async def test_a_send_that_lives_on_behind_a_lock_does_not_fork_the_run(stage: Stage) -> None:
    """The first send hangs in its own session; the second one meets its rows."""
    worker, zombie = await stage.worker(), await stage.stranger()
    (run,) = await stage.born(worker, "a")
    sent = turn(run, 1, rows=2)
    line = Line(Sessions(stage.dsn, "patient"), lock_timeout=30)
    journal = Journal(line, line, "durable")
    transaction = zombie.transaction()
    await transaction.start()
    await stage.commit_on(zombie, worker, sent)
    again = asyncio.create_task(journal.commit(worker, await stage.chained(sent)))
    await stage.until_waiting("application_name = $1", "durable:patient", again)

    await transaction.commit()

    assert await again == [DONE]
    assert await stage.kinds(run) == ["started", "activity", "activity"]
    await line.close()


async def test_another_row_behind_a_lock_means_lost(stage: Stage) -> None:
    worker, zombie = await stage.worker(), await stage.stranger()
    (run,) = await stage.born(worker, "a")
    line = Line(Sessions(stage.dsn, "patient"), lock_timeout=30)
    journal = Journal(line, line, "durable")
    transaction = zombie.transaction()
    await transaction.start()
    await stage.commit_on(zombie, worker, turn(run, 1))
    again = asyncio.create_task(journal.commit(worker, await stage.chained(turn(run, 1))))
    await stage.until_waiting("application_name = $1", "durable:patient", again)

    await transaction.commit()

    assert await again == [LOST]
    await line.close()


async def test_claims_and_hand_backs_pass_by_what_a_stranger_holds(stage: Stage) -> None:
    worker, stranger = await stage.worker(), await stage.stranger()
    first, second = (await stage.start("a")).run, (await stage.start("b")).run
    lock = "select from durable.run where run = $1 for key share"

    async with stranger.transaction():
        await stranger.execute(lock, first)
        assert [each.run for each in await stage.store.runs.claim(worker, limit=9)] == [second]
    assert [each.run for each in await stage.store.runs.claim(worker, limit=9)] == [first]

    async with stranger.transaction():
        await stranger.execute(lock, first)
        gone = await stage.store.runs.hand_back(
            worker, [HandBack(run, 1, NOW, None, None) for run in (first, second)]
        )
    assert gone == [second]


async def test_a_caller_who_waits_for_his_own_transaction_is_told_so(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "WAIT_SECONDS", 0.2)
    stranger = await stage.stranger()

    async with stranger.transaction():
        await start_on(stranger, "a")
        with pytest.raises(StoreUnavailable, match=r"open transaction has held id 'a'"):
            await stage.start("a")
        await stage.start("b")
