"""Every round trip between a worker and its database, and every way of parting the two there:
whatever happens, the promises hold and the run ends as it would have in peace.

By default a sample, spread over all of them; ``--campaign`` tries each one. A trial that
broke a promise names its workflow, fault and point, which can be tried alone:

    DURABLE_TEST_TRIAL="booked kill after commit#2" make test ARGS=tests/proof
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from tests.proof import evidence
from tests.proof.canon import CASES, FIRST_SIX, Case
from tests.proof.checkers import check
from tests.proof.proxy import Point
from tests.proof.trial import FAULTS, Trial, stage

SAMPLE = 2  # of each workflow

# A trial that takes longer is named.
SLOW_SECONDS = 3.0

# What a worker does to be there at all is the same for each workflow.
ARRIVAL_ENDS = ("claim", 1)


@pytest_asyncio.fixture
async def trial(dsn: str, tmp_path: Path) -> AsyncIterator[Trial]:
    async with stage(dsn, tmp_path) as trial:
        yield trial


async def points_of(trial: Trial, case: Case) -> list[Point]:
    """The round trips of a run in peace, which keeps every promise too."""
    assert await broken(trial, case) == {}
    order = trial.proxy.order
    if case is not CASES[0] and ARRIVAL_ENDS in order:
        order = order[order.index(ARRIVAL_ENDS) - 1 :]
    return [Point(name, nth, after) for name, nth in order for after in (False, True)]


async def broken(
    trial: Trial, case: Case, point: Point | None = None, fault: str = ""
) -> dict[str, list[str]]:
    """Broken promises of one trial."""
    found = await trial.run(case, point, fault)
    results = check(found)
    (run,) = (row for row in found.tables["run"] if row["current"])
    if run["status"] != case.status:
        results["the end"] = [f"it ended {run['status']}, not {case.status}: {run['report']}"]
    connection = await asyncpg.connect(trial.dsn)
    try:
        await evidence.forget(connection)
    finally:
        await connection.close()
    return results


async def tried(trial: Trial, chosen: list[tuple[Case, str, Point]]) -> None:
    failed, struck = [], 0
    for case, fault, point in chosen:
        began = time.monotonic()
        results = await broken(trial, case, point, fault)
        if (took := time.monotonic() - began) > SLOW_SECONDS:
            print(f"{case.name} {fault} {point}: {took:.1f} s")
        struck += trial.proxy.struck.is_set()
        if results:
            log = (trial.folder / "log").read_text(encoding="utf-8", errors="replace")
            failed.append(f"{case.name} {fault} {point}: {results}\n{log[-2000:]}")
    assert not failed, "\n".join(failed)
    # Heartbeats come when they come, so not each point is reached each time.
    assert struck * 4 >= len(chosen) * 3, f"only {struck} of {len(chosen)} were reached"


@pytest.mark.timeout(120)
async def test_no_fault_at_a_sample_of_points_breaks_a_promise(trial: Trial) -> None:
    # The same sample each time, so that a failure is news of the change; the campaign tries all.
    seed = int(os.environ.get("DURABLE_TEST_SEED", 1))
    chance = random.Random(seed)
    chosen = []
    for case in FIRST_SIX:
        points = await points_of(trial, case)
        faults = chance.sample(FAULTS, SAMPLE)
        chosen += [(case, fault, chance.choice(points)) for fault in faults]
    await tried(trial, chosen)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_no_fault_at_any_point_breaks_a_promise(trial: Trial, case: Case, fault: str) -> None:
    points = await points_of(trial, case)
    await tried(trial, [(case, fault, point) for point in points])


@pytest.mark.skipif("DURABLE_TEST_TRIAL" not in os.environ, reason="no DURABLE_TEST_TRIAL is given")
async def test_one_trial(trial: Trial) -> None:
    given = re.fullmatch(r"(\w+) (\w+) (before|after) (.+)#(\d+)", os.environ["DURABLE_TEST_TRIAL"])
    assert given is not None
    case = next(each for each in CASES if each.name == given[1])
    point = Point(given[4], int(given[5]), given[3] == "after")
    await tried(trial, [(case, given[2], point)])
