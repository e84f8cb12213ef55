"""Bugs of the database's functions, planted: two sessions provoke them, a checker says so."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from durable import Durable, DurableError
from durable._store.postgres.workers import Workers
from durable._store.protocol import HandBack, Letter
from tests.proof import canon, checkers, history
from tests.proof.planting import each_way, execute, planted, said, verdict
from tests.store.stage import Stage, new_run, parked, turn

Patch = pytest.MonkeyPatch


@each_way
async def test_a_fence_without_a_lock_leaves_a_run_to_nobody(
    audited: str, tmp_path: Path, bug: bool
) -> None:
    if bug:
        await execute(audited, planted("claim", ("and w.state = 'live' for key share",
                                                 "and w.state = 'live'")))  # fmt: skip
    await claimed_while_taken_over(audited)
    verdict(await said(audited, tmp_path), bug, checkers.open_runs_progress_or_are_listed)


@each_way
async def test_a_takeover_with_an_old_snapshot_leaves_a_run_to_nobody(
    audited: str, tmp_path: Path, bug: bool, monkeypatch: Patch
) -> None:
    async def at_once(self: Workers, worker: Any, **_: Any) -> int:
        rows = await self._line.fetch(
            "/* mark_dead */ with gone as ("
            "delete from durable.worker where worker = $1 returning worker) "
            "update durable.run r set worker = null, status = 'pending', due_at = durable.now() "
            "from gone where r.worker = gone.worker returning r.run", worker)  # fmt: skip
        return len(rows)

    if bug:
        monkeypatch.setattr(Workers, "take_over", at_once)
    await claimed_while_taken_over(audited)
    verdict(await said(audited, tmp_path), bug, checkers.open_runs_progress_or_are_listed)


async def claimed_while_taken_over(dsn: str) -> None:
    """A claim is in flight while its worker is taken over."""
    async with Stage(dsn) as stage:
        worker, zombie = await stage.worker(), await stage.stranger()
        await stage.store.runs.start(new_run("a")._replace(workflow="order"))
        await zombie.execute("begin")
        assert await zombie.fetch("select run from durable.claim($1, 9, null, 1)", worker)
        waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
        for _ in range(20):  # it gives up at its lock timeout, and then succeeds
            taking = asyncio.create_task(stage.store.workers.take_over(worker))
            while not taking.done() and not await stage.value(waits):
                await asyncio.sleep(0)
            await zombie.execute("commit")
            with suppress(asyncpg.LockNotAvailableError):
                await taking
                return


@each_way
async def test_a_wake_up_is_lost_in_a_park(audited: str, tmp_path: Path, bug: bool) -> None:
    if bug:
        wrong = ("and r.last_seq = p.seen and", "and")
        await execute(audited, planted("commit", wrong))
    async with Stage(audited) as stage:
        worker = await stage.worker()
        (run,) = await stage.born(worker, "a")
        await stage.send("a", "key")
        await stage.commit(worker, turn(run, 1, park=parked(seen=0)))
        if not bug:
            await stage.store.runs.hand_back(worker, [HandBack(run, 1, None, None, None)])
    found = await said(audited, tmp_path)
    verdict(found, bug, checkers.open_runs_progress_or_are_listed, on_stage=True)


@each_way
async def test_a_row_of_a_journal_is_updated(audited: str, tmp_path: Path, bug: bool) -> None:
    async with Durable(audited, serve=[canon]) as app:
        await app.run(canon.steps, id="a")
    if bug:
        await execute(audited, "update durable.journal set name = 'other' where position = 1")
    verdict(
        await said(audited, tmp_path), bug, checkers.journals_have_no_gaps_no_forks_and_never_change
    )


@each_way
async def test_a_message_is_kept_twice(audited: str, tmp_path: Path, bug: bool) -> None:
    async with Durable(audited, serve=[canon]) as app:
        handle = await app.start(canon.cancelled, id="a", delay=3600)
        history.note("sent", run="a", what="cancel", accepted=await handle.cancel())
        if bug:  # what a send that is repeated under another key does
            await app.store.inbox.deliver("a", Letter("cancel", None, "again", None))
        with suppress(DurableError):
            await handle.result()
    verdict(
        await said(audited, tmp_path), bug, checkers.messages_are_read_exactly_once_and_in_order
    )
