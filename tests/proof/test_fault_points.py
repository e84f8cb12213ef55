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

from tests.proof import points
from tests.proof.canon import CASES
from tests.proof.points import Chosen, Crashes, Report, crashing, stages
from tests.proof.proxy import Point
from tests.proof.trial import FAULTS, RESTART

SAMPLE = 12
SIDE_BY_SIDE = int(os.environ.get("DURABLE_TEST_TRIALS_MAX", 16))
SECONDS = float(os.environ.get("DURABLE_TEST_SECONDS", 200))
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


@pytest.mark.skipif("DURABLE_TEST_TRIAL" not in os.environ, reason="no DURABLE_TEST_TRIAL is given")
async def test_one_trial(server_url: str) -> None:
    given = re.fullmatch(r"(\w+) (\w+) (before|after) (.+)#(\d+)", os.environ["DURABLE_TEST_TRIAL"])
    assert given is not None
    case = next(each for each in CASES if each.name == given[1])
    chosen = Chosen(case, given[2], Point(given[4], int(given[5]), given[3] == "after"))
    if chosen.fault == RESTART:
        async with crashing() as crashes, on(crashes, 1) as trials:
            judge(await points.try_all_in_rounds(crashes, trials, [chosen], random.Random(SEED)))
    else:
        async with stages(server_url, 1) as trials:
            judge(await points.try_all(trials, [chosen]))
