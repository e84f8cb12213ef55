"""The lease in a loop of its own: beats that fail in ways that nobody expected."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from durable._runtime.lease import Lease
from durable._store.protocol import Beat, Registration, Unavailable
from durable.errors import LeaseLost

ALIVE = Beat(
    alive=True,
    now=datetime.now(UTC),
    due_since=None,
    owned=False,
    mail=False,
    suspects=False,
    overdue=False,
    next_due=None,
    aside=False,
)


class Beats:
    """Answers as it is told to, then well."""

    def __init__(self, *answers: Exception) -> None:
        self.answers = list(answers)
        self.count = 0
        self.on_news: Callable[[], object] = lambda: None

    async def register(self, registration: Registration) -> None:
        pass

    async def beat(self, worker: UUID) -> Beat:
        self.count += 1
        if self.count > 1 and self.answers:
            raise self.answers.pop(0)
        return ALIVE

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("error", [Unavailable("away"), RuntimeError("a bug")], ids=repr)
async def test_a_worker_beats_on_whatever_a_beat_raises(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    beats, answered = Beats(error), asyncio.Event()

    async def connect() -> Beats:
        return beats

    def on_beat(beat: Beat, came: float) -> None:
        if not beats.answers:
            answered.set()

    worker = uuid4()
    registration = Registration(worker, "me", "", 1, 0, (), (), "1", 15.0)
    hinted: list[bool] = []
    lease = Lease(connect, registration, on_beat, lambda: hinted.append(True), _unexpected)
    with caplog.at_level(logging.CRITICAL, logger="durable"):
        await lease.acquire()
        beats.on_news()
        async with asyncio.timeout(20):
            await answered.wait()
        assert lease.may_begin() is None
        assert hinted == [True]
        await lease.release()


async def test_a_lease_that_was_never_had_can_be_released() -> None:
    """Its thread has ended, and its loop is closed."""

    async def connect() -> Beats:
        raise Unavailable("away")

    registration = Registration(uuid4(), "me", "", 1, 0, (), (), "1", 15.0)
    lease = Lease(
        connect,
        registration,
        on_beat=lambda *_: None,
        on_hint=_unexpected,
        on_lost=lambda _: None,
    )
    with pytest.raises(Unavailable, match="away"):
        await lease.acquire()
    await lease.release()
    lease.beat_soon()


async def test_a_worker_that_was_declared_dead_before_its_first_beat_is_told_so() -> None:
    class Buried(Beats):
        async def beat(self, worker: UUID) -> Beat:
            return ALIVE._replace(alive=False)

    async def connect() -> Beats:
        return Buried()

    registration = Registration(uuid4(), "me", "", 1, 0, (), (), "1", 15.0)
    lease = Lease(
        connect, registration, on_beat=_unexpected, on_hint=_unexpected, on_lost=_unexpected
    )
    async with asyncio.timeout(20):
        with pytest.raises(LeaseLost, match="before its first"):
            await lease.acquire()
        await lease.release()


def _unexpected(*_: object) -> None:
    raise AssertionError("it has never lived")
