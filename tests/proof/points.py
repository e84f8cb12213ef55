"""Which points are tried, and many trials at the same time.

Most of a trial is waiting: for a lease, a time-out, a worker that comes. So trials stand side by
side, each in a database of its own; where Postgres itself is to crash, all that stand at their
point share one crash.

What is equivalent is tried once, if not every point is asked for:

- A preparation (``prepare commit``) changes nothing: after it is before it, and before it is
  before the statement that it prepares.
- To be there at all, to open a connection and to leave, a worker does the same whatever it works
  on: the first workflow stands for all (``EVERYBODYS``). Where that is not the point, a worker
  takes over sessions that earlier ones have left (`sessions.py`), remembers what Postgres has told
  about its own types, and does not ask whether there is a schema: half of what a trial costs.
- A heartbeat knows nothing of the run that is under way. It matters to those that wait for what
  it brings (``HEAR``). What comes again and again comes more often the slower the machine is:
  the first few stand for all.
- After a round trip is before the next one, as far as the fault leaves nothing of the session
  (``SIDES``). The two sides of a cut differ: what was sent has happened, or not. A pause comes
  before: then the question of a zombie arrives, which is what fences are for. Others come
  after: the server has acted, and nobody knows.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import asyncpg

from durable._migrating import migrate
from durable.embedded import EmbeddedPostgres
from tests.conftest import at_database
from tests.end_to_end.test_faults import open_directory, restarted
from tests.proof import history, replays
from tests.proof.canon import CASES, Case
from tests.proof.checkers import check
from tests.proof.proxy import Point
from tests.proof.trial import RESTART, Trial, Zygote, stage

SIDES = {
    "cut": (False, True),
    "hole": (True,),
    "pause": (False,),
    "kill": (True,),
    "terminate": (False,),
    RESTART: (True,),
}
EVERYBODYS = {
    "startup", "direct", "connect", "is_there", "versions", "sync", 'listen "durable"',
    "select current_setting('", "with recursive", "lock", "register", "suspects", "set_unserved",
    "set_served", "revive_stuck", "mark_dead", "bury",
}  # fmt: skip
OFTEN, FEW = {"beat", "owned", "mail", "notify"}, 4
HEAR = {"steps", "parked", "cancelled", "overdue", "reopened"}

# A trial that takes longer is named.
SLOW_SECONDS = 10.0


class Chosen(NamedTuple):
    """``at`` is when the point was reached in peace, in seconds."""

    case: Case
    fault: str
    point: Point
    at: float = 0.0

    def __str__(self) -> str:
        return f"{self.case.name} {self.fault} {self.point}"


@dataclass
class Report:
    """What came of many trials."""

    tried: int = 0
    struck: int = 0  # whose point was reached: beats come when they come
    left: int = 0  # for which there was no time
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.tried} fault points tried, {self.struck} reached, {self.left} left for "
            f"another day, {len(self.broken)} broke a promise; {self.seconds:.0f} s"
        )


async def broken(
    trial: Trial, case: Case, point: Point | None = None, fault: str = "", *, anew: bool = False
) -> dict[str, list[str]]:
    """Broken promises of one trial."""
    what = "" if point is None else point.name.removeprefix("prepare ")
    anew = anew or what in EVERYBODYS
    found = await trial.run(case, point, fault, anew=anew)
    results = check(found)
    (run,) = (row for row in found.tables["run"] if row["current"] and row["parent_run"] is None)
    if run["status"] != case.status:
        results["the end"] = [f"it ended {run['status']}, not {case.status}: {run['report']}"]
    trial.found = found
    return results


async def points_of(trial: Trial, case: Case, *, whole: bool) -> list[tuple[str, int, float]]:
    """The round trips of a run in peace, which keeps every promise too."""
    assert await broken(trial, case, anew=whole or case is CASES[0]) == {}
    reached = zip(trial.proxy.order, trial.proxy.times, strict=True)
    points = [(name, nth, at) for (name, nth), at in reached]
    if whole:
        return points
    left_to_others: set[str] = set() if case is CASES[0] else EVERYBODYS
    if case.name not in HEAR:
        left_to_others = left_to_others | {"beat"}
    return [
        (name, nth, at)
        for name, nth, at in points
        if not name.startswith("prepare ")
        and name not in left_to_others
        and (name not in OFTEN or nth <= FEW)
    ]


async def choose(
    trials: list[Trial], faults: Iterable[str], cases: Sequence[Case] = CASES, *,
    whole: bool = False,
) -> list[Chosen]:  # fmt: skip
    """All points of these workflows."""
    points: dict[str, list[tuple[str, int, float]]] = {}

    async def look(trial: Trial, share: Sequence[Case]) -> None:
        for case in share:
            points[case.name] = await points_of(trial, case, whole=whole)

    await asyncio.gather(*(look(trial, cases[n :: len(trials)])
                           for n, trial in enumerate(trials)))  # fmt: skip
    return [
        Chosen(case, fault, Point(name, nth, after), at)
        for case in cases
        for fault in faults
        for name, nth, at in points[case.name]
        for after in ((False, True) if whole else SIDES[fault])
    ]


async def try_all(
    trials: list[Trial], chosen: list[Chosen], *, until: float = float("inf")
) -> Report:
    """Each at the next stage that is free, as long as there is time."""
    report, waiting, began = Report(), list(reversed(chosen)), time.monotonic()
    journals = replays.Journals()

    async def perform(trial: Trial) -> None:
        while waiting and time.monotonic() < until:
            await try_one(trial, waiting.pop(), report, journals)

    await asyncio.gather(*(perform(trial) for trial in trials))
    report.left = len(waiting)
    report.broken += await journals.differing()
    report.seconds = time.monotonic() - began
    return report


async def try_one(trial: Trial, chosen: Chosen, report: Report, journals: replays.Journals) -> None:
    began = time.monotonic()
    results = await broken(trial, chosen.case, chosen.point, chosen.fault)
    if (took := time.monotonic() - began) > SLOW_SECONDS:
        print(f"{chosen}: {took:.1f} s")
    report.tried += 1
    report.struck += trial.proxy.struck.is_set()
    if trial.found is not None:
        journals.add(str(chosen), trial.found)
    if results:
        path = trial.folder / "log"
        log = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        report.broken.append(f"{chosen}: {results}\n{log[-2000:]}")


@asynccontextmanager
async def stages(
    url: str,
    count: int,
    restart: Callable[[], Awaitable[None]] | None = None,
    *,
    bug: str = "",
) -> AsyncIterator[list[Trial]]:
    """So many stages on one server; a ``bug`` is planted there, or in the workers."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="durable-trials-")))
        names = [f"durable_stage_{folder.name[-8:].lower()}_{n}" for n in range(count)]
        places = [at_database(url, name) for name in names]
        await _create(url, names)
        stack.push_async_callback(_drop, url, names)
        await asyncio.gather(*map(migrate, places))
        zygote = await stack.enter_async_context(Zygote(places[0], bug))
        trials = []
        for name, dsn in zip(names, places, strict=True):
            (folder / name).mkdir()
            made = stage(dsn, folder / name, zygote, restart)
            trials.append(await stack.enter_async_context(made))
        yield trials


async def _create(url: str, names: list[str]) -> None:
    admin = await asyncpg.connect(url)
    try:
        for name in names:
            await admin.execute(f'create database "{name}"')
    finally:
        await admin.close()


async def _drop(url: str, names: list[str]) -> None:
    admin = await asyncpg.connect(url)
    try:
        for name in names:
            await admin.execute(f'drop database if exists "{name}" with (force)')
    finally:
        await admin.close()


class Crashes:
    """A server that crashes when all trials of a round stand at their point, or have ended
    without reaching it."""

    # What was acknowledged must outlast the server's processes, not the machine's.
    SETTINGS = {"jit": "off", "fsync": "off", "full_page_writes": "off", "max_connections": "300"}
    PATIENCE_SECONDS = 1.5  # of those that stand, for the others

    def __init__(self, server: EmbeddedPostgres) -> None:
        self.server = server
        self.count = 0
        self._standing = 0
        self._performing = 0
        self._over = asyncio.Event()
        self._all_stand = asyncio.Event()

    async def restart(self) -> None:
        """What one trial calls that stands at its point."""
        over = self._over
        self._standing += 1
        self._look()
        await over.wait()

    def _look(self) -> None:
        if self._standing >= self._performing:
            self._all_stand.set()

    async def round(self, trials: list[Trial], performances: list[Awaitable[None]]) -> None:
        self._standing, self._performing = 0, len(performances)
        self._all_stand.clear()
        self._over = asyncio.Event()

        async def performed(one: Awaitable[None]) -> None:
            try:
                await one
            finally:
                self._performing -= 1
                self._look()

        tasks = [asyncio.ensure_future(performed(one)) for one in performances]
        while not self._standing and not all(task.done() for task in tasks):
            await asyncio.sleep(0.005)
        if self._standing:
            try:
                async with asyncio.timeout(self.PATIENCE_SECONDS):
                    await self._all_stand.wait()
            except TimeoutError:
                pass  # the others are struck where they are
            self.server = await asyncio.to_thread(
                restarted, self.server, 3, settings=self.SETTINGS
            )  # SIGQUIT: immediate
            self.count += 1
            for trial in trials:  # also those that have not come to their point
                copy_context().run(_was_away, trial.folder)
        self._over.set()
        await asyncio.gather(*tasks)


def _was_away(folder: Path) -> None:
    history.write_own_to(folder / "history")
    history.note("away")


@asynccontextmanager
async def crashing() -> AsyncIterator[Crashes]:
    base = await asyncio.to_thread(open_directory)
    crashes = Crashes(EmbeddedPostgres(base / "pg", settings=Crashes.SETTINGS))
    await asyncio.to_thread(crashes.server.start)
    try:
        yield crashes
    finally:
        await asyncio.to_thread(crashes.server.stop)
        shutil.rmtree(base, ignore_errors=True)


async def try_all_in_rounds(
    crashes: Crashes, trials: list[Trial], chosen: list[Chosen], chance: random.Random,
    *, until: float = float("inf"),
) -> Report:  # fmt: skip
    """Those whose points are reached at about the same time crash together."""
    report, journals, began = Report(), replays.Journals(), time.monotonic()
    ordered = sorted(chosen, key=lambda each: each.at)
    size = len(trials)
    rounds = [ordered[n : n + size] for n in range(0, len(ordered), size)]
    chance.shuffle(rounds)
    while rounds and time.monotonic() < until:
        now = rounds.pop()
        await crashes.round(trials[: len(now)], [
            try_one(trial, one, report, journals)
            for trial, one in zip(trials, now, strict=False)
        ])  # fmt: skip
    report.left = sum(map(len, rounds))
    report.broken += await journals.differing()
    report.seconds = time.monotonic() - began
    return report
