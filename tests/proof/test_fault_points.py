"""Every round trip between a worker and its database, and every way of parting the two there:
whatever happens, the promises hold and the run ends as it would have in peace.

`make test` tries a few. `make proof` tries every point, or as many as fit into
DURABLE_TEST_SECONDS, in another order each time; --campaign also what is equivalent to others
(`points.py`), however long it takes. A trial that broke a promise names its workflow, fault and
point, which can be tried alone:

    DURABLE_TEST_TRIAL="booked kill after commit#2" make test ARGS="-n 0 tests/proof"
"""

from __future__ import annotations

import os
import random
import re
import time

import pytest

from bench.chaos.plants import PLANTS
from tests.proof import checkers, points
from tests.proof.canon import CASES
from tests.proof.planting import execute
from tests.proof.points import Chosen, Crashes, Report, crashing, stages
from tests.proof.proxy import Point
from tests.proof.trial import FAULTS, RESTART

SAMPLE = 12
SIDE_BY_SIDE = int(os.environ.get("DURABLE_TEST_TRIALS_MAX", 16))
SECONDS = float(os.environ.get("DURABLE_TEST_SECONDS", 240))
SEED = int(os.environ.get("DURABLE_TEST_SEED", random.randrange(10**6)))


def judge(report: Report) -> None:
    print(report)
    assert not report.broken, "\n".join(report.broken)
    # Heartbeats come when they come, so not each point is reached each time.
    assert report.struck * 4 >= report.tried * 3, f"too few were reached: {report}"


@pytest.mark.timeout(120)
async def test_no_fault_at_a_sample_of_points_breaks_a_promise(server_url: str) -> None:
    # The same sample each time, so that a failure is news of the change; `make proof` tries all.
    chance = random.Random(1)
    async with stages(server_url, 4) as trials:
        chosen = await points.choose(trials, FAULTS, chance.sample(CASES, SAMPLE // 2))
        judge(await points.try_all(trials, chance.sample(chosen, SAMPLE)))


def ends_at(whole: bool) -> float:
    return float("inf") if whole else time.monotonic() + SECONDS


@pytest.mark.points
@pytest.mark.timeout(7200)
async def test_no_fault_at_any_point_breaks_a_promise(
    server_url: str, pytestconfig: pytest.Config
) -> None:
    whole, chance = pytestconfig.getoption("--campaign"), random.Random(SEED)
    until = ends_at(whole)
    async with stages(server_url, SIDE_BY_SIDE) as trials:
        chosen = await points.choose(trials, FAULTS, whole=whole)
        chance.shuffle(chosen)
        print(f"DURABLE_TEST_SEED={SEED}: {len(chosen)} points")
        judge(await points.try_all(trials, chosen, until=until))


@pytest.mark.points
@pytest.mark.timeout(7200)
async def test_no_crash_of_postgres_at_any_point_breaks_a_promise(
    pytestconfig: pytest.Config,
) -> None:
    whole, chance = pytestconfig.getoption("--campaign"), random.Random(SEED)
    until = ends_at(whole)
    async with crashing() as crashes, on(crashes, SIDE_BY_SIDE) as trials:
        chosen = await points.choose(trials, [RESTART], whole=whole)
        print(f"DURABLE_TEST_SEED={SEED}: {len(chosen)} points")
        report = await points.try_all_in_rounds(crashes, trials, chosen, chance, until=until)
        print(f"{crashes.count} crashes of Postgres")
        judge(report)


def on(crashes: Crashes, count: int):  # type: ignore[no-untyped-def]
    return stages(crashes.server.url(), count, crashes.restart)


# What is planted, where it shows, and to whom. (Others of those bugs are for chaos: they want a
# message to come at a certain moment, time to pass, or two owners to meet in the middle of a run:
# on an idle machine the second one has ended it before the first wakes up.)
PLANTED = {
    "not-sent-again": (("steps cut before commit#2", "steps terminate before commit#1"),
                       checkers.what_was_let_out_rests_on_journaled_results),
    "let-out-early": (("steps cut after commit#2", "booked cut after commit#3"),
                      checkers.what_was_let_out_rests_on_journaled_results),
    "split-effects": (("booked cut before commit#3", "overdue cut after fence#1"),
                      checkers.effects_happen_exactly_once),
    "ghosts": (("steps cut after claim#1", "booked cut after claim#1"),
               checkers.open_runs_progress_or_are_listed),
}  # fmt: skip


@pytest.mark.points
@pytest.mark.parametrize("bug", PLANTED)
async def test_a_bug_that_is_planted_is_found_at_its_points(server_url: str, bug: str) -> None:
    texts, checker = PLANTED[bug]
    async with stages(server_url, len(texts), bug=bug) as trials:
        for trial in trials:
            trial.patience = 8.0  # what never ends is given up in time
            if (sql := PLANTS[bug].sql) is not None:
                await execute(trial.dsn, sql())
        report = await points.try_all(trials, [one(text) for text in texts])
    assert any(checker.__name__ in each for each in report.broken), report


def one(text: str) -> Chosen:
    given = re.fullmatch(r"(\w+) (\w+) (before|after) (.+)#(\d+)", text)
    assert given is not None, text
    case = next(each for each in CASES if each.name == given[1])
    return Chosen(case, given[2], Point(given[4], int(given[5]), given[3] == "after"))


@pytest.mark.skipif("DURABLE_TEST_TRIAL" not in os.environ, reason="no DURABLE_TEST_TRIAL is given")
async def test_one_trial(server_url: str) -> None:
    chosen = one(os.environ["DURABLE_TEST_TRIAL"])
    if chosen.fault == RESTART:
        async with crashing() as crashes, on(crashes, 1) as trials:
            judge(await points.try_all_in_rounds(crashes, trials, [chosen], random.Random(SEED)))
    else:
        async with stages(server_url, 1) as trials:
            judge(await points.try_all(trials, [chosen]))
