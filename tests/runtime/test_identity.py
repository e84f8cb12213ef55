"""Who a worker is, and whose an answer was."""

from __future__ import annotations

import asyncio
import os
import time
from uuid import uuid4

import pytest

from durable import Context, Durable, workflow
from durable._runtime.keys import next_key

from .takeovers import worker_of


@workflow
async def at_once(ctx: Context) -> str:
    return "done"


@workflow
async def naps_as_me(ctx: Context) -> None:
    await ctx.sleep(4)


async def test_a_worker_that_has_begun_again_is_not_ended_by_an_answer_to_its_old_name(
    dsn: str,
) -> None:
    async with Durable(dsn, serve=[at_once]) as app:
        worker = worker_of(app)
        before = worker.registration.worker
        await worker.store.workers.take_over(before)
        async with asyncio.timeout(20):
            assert await app.run(at_once) == "done"  # however its first commit is answered
            while worker.registration.worker == before or worker._is_beginning:
                await asyncio.sleep(0.005)
        after = worker.registration.worker
        worker.committer._on_fenced(before, time.monotonic())
        assert worker.registration.worker == after
        assert [each.worker for each in await worker.store.workers.suspects(uuid4())] == [after]


async def test_a_worker_that_is_not_registered_again_yet_begins_again_once(dsn: str) -> None:
    async with Durable(dsn, serve=[at_once]) as app:
        worker = worker_of(app)
        await worker.store.workers.take_over(worker.registration.worker)
        worker.lost(worker.registration.worker)
        unregistered = worker.registration.worker
        worker.lost(unregistered)  # what a start in between is told
        async with asyncio.timeout(20):
            assert await app.run(at_once) == "done"
        assert worker.registration.worker == unregistered
        assert [each.worker for each in await worker.store.workers.suspects(uuid4())] == [
            unregistered
        ]


async def test_a_worker_declared_dead_while_it_leaves_does_not_wait_for_its_own_commits(
    dsn: str,
) -> None:
    async with Durable(dsn, serve=[naps_as_me]) as app:
        worker = worker_of(app)
        await app.start(naps_as_me, id="a")
        worker.draining = True
        worker.lost(uuid4())
        assert worker.active
        worker.lost(worker.registration.worker)
        assert not worker.active


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
def test_a_forked_child_does_not_write_under_its_parents_keys() -> None:
    """With them, the row of one worker would pass for what the other has sent."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, next_key())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with open(read, "rb") as keys:
        assert keys.read() != next_key()
