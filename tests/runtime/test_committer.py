"""Group commit, with a journal that answers when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest

from durable._runtime.arrivals import Begin
from durable._runtime.clock import Clock
from durable._runtime.committer import AHEAD, Committer
from durable._runtime.instance import Instance
from durable._runtime.metrics import Meter
from durable._runtime.watchdog import Watchdog
from durable._store.protocol import Advance, Unavailable, Verdict

from .test_runs import doubles


class Answering:
    """The runs of each commit, in the order of being sent, and what it waits for."""

    def __init__(self) -> None:
        self.sent: list[list[int]] = []
        self.answers: list[asyncio.Future[None]] = []

    async def commit(
        self, worker: UUID, advances: Sequence[Advance], *, patient: bool = False
    ) -> list[Verdict]:
        self.sent.append([each.run for each in advances])
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.answers.append(answer)
        await answer
        return [Verdict.DONE] * len(advances)


class Scene:
    def __init__(self) -> None:
        self.journal, self.written = Answering(), list[int]()
        worker = uuid4()
        self.committer = Committer(
            self.journal,  # type: ignore[arg-type]  # of its verbs, the committer uses one
            Clock(),
            worker=lambda: worker,
            on_written=lambda instance, *_: self.written.append(instance.run),
            on_refused=unexpected,
            on_fenced=unexpected,
            watchdog=Watchdog(),
            meter=Meter(None),
        )
        self.tasks = [
            asyncio.create_task(forever(each))
            for each in (self.committer.once, self.committer.ahead)
        ]
        self._definition: Any = doubles.__durable__[1]  # type: ignore[attr-defined]

    def begin(self, *runs: int) -> None:
        payload = self._definition.signature.encode_call((1,), {})
        for run in runs:
            instance = Instance(
                run, id=str(run), claim=1, seed=bytes(16), definition=self._definition,
                input=payload,
            )  # fmt: skip
            instance.arrivals.append(Begin())
            self.committer.submit(instance)

    async def quiet(self) -> None:
        """Until nothing moves but by an answer."""
        while self.committer._queue or self.committer._answered:
            await asyncio.sleep(0)
        for _ in range(9):
            await asyncio.sleep(0)


@pytest.fixture
async def scene() -> Any:
    scene = Scene()
    yield scene
    for task in scene.tasks:
        task.cancel()


async def forever(once: Callable[[], Any]) -> None:
    while True:
        await once()


def unexpected(*_: object) -> None:
    raise AssertionError


async def test_what_gathers_behind_a_commit_waits_for_its_answer(scene: Scene) -> None:
    scene.begin(0)
    await scene.quiet()
    scene.begin(*range(1, AHEAD))
    await scene.quiet()
    assert scene.journal.sent == [[0]]

    scene.journal.answers[0].set_result(None)
    await scene.quiet()

    assert scene.journal.sent == [[0], [*range(1, AHEAD)]]


async def test_much_goes_to_the_line_behind_the_commit_under_way(scene: Scene) -> None:
    scene.begin(0)
    await scene.quiet()
    scene.begin(*range(1, AHEAD + 1))
    await scene.quiet()
    assert scene.journal.sent == [[0], [*range(1, AHEAD + 1)]]

    scene.begin(*range(AHEAD + 1, 4 * AHEAD))  # a third waits
    await scene.quiet()
    assert len(scene.journal.sent) == 2

    scene.journal.answers[1].set_result(None)  # as after a loss, in any order
    await scene.quiet()
    assert scene.written == [*range(1, AHEAD + 1)]
    assert scene.journal.sent[2:] == [[*range(AHEAD + 1, 4 * AHEAD)]]


async def test_little_that_is_left_goes_when_both_are_answered(scene: Scene) -> None:
    scene.begin(0)
    await scene.quiet()
    scene.begin(*range(1, AHEAD + 1))
    await scene.quiet()
    scene.begin(AHEAD + 1)
    for n in (0, 1):
        await scene.quiet()
        assert len(scene.journal.sent) == 2
        scene.journal.answers[n].set_result(None)
    await scene.quiet()

    assert scene.journal.sent[2:] == [[AHEAD + 1]]


async def test_a_commit_whose_answer_is_lost_holds_the_other_up_no_longer_than_the_database(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("durable._runtime.committer.PAUSE_FIRST", 0)
    scene.begin(0)
    await scene.quiet()
    scene.begin(*range(1, AHEAD + 1))
    await scene.quiet()

    scene.journal.answers[0].set_exception(Unavailable("away"))
    scene.journal.answers[1].set_result(None)
    await scene.quiet()
    assert scene.journal.sent[2] == [0]
    scene.journal.answers[2].set_result(None)
    await scene.quiet()

    assert sorted(scene.written) == [*range(AHEAD + 1)]
