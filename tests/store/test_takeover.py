"""Death and takeover, with the dead still twitching."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest

from durable._store.postgres import statements, workers
from durable._store.protocol import Unavailable, Verdict
from durable.errors import LeaseLost

from .stage import Stage, turn

RECORD = """
update durable.worker set backend_pids = array[$2::int], backend_starts = array[
    (select backend_start from pg_stat_activity where pid = $2)] where worker = $1"""


async def test_a_takeover_waits_for_a_commit_in_flight(stage: Stage) -> None:
    worker, zombie = await stage.worker(), await stage.stranger()
    (run,) = await stage.born(worker, "a")
    transaction = zombie.transaction()
    await transaction.start()
    await stage.commit_on(zombie, worker, turn(run, 1))
    taking = asyncio.create_task(stage.store.workers.take_over(worker))
    await stage.until_waiting("query like $1", "%mark_dead%", taking)

    await transaction.commit()

    assert await taking == 1
    assert await stage.kinds(run) == ["started", "activity"]
    assert (await stage.run(run))["worker"] is None


async def test_a_commit_waits_for_a_takeover_and_is_fenced(stage: Stage) -> None:
    """With a plain update as the first step it would have been written all the same."""
    worker, judge, zombie = await stage.worker(), await stage.stranger(), await stage.stranger()
    (run,) = await stage.born(worker, "a")
    transaction = judge.transaction()
    await transaction.start()
    assert await judge.fetchval("select durable.mark_dead($1, 'infinity')", worker)
    waiting = await stage.waits(zombie, stage.commit_on(zombie, worker, turn(run, 1)))

    await transaction.commit()

    with pytest.raises(asyncpg.PostgresError) as caught:
        await waiting
    assert caught.value.sqlstate == "DU001"


async def test_a_claim_in_flight_leaves_no_ghost(stage: Stage) -> None:
    """Its rows are younger than the takeover's first snapshot."""
    worker, zombie = await stage.worker(), await stage.stranger()
    run = (await stage.start("a")).run
    transaction = zombie.transaction()
    await transaction.start()
    assert len(await zombie.fetch("select run from durable.claim($1, 9, null, 1)", worker)) == 1
    taking = asyncio.create_task(stage.store.workers.take_over(worker))
    await stage.until_waiting("query like $1", "%mark_dead%", taking)

    await transaction.commit()

    assert await taking == 1
    stands = await stage.run(run)
    assert (stands["status"], stands["worker"], stands["crashes"]) == ("pending", None, 1)
    assert worker not in [each.worker for each in await stage.store.workers.suspects(uuid4())]


async def test_a_session_of_the_dead_that_holds_its_row_is_ended(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    zombie = await asyncpg.connect(stage.dsn, server_settings={"application_name": "durable:w"})
    await stage.observer.execute(RECORD, worker, zombie.get_server_pid())
    await zombie.execute("begin")
    await stage.commit_on(zombie, worker, turn(run, 1))

    assert await stage.store.workers.take_over(worker) == 1

    assert await stage.kinds(run) == ["started"]
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError)):
        await zombie.execute("commit")
    zombie.terminate()


@pytest.mark.parametrize("count", [1, 2])
async def test_a_session_that_was_opened_after_the_last_heartbeat_is_ended_too(
    stage: Stage, count: int
) -> None:
    """No heartbeat has told of it: it is found by what it holds."""
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    zombies = [
        await asyncpg.connect(stage.dsn, server_settings={"application_name": "durable:host:1"})
        for _ in range(count)
    ]
    bystander = await asyncpg.connect(
        stage.dsn, server_settings={"application_name": "durable:host:1"}
    )
    fence = statements.load("outcomes", stage.schema)["fence"]
    for each in [*zombies, bystander]:
        await each.execute("begin")
    for each in zombies:
        await each.fetchrow(fence, worker, run, 1)
    await bystander.fetchval("select pg_current_xact_id()")

    assert await stage.store.workers.take_over(worker) == 1

    for each in zombies:
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError)):
            await each.execute("commit")
        each.terminate()
    await bystander.execute("commit")
    bystander.terminate()


@pytest.mark.parametrize(
    ("application", "started"),
    [("psql", "backend_start"), ("durable:w", "now() - '1 day'::interval")],
)
async def test_a_stranger_under_a_reused_pid_is_not_ended(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, application: str, started: str
) -> None:
    monkeypatch.setattr(workers, "TRIES", 1)
    worker, stranger = await stage.worker(), await stage.stranger()
    await stranger.execute(f"set application_name = '{application}'")
    record = RECORD.replace("backend_start from", f"{started} from")
    await stage.observer.execute(record, worker, stranger.get_server_pid())
    hold = "select from durable.worker where worker = $1 for key share"

    async with stranger.transaction():
        await stranger.execute(hold, worker)
        with pytest.raises(Unavailable, match="holds the row"):
            await stage.store.workers.take_over(worker)
    assert await stage.store.workers.take_over(worker) == 0


async def test_sessions_of_the_database_that_this_one_is_a_copy_of_are_not_ended(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker that is dead here is alive there, under the very sessions that it noted."""
    monkeypatch.setattr(workers, "TRIES", 1)
    original = urlunsplit(urlsplit(stage.dsn)._replace(path="/postgres"))
    live = await asyncpg.connect(original, server_settings={"application_name": "durable:host:1"})
    worker, stranger = await stage.worker(), await stage.stranger()
    await stage.observer.execute(RECORD, worker, live.get_server_pid())

    async with stranger.transaction():
        await stranger.execute("select from durable.worker where worker = $1 for key share", worker)
        with pytest.raises(Unavailable, match="holds the row"):
            await stage.store.workers.take_over(worker)

    assert await live.fetchval("select 1") == 1
    await live.close()


async def test_takeovers_by_many_judges_hand_each_run_back_once(stage: Stage) -> None:
    worker = await stage.worker()
    await stage.born(worker, *"abcdefgh")
    stores = [await stage.another_store() for _ in range(3)]

    counts = await asyncio.gather(*(store.workers.take_over(worker) for store in stores))

    assert sum(counts) == 8
    assert await stage.store.workers.take_over(worker) == 0
    assert await stage.value("select count(*) from durable.worker") == 0


async def test_a_takeover_that_stopped_half_way_is_finished_by_the_next(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    await stage.value("select durable.mark_dead($1, 'infinity')", worker)

    (suspect,) = await stage.store.workers.suspects(await stage.worker())
    assert (suspect.worker, suspect.state) == (worker, "dead")
    assert await stage.store.workers.take_over(worker) == 1
    assert (await stage.run(run))["status"] == "pending"


async def test_runs_that_a_stranger_holds_keep_the_dead_worker_listed(stage: Stage) -> None:
    worker, stranger = await stage.worker(), await stage.stranger()
    held, free = await stage.born(worker, "a", "b")

    async with stranger.transaction():
        await stranger.execute("select from durable.run where run = $1 for update", held)
        assert await stage.store.workers.take_over(worker) == 1
        assert (await stage.run(free))["worker"] is None
        assert [each.worker for each in await stage.store.workers.suspects(uuid4())] == [worker]

    assert await stage.store.workers.take_over(worker) == 1
    assert await stage.store.workers.suspects(uuid4()) == []


async def test_a_worker_that_has_beaten_since_is_spared(stage: Stage) -> None:
    heartbeat, worker = await stage.beating()
    await stage.born(worker, "a")
    (suspect,) = await stage.store.workers.suspects(await stage.worker())
    await heartbeat.beat(worker)

    assert await stage.store.workers.take_over(worker, judged_at=suspect.beat_at) == 0
    assert (await heartbeat.beat(worker)).alive


async def test_a_beat_of_the_dead_learns_it_and_does_not_revive(stage: Stage) -> None:
    heartbeat, worker = await stage.beating()
    (run,) = await stage.born(worker, "a")
    await stage.store.workers.take_over(worker)

    assert not (await heartbeat.beat(worker)).alive
    with pytest.raises(LeaseLost):
        await stage.commit(worker, turn(run, 1))


async def test_a_heartbeat_does_not_wait_for_commits_nor_they_for_it(stage: Stage) -> None:
    heartbeat, worker = await stage.beating()
    owner = await stage.stranger()
    (run,) = await stage.born(worker, "a")

    async with owner.transaction():
        await stage.commit_on(owner, worker, turn(run, 1))
        assert (await heartbeat.beat(worker)).alive
    async with owner.transaction():
        await owner.execute("update durable.worker set beat_at = now() where worker = $1", worker)
        assert await stage.commit(worker, turn(run, 2)) == [Verdict.DONE]


async def test_a_dropped_heartbeat_connection_shows_as_a_free_lock(stage: Stage) -> None:
    heartbeat, worker = await stage.beating()
    judge = await stage.worker()
    await heartbeat.beat(worker)
    assert not (await stage.store.workers.suspects(judge))[0].lock_is_free
    assert isinstance(heartbeat, workers.Heartbeat)
    assert heartbeat._line.session is not None
    pid = heartbeat._line.session.pid
    await stage.value("select pg_terminate_backend($1)", pid)

    while not (suspect := (await stage.store.workers.suspects(judge))[0]).lock_is_free:
        continue
    assert (suspect.pid, suspect.pid_started, suspect.host) == (1, 2, "boot/1")

    with pytest.raises(Unavailable):
        await heartbeat.beat(worker)
    assert (await heartbeat.beat(worker)).alive
    assert (await heartbeat.beat(worker)).alive
    assert not (await stage.store.workers.suspects(judge))[0].lock_is_free


async def test_a_beat_tells_of_due_runs_of_mail_and_of_late_workers(stage: Stage) -> None:
    heartbeat, worker = await stage.beating()
    beat = await heartbeat.beat(worker)
    assert (beat.alive, beat.due, beat.mail, beat.suspects) == (True, False, False, False)

    await stage.start("unknown", workflow="another")
    assert not (await heartbeat.beat(worker)).due
    await stage.start("a")
    assert (await heartbeat.beat(worker)).due
    (claimed,) = await stage.store.runs.claim(worker, limit=9)
    assert not (await heartbeat.beat(worker)).due
    await stage.send("a", "k")
    assert (await heartbeat.beat(worker)).mail
    await stage.store.inbox.clear_due(worker, [(claimed.run, 1)])
    assert not (await heartbeat.beat(worker)).mail

    late = await stage.worker()
    past = beat.now - timedelta(seconds=2)
    await stage.observer.execute(
        "update durable.worker set beat_at = $2 where worker = $1", late, past
    )
    assert (await heartbeat.beat(worker)).suspects


async def test_mail_that_came_after_the_last_read_stays_news(stage: Stage) -> None:
    _, worker = await stage.beating()
    (run,) = await stage.born(worker, "a")
    await stage.send("a", "k1")
    await stage.send("a", "k2")

    await stage.store.inbox.clear_due(worker, [(run, 1)])
    assert await stage.store.inbox.mail(worker) == {run: False}
    await stage.store.inbox.clear_due(worker, [(run, 2)])
    assert await stage.store.inbox.mail(worker) == {}


async def test_an_orderly_end_leaves_no_worker_behind(stage: Stage) -> None:
    worker = await stage.worker()
    await stage.store.workers.deregister(worker)
    assert await stage.store.workers.suspects(uuid4()) == []
