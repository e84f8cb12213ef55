"""Who gets which run, and when: claims, hand-backs, poison, unserved runs."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

from durable._store.postgres import statements
from durable._store.postgres.store import Store
from durable._store.protocol import Claimed, HandBack, Verdict

from .stage import NOW, Stage, parked, turn


async def claimed(stage: Stage, worker: UUID, limit: int = 100) -> list[int]:
    return [each.run for each in await stage.store.runs.claim(worker, limit=limit)]


async def test_claims_go_by_priority_and_then_by_time(stage: Stage) -> None:
    worker = await stage.worker()
    given = [("a", 0), ("b", -2), ("c", 2), ("d", 0), ("e", 2)]
    runs = {id: (await stage.start(id, priority=priority)).run for id, priority in given}

    order = [(await claimed(stage, worker, 1))[0] for _ in given]

    assert order == [runs[id] for id in "ceadb"]


async def test_a_claim_takes_only_what_the_worker_serves(stage: Stage) -> None:
    worker = await stage.worker(workflows=["order", "refund"])
    mine = (await stage.start("a", workflow="refund")).run
    await stage.start("b", workflow="another")
    await stage.start("c", queue="another")

    assert await claimed(stage, worker) == [mine]


async def test_a_claim_leaves_what_is_not_due(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    now = await stage.now()
    await stage.commit(worker, turn(run, 1, park=parked(due_at=now + timedelta(hours=1))))

    assert await claimed(stage, worker) == []

    await stage.observer.execute("update durable.run set due_at = now() where run = $1", run)
    assert await claimed(stage, worker) == [run]


async def test_a_claim_brings_what_a_load_needs(stage: Stage) -> None:
    worker = await stage.worker()
    run = (await stage.start("a")).run

    (first,) = await stage.store.runs.claim(worker, limit=1, versions="v1")

    assert (first.run, first.id, first.workflow, first.queue) == (run, "a", "order", "default")
    assert (first.claim, first.versions, first.input, first.crashes) == (1, "v1", b"\x90", 0)
    assert first.seed == (await stage.run(run))["seed"]
    assert (first.length, first.noted, first.last_seq, list(first.messages)) == (0, False, 0, [])
    assert await stage.store.runs.owned(worker) == [Claimed(*first[:11])], "no more is known"
    started_at = (await stage.run(run))["started_at"]
    await stage.store.workers.take_over(worker)
    (second,) = await stage.store.runs.claim(await stage.worker(), limit=1, versions="v2")
    assert (second.claim, second.versions) == (2, "v1")
    assert (await stage.run(run))["started_at"] == started_at


async def test_racing_workers_share_what_is_due(stage: Stage) -> None:
    runs = {(await stage.start(f"r{number}")).run for number in range(40)}
    workers = [await stage.worker() for _ in range(4)]
    stores = [await stage.another_store() for _ in range(4)]

    answers = await asyncio.gather(
        *(store.runs.claim(worker, limit=40) for store, worker in zip(stores, workers, strict=True))
    )

    taken = [each.run for answer in answers for each in answer]
    assert len(taken) == len(set(taken))
    rest = await claimed(stage, workers[0])
    assert set(taken) | set(rest) == runs


async def test_a_claim_does_not_walk_the_future(stage: Stage) -> None:
    """Rows that are not due, however many, are not looked at."""
    await stage.observer.execute(
        """
        insert into durable.run (
            run, id, workflow, queue, priority, status, due_at, seed, created_at)
        select nextval('durable.run_key'), 'later-' || n, 'order', 'default', n % 5 - 2, 'waiting',
            now() + interval '1 day', decode(repeat('00', 16), 'hex'), now()
        from generate_series(1, 20000) n"""
    )
    worker = await stage.worker()
    run = (await stage.start("a", priority=-2)).run
    before = await stage.value("select idx_tup_read from pg_stat_user_indexes "
                               "where indexrelname = 'run_due'")  # fmt: skip

    assert await claimed(stage, worker) == [run]

    assert isinstance(stage.store, Store)
    line = stage.store._calls
    await line.fetchval("select pg_stat_force_next_flush()")
    await line.fetchval("select 1")
    after = await stage.value("select idx_tup_read from pg_stat_user_indexes "
                              "where indexrelname = 'run_due'")  # fmt: skip
    assert after - before < 50


# Giving back


async def test_a_run_is_handed_back_at_once_or_for_later(stage: Stage) -> None:
    worker = await stage.worker()
    now = await stage.now()
    due, later, idle, mail = await stage.born(worker, "due", "later", "idle", "mail")
    await stage.send("mail", "k")
    tomorrow = now + timedelta(days=1)
    runs = [(due, now), (later, tomorrow), (idle, None), (mail, tomorrow)]

    gone = await stage.store.runs.hand_back(
        worker, [HandBack(run, 1, at, "sleep", "shop.py:3") for run, at in runs]
    )

    assert sorted(gone) == sorted([due, later, idle, mail])
    stands = {run: await stage.run(run) for run, _ in runs}
    assert [stands[run]["status"] for run, _ in runs] == [
        "pending",
        "waiting",
        "waiting",
        "pending",
    ]
    assert (stands[later]["due_at"], stands[idle]["due_at"]) == (tomorrow, None)
    assert stands[later]["waits_for"] == "sleep"
    assert sorted(await claimed(stage, worker)) == sorted([due, mail])


async def test_only_the_owner_of_this_claim_hands_back(stage: Stage) -> None:
    worker, other = await stage.worker(), await stage.worker()
    (run,) = await stage.born(worker, "a")

    assert await stage.store.runs.hand_back(other, [HandBack(run, 1, NOW, None, None)]) == []
    assert await stage.store.runs.hand_back(worker, [HandBack(run, 2, NOW, None, None)]) == []
    assert (await stage.run(run))["worker"] == worker


# Poison


async def test_only_deaths_without_progress_count_against_a_run(stage: Stage) -> None:
    run = (await stage.start("a")).run
    counts = []

    async def next_claim() -> UUID:
        worker = await stage.worker()
        (claim,) = await stage.store.runs.claim(worker, limit=1)
        counts.append(claim.crashes)
        return worker

    first = await next_claim()
    await stage.store.workers.take_over(first)
    second = await next_claim()
    await stage.store.workers.take_over(second)
    third = await next_claim()
    assert counts == [0, 1, 2]

    await stage.store.runs.hand_back(third, [HandBack(run, 3, NOW, None, None)])
    fourth = await next_claim()  # an orderly hand-back tells nothing
    assert counts == [0, 1, 2, 2]

    assert await stage.commit(fourth, turn(run, 0, claim=4)) == [Verdict.DONE]
    await stage.store.workers.take_over(fourth)
    await next_claim()
    assert counts == [0, 1, 2, 2, 0]


# Unserved


async def test_due_runs_that_nobody_serves_are_set_aside_and_brought_back(stage: Stage) -> None:
    await stage.worker(workflows=["order"])
    run = (await stage.start("a", workflow="refund")).run
    other = (await stage.start("b")).run

    await stage.store.runs.sweep_unserved()
    assert (await stage.run(run))["status"] == "unserved"
    assert (await stage.run(other))["status"] == "pending"

    newcomer = await stage.worker(workflows=["refund"])
    assert await claimed(stage, newcomer) == []
    assert (await stage.store.runs.sweep_unserved()).brought_back == 1
    assert await claimed(stage, newcomer) == [run]


async def test_runs_in_a_queue_without_any_worker_are_unserved_too(stage: Stage) -> None:
    await stage.worker()
    runs = [(await stage.start(queue, queue=queue)).run for queue in ("alone", "default", "zoo")]

    await stage.store.runs.sweep_unserved()

    statuses = [(await stage.run(run))["status"] for run in runs]
    assert statuses == ["unserved", "pending", "unserved"]


async def test_a_worker_that_registers_during_the_chore_gets_its_runs_all_the_same(
    stage: Stage,
) -> None:
    """The chore's snapshot has not seen it; the next chore puts that right."""
    await stage.worker(workflows=["order"])
    run = (await stage.start("a", workflow="refund")).run
    chore = await stage.stranger()
    transaction = chore.transaction()
    await transaction.start()
    await chore.fetch(statements.load("runs", "durable")["set_unserved"])
    newcomer = await stage.worker(workflows=["refund"])
    await transaction.commit()
    assert (await stage.run(run))["status"] == "unserved"

    await stage.store.runs.sweep_unserved()

    assert await claimed(stage, newcomer) == [run]


async def test_a_signal_reaches_an_unserved_run_and_does_not_lose_its_mark(stage: Stage) -> None:
    await stage.worker(workflows=["order"])
    run = (await stage.start("a", workflow="refund")).run
    await stage.store.runs.sweep_unserved()

    assert (await stage.send("a", "k")).state == "accepted"
    assert (await stage.run(run))["status"] == "unserved"


# What a claim looks at


async def test_a_claim_meets_no_run_but_those_that_it_takes(stage: Stage) -> None:
    worker = await stage.worker()
    claim = "select run from durable.claim($1, 5, null, 1)"
    await stage.observer.fetch(claim, worker)  # by a plan that was made when there were none
    for n in range(60):
        await stage.start(f"n{n}")
    met = "select idx_tup_fetch from pg_stat_xact_user_tables where relname = 'run'"
    async with stage.observer.transaction():
        assert len(await stage.observer.fetch(claim, worker)) == 5
        assert await stage.observer.fetchval(met) <= 15


# Doubtful


async def test_doubtful_runs_are_taken_one_by_one_beside_the_others(stage: Stage) -> None:
    for n in range(4):
        await stage.start(f"n{n}")
    for _ in range(2):  # all of them die with it
        worker = await stage.worker()
        assert len(await stage.store.runs.claim(worker, limit=9)) == 4
        await stage.store.workers.take_over(worker)
    innocent = (await stage.start("innocent")).run

    first, second = await stage.worker(), await stage.worker()
    taken = await stage.store.runs.claim(first, limit=9)
    assert {each.run: each.is_doubtful for each in taken}.pop(innocent) is False
    assert [each.is_doubtful for each in taken if each.run != innocent] == [True]
    none = await stage.store.runs.claim(first, limit=9, doubtful_max=0)
    assert none == []
    more = await stage.store.runs.claim(second, limit=9, doubtful_max=2)
    assert len({each.run for each in more} - {each.run for each in taken}) == 2


async def test_a_death_counts_against_doubtful_runs_on_trial_and_again_only_alone(
    stage: Stage,
) -> None:
    runs = [(await stage.start(f"r{n}")).run for n in range(3)]
    for _ in range(2):
        worker = await stage.worker()
        await stage.store.runs.claim(worker, limit=9)
        await stage.store.workers.take_over(worker)

    async def dies_with(limit: int, *, acquitted: bool = False) -> list[int]:
        worker = await stage.worker()
        taken = await stage.store.runs.claim(worker, limit=9, doubtful_max=limit)
        if acquitted:
            await stage.store.runs.acquit(worker, [each.run for each in taken])
        await stage.store.workers.take_over(worker)
        return [(await stage.run(run))["crashes"] for run in runs]

    assert await dies_with(3, acquitted=True) == [2, 2, 2]
    assert sorted(await dies_with(2)) == [2, 3, 3]  # one of them, who knows which
    assert sorted(await dies_with(2)) == [2, 3, 4]  # so each is tried alone
    assert sorted(await dies_with(2)) == [2, 3, 5]  # the worst goes first


async def test_a_run_that_is_stuck_begins_with_fewer_doubts(stage: Stage) -> None:
    run = (await stage.start("a")).run
    for _ in range(4):
        worker = await stage.worker()
        await stage.store.runs.claim(worker, limit=9)
        await stage.store.workers.take_over(worker)
    worker = await stage.worker()
    (claim,) = await stage.store.runs.claim(worker, limit=9)
    assert claim.crashes == 4
    await stage.store.runs.set_stuck(worker, run, claim.claim, report="it kills", build="b1")
    assert (await stage.run(run))["crashes"] == 2


async def test_a_backlog_leaves_room_for_a_doubtful_run(stage: Stage) -> None:
    doubtful = (await stage.start("doubtful")).run
    for _ in range(2):
        worker = await stage.worker()
        await stage.store.runs.claim(worker, limit=9)
        await stage.store.workers.take_over(worker)
    for n in range(5):
        await stage.start(f"n{n}")
    taken = await stage.store.runs.claim(await stage.worker(), limit=2)
    assert len(taken) == 2
    assert [each.run for each in taken if each.is_doubtful] == [doubtful]
