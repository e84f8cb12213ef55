"""Bugs in how messages are kept, passed on and answered, planted: their checkers say so."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from durable import Durable
from durable._core import updates
from tests.proof import canon, checkers, correspondence, visitors
from tests.proof.planting import each_way, execute, planted, said, verdict

pytestmark = pytest.mark.points  # by `make proof`: the suite stays short

Patch = pytest.MonkeyPatch


async def talked(dsn: str, case: canon.Case, seconds: float = 20.0) -> None:
    async with Durable(dsn, serve=[canon], grace=0.01) as app:
        # What is sent before it begins is all there when the first of it is received.
        handle = await app.start(case.workflow, id="a", delay=0.3)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                if case.meanwhile is not None:
                    await case.meanwhile(app, handle)
                await handle.result()


def of(workflow: Any) -> canon.Case:
    return next(case for case in canon.CASES if case.workflow is workflow)


DROPPED = ("children", "i.seq in (\n", "i.seq not in (\n")
TAKEN_AGAIN = ("inbox", "on i.run = l.run and i.key", "on i.run = old.run and l.nth = 0 and i.key")
LOST = ("commit", "from sent s where s.open\n", "from sent s where s.open and s.named <> 'a'\n")
DISORDERED = (
    "commit",
    "(partition by f.target order by f.n)",
    "(partition by f.target order by -f.n)",
)
ANSWERED_AMISS = ("replies", "decode(a.result, 'base64')", "decode('AQE=', 'base64')")


@each_way
@pytest.mark.parametrize(
    ("bug_is", "case", "checker"),
    [
        (DROPPED, canon.relayed, correspondence.runs_go_on_once_with_all_that_nobody_has_received),
        (LOST, canon.corresponding, correspondence.what_was_sent_is_received_once_and_in_order),
        (
            DISORDERED,
            canon.corresponding,
            correspondence.what_was_sent_is_received_once_and_in_order,
        ),
        (ANSWERED_AMISS, canon.asked, correspondence.updates_are_answered_once),
    ],
    ids=["dropped", "lost", "disordered", "answered amiss"],
)
async def test_a_bug_in_the_database_is_seen(
    audited: str, tmp_path: Path, bug: bool, bug_is: tuple[str, str, str], case: Any,
    checker: checkers.Checker,
) -> None:  # fmt: skip
    if bug:
        file, right, wrong = bug_is
        await execute(audited, planted(file, (right, wrong)))
    await talked(audited, of(case), seconds=1.5 if bug else 20.0)
    found = await said(audited, tmp_path)
    assert (checker.__name__ in found) if bug else found == set()


@each_way
async def test_a_message_that_the_run_before_has_read_is_not_taken_again(
    audited: str, tmp_path: Path, bug: bool
) -> None:
    if bug:
        file, right, wrong = TAKEN_AGAIN
        await execute(audited, planted(file, (right, wrong)))
    async with Durable(audited, serve=[canon], grace=0.01) as app:
        handle = await app.start(canon.relayed, id="a")
        first = await app.store.runs.current("a")
        await visitors.say(handle, 0)
        async with asyncio.timeout(20):
            while await app.store.runs.current("a") == first:
                await asyncio.sleep(0.005)
        for n in (0, 1, 2, 3):
            await visitors.say(handle, n)
        await handle.result()
    found, checker = await said(audited, tmp_path), (
        correspondence.what_was_sent_is_received_once_and_in_order)  # fmt: skip
    assert (checker.__name__ in found) if bug else found == set()


@each_way
async def test_an_update_that_is_rejected_and_handled_all_the_same_is_seen(
    audited: str, tmp_path: Path, bug: bool, monkeypatch: Patch
) -> None:
    right = updates.Updates._decide

    def decide(self: Any, asked: Any, handler: Any, **more: Any) -> None:
        right(self, asked, handler, **more)
        if int(handler.read(asked.value)) < 0:
            running = self._run(asked, handler, handler.read(asked.value))
            self._loop.create_task(running, name="all the same")

    if bug:
        monkeypatch.setattr(updates.Updates, "_decide", decide)
    await talked(audited, of(canon.asked))
    verdict(await said(audited, tmp_path), bug, correspondence.updates_are_answered_once)


@each_way
async def test_an_answer_that_its_caller_was_not_given_is_seen(
    audited: str, tmp_path: Path, bug: bool
) -> None:
    async with Durable(audited, serve=[canon], grace=0.01) as app:
        handle = await app.start(canon.asked, id="a")
        await visitors.ask(app, handle, 1)
        if bug:
            await execute(audited, "delete from durable.answer")
        await visitors.say(handle, 0)
        await handle.result()
    verdict(await said(audited, tmp_path), bug, correspondence.updates_are_answered_once)
