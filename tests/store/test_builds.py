"""Which builds of the code may take a run up: stuck runs, and pinned ones."""

from __future__ import annotations

from .stage import Stage
from .test_claims import claimed


async def test_a_stuck_run_waits_for_another_build(stage: Stage) -> None:
    worker = await stage.worker(build="1")
    (run,) = await stage.born(worker, "a")

    assert await stage.store.runs.set_stuck(worker, run, 1, report="diverged", build="1")
    await stage.send("a", "k")
    assert await claimed(stage, worker) == []
    (outcome,) = await stage.store.runs.outcomes([run])
    assert (outcome.status, outcome.report) == ("stuck", "diverged")

    await stage.worker(build="1")
    assert (await stage.store.runs.sweep_unserved()).brought_back == 0
    await stage.worker(build="2", workflows=["another"])
    assert (await stage.store.runs.sweep_unserved()).brought_back == 0
    fitting = await stage.worker(build="2")
    assert (await stage.store.runs.sweep_unserved()).brought_back == 1
    assert (await stage.run(run))["report"] is None
    assert await claimed(stage, fitting) == [run]


async def test_each_build_that_lives_tries_a_stuck_run_once_and_none_twice(stage: Stage) -> None:
    """As in a roll-out: what the new code has written is taken up by the old, and not fitting."""
    old, new = await stage.worker(build="old"), await stage.worker(build="new")
    (run,) = await stage.born(old, "a")

    assert await stage.store.runs.set_stuck(old, run, 1, report="diverged", build="old")
    assert (await stage.store.runs.sweep_unserved()).brought_back == 1
    assert await claimed(stage, old) == []
    assert (await stage.store.runs.sweep_unserved()) == (0, 0), "it is served"
    assert await claimed(stage, new) == [run]

    assert await stage.store.runs.set_stuck(new, run, 2, report="diverged", build="new")
    assert (await stage.store.runs.sweep_unserved()).brought_back == 0, "they do not toss it about"
    third = await stage.worker(build="third")
    assert (await stage.store.runs.sweep_unserved()).brought_back == 1
    assert await claimed(stage, old) == await claimed(stage, new) == []
    assert await claimed(stage, third) == [run]


async def test_a_run_whose_only_fitting_build_has_left_is_unserved_until_it_is_back(
    stage: Stage,
) -> None:
    old, new = await stage.worker(build="old"), await stage.worker(build="new")
    (run,) = await stage.born(old, "a")
    assert await stage.store.runs.set_stuck(old, run, 1, report="diverged", build="old")
    assert (await stage.store.runs.sweep_unserved()).brought_back == 1
    await stage.store.workers.deregister(new)

    assert (await stage.store.runs.sweep_unserved()).set_aside == 1
    assert (await stage.store.runs.sweep_unserved()) == (0, 0)
    again = await stage.worker(build="new")
    assert (await stage.store.runs.sweep_unserved()).brought_back == 1
    assert await claimed(stage, again) == [run]


async def test_a_retry_lets_every_build_try_again(stage: Stage) -> None:
    worker = await stage.worker(build="1")
    (run,) = await stage.born(worker, "a")
    assert await stage.store.runs.set_stuck(worker, run, 1, report="diverged", build="1")
    assert await stage.store.runs.retry("a") is None
    assert await claimed(stage, worker) == [run]


async def test_builds_that_have_left_are_forgotten(stage: Stage) -> None:
    first = await stage.worker(build="1")
    (run,) = await stage.born(first, "a")
    await stage.store.runs.set_stuck(first, run, 1, report="no", build="1")
    second = await stage.worker(build="2")
    await stage.store.runs.sweep_unserved()
    assert await claimed(stage, second) == [run]
    await stage.store.workers.deregister(first)
    await stage.store.runs.set_stuck(second, run, 2, report="no", build="2")
    assert await stage.value("select unfit from durable.run where run = $1", run) == ["2"]


async def test_what_ends_its_owners_is_tried_only_by_one_that_comes(stage: Stage) -> None:
    one, other = await stage.worker(build="1"), await stage.worker(build="2")
    (run,) = await stage.born(one, "a")
    await stage.observer.execute("update durable.run set crashes = 3 where run = $1", run)
    await stage.observer.execute("update durable.worker set started_at = now() - interval '1 min'")
    assert await stage.store.runs.set_stuck(one, run, 1, report="they died", build="1")
    assert (await stage.store.runs.sweep_unserved()).brought_back == 0
    assert await claimed(stage, other) == []
    await stage.worker(build="3")
    assert (await stage.store.runs.sweep_unserved()).brought_back == 1


async def test_only_the_owner_may_call_a_run_stuck(stage: Stage) -> None:
    worker, other = await stage.worker(), await stage.worker()
    (run,) = await stage.born(worker, "a")

    assert not await stage.store.runs.set_stuck(other, run, 1, report="no", build="1")
    assert not await stage.store.runs.set_stuck(worker, run, 2, report="no", build="1")
    assert (await stage.run(run))["status"] == "running"


# Pinned


async def test_a_pinned_run_is_for_workers_of_that_build_alone(stage: Stage) -> None:
    old, new = await stage.worker(build="old"), await stage.worker(build="new")
    run = (await stage.start("a", build="new")).run
    assert await claimed(stage, old) == []
    assert await claimed(stage, new) == [run]


async def test_a_pin_whose_build_is_nowhere_leaves_the_run_unserved_and_can_be_lifted(
    stage: Stage,
) -> None:
    worker = await stage.worker(build="1")
    run = (await stage.start("a")).run
    assert await stage.store.runs.pin("a", "2") is None
    assert await claimed(stage, worker) == []
    assert (await stage.store.runs.sweep_unserved()).set_aside == 1
    assert await stage.store.runs.pin("a", None) is None
    assert (await stage.store.runs.sweep_unserved()).brought_back == 1
    assert await claimed(stage, worker) == [run]
    assert await stage.store.runs.pin("nobody", "2") == "absent"
    await stage.store.runs.terminate("a", None)
    assert await stage.store.runs.pin("a", "2") == "terminated"


async def test_runs_are_pinned_from_sql_too(stage: Stage) -> None:
    old, new = await stage.worker(build="old"), await stage.worker(build="new")
    await stage.value("select durable.start('order', id => 'a', build => 'new')")
    assert await claimed(stage, old) == []
    assert await stage.value("select durable.pin('a', 'old')")
    assert await claimed(stage, new) == []
    assert len(await claimed(stage, old)) == 1


async def test_what_an_unserved_run_waits_for_names_the_builds(stage: Stage) -> None:
    worker = await stage.worker(build="1")
    await stage.value("select durable.start('order', id => 'pinned', build => '7')")
    (run,) = await stage.born(worker, "unfit")
    await stage.store.runs.set_stuck(worker, run, 1, report="no", build="1")
    gone = await stage.worker(build="2")
    await stage.store.runs.sweep_unserved()
    await stage.store.workers.deregister(gone)
    await stage.store.runs.sweep_unserved()
    query = "select waits_for from durable.waiting where id = $1"
    assert await stage.value(query, "pinned") == "a worker that serves order in build 7"
    told = "a worker that serves order, of another build than 1"
    assert await stage.value(query, "unfit") == told
