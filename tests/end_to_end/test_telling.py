"""What a worker tells: counts, measurements, log lines with facts, health."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict

import asyncpg
import pytest

from durable import Client, Context, Durable, Retry, activity, workflow
from durable._measured import COUNTED, OBSERVED


class Kept:
    """Metrics as a test wants them."""

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()
        self.observed: defaultdict[str, list[float]] = defaultdict(list)
        self.labels: set[tuple[str, str, str]] = set()

    def count(self, name: str, n: int = 1, /, **labels: str) -> None:
        self.counted[name] += n
        self.labels |= {(name, label, value) for label, value in labels.items()}

    def observe(self, name: str, value: float, /, **labels: str) -> None:
        self.observed[name].append(value)
        self.labels |= {(name, label, value) for label, value in labels.items()}


class Broken:
    def count(self, name: str, n: int = 1, /, **labels: str) -> None:
        raise RuntimeError("no collector today")

    observe = count


tries = iter([True, False, False, False])


@activity(retry=Retry(attempts=2, delay=0.001))
async def told_activity(x: int) -> int:
    if next(tries):
        raise ValueError("the first time")
    return x


@activity(timeout=0.01, retry=Retry(attempts=1))
async def told_late() -> None:
    await asyncio.Event().wait()


@workflow
async def told_run(ctx: Context, x: int) -> int:
    ctx.log.info("about to try %d", x)
    try:
        await ctx.activity(told_late)
    except Exception:
        await ctx.sleep(0.001)
    return await ctx.activity(told_activity, x)


async def test_all_that_happens_is_counted_and_measured_in_documented_names(dsn: str) -> None:
    global tries
    tries = iter([True, False])
    kept = Kept()
    async with Client(dsn) as client:
        handle = await client.start("told_run", 7, id="metered")
        async with Durable(dsn, serve=[told_run], metrics=kept) as app:
            assert await handle.result() == 7
            wanted = ("durable_runs_closed_total", "durable_loop_lag_seconds")
            while not kept.counted[wanted[0]] or not kept.observed[wanted[1]]:
                await asyncio.sleep(0.01)
            health = app.health()
    assert health.ok and health.due_lag == 0 and health.loop_lag >= 0
    assert kept.counted.keys() <= COUNTED.keys()
    assert kept.observed.keys() <= OBSERVED.keys()
    assert kept.counted["durable_attempts_total"] == 3
    assert kept.counted["durable_claims_total"] == kept.counted["durable_runs_closed_total"] == 1
    assert kept.counted["durable_commits_total"] == len(kept.observed["durable_commit_seconds"]) > 2
    assert sum(kept.observed["durable_commit_rows"]) == 4  # started, two activities, a timer
    assert {(label, value) for name, label, value in kept.labels if "attempts" in name} == {
        ("activity", "told_late"), ("activity", "told_activity"),
        ("outcome", "ok"), ("outcome", "failed"), ("outcome", "timed_out"),
    }  # fmt: skip


async def test_metrics_that_fail_cost_one_line_and_no_run(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    global tries
    tries = iter([False])
    async with Durable(dsn, serve=[told_run], metrics=Broken()) as app:
        assert await app.run(told_run, 7) == 7
    said = [each for each in caplog.records if "the given metrics failed" in each.getMessage()]
    assert [each.name for each in said] == ["durable.worker"]


async def test_log_lines_carry_facts_whose_names_stay(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    global tries
    tries = iter([True, False])
    with caplog.at_level(logging.INFO, logger="durable"):
        async with Durable(dsn, serve=[told_run]) as app:
            await app.run(told_run, 7, id="logged")
    failed = [each for each in caplog.records if each.name == "durable.activity"]
    facts = [(each.id, each.workflow, each.activity, each.attempt, each.error)  # type: ignore[attr-defined]
             for each in failed]  # fmt: skip
    assert facts == [
        ("logged", "told_run", "told_late", 1, "TimedOut"),
        ("logged", "told_run", "told_activity", 1, "ValueError"),
    ]
    assert [each.exc_info is not None for each in failed] == [True, True]
    (said,) = [each for each in caplog.records if each.name == "durable.workflow"]
    assert (said.getMessage(), said.id) == ("about to try 7", "logged")  # type: ignore[attr-defined]


async def test_health_tells_of_commits_that_are_refused_and_of_their_end(dsn: str) -> None:
    """A missing grant is nobody's data error: the commit is sent until somebody mends it."""
    global tries
    tries = iter([False])
    kept = Kept()
    admin = await asyncpg.connect(dsn)
    hide = "alter table durable.journal rename to journal_hidden"
    await admin.execute(hide)
    async with Durable(dsn, serve=[told_run], metrics=kept) as app:
        running = asyncio.create_task(app.run(told_run, 7))
        words = "commits fail and are sent again: the commit was refused"
        while not any(each.startswith(words) for each in app.health().reasons):
            assert not running.done()
            await asyncio.sleep(0.01)
        assert not app.health().ok
        await admin.execute("alter table durable.journal_hidden rename to journal")
        assert await running == 7
        while not app.health().ok:  # the claimer looks again in a moment
            await asyncio.sleep(0.01)
    assert kept.counted["durable_commits_refused_total"] > 0
    await admin.close()


async def test_runs_that_nobody_serves_are_counted(dsn: str) -> None:
    kept = Kept()
    async with Client(dsn) as client:
        for n in range(3):
            await client.start("served_elsewhere", n)
    async with Durable(dsn, serve=[told_run], metrics=kept):
        pass  # whoever comes looks first
    assert kept.counted["durable_runs_unserved_total"] == 3
