"""A clock that stands still until somebody moves it.

Whatever of a run waits for a time waits here: as an alarm, or as a task that sleeps. Alarms
ring in the order of their times, and of being set where those are equal.
"""

from __future__ import annotations

import asyncio
import functools
import heapq
import itertools
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self, cast

from .._runtime.clock import Alarm, Clock


class _Alarm:
    __slots__ = ("callback", "is_over", "number", "when")

    def __init__(self, when: datetime, number: int, callback: Callable[[], object]) -> None:
        self.when = when
        self.number = number
        self.callback = callback
        self.is_over = False

    def cancel(self) -> None:
        self.is_over = True

    def __lt__(self, other: _Alarm) -> bool:
        return (self.when, self.number) < (other.when, other.number)


class VirtualClock(Clock):
    """The clock of one environment; belongs to its event loop."""

    def __init__(self, at: datetime) -> None:
        self._at = at
        self._alarms: list[_Alarm] = []
        self._numbers = itertools.count()
        self.asleep: set[asyncio.Task[Any]] = set()  # tasks that only this clock can wake

    def now(self) -> datetime:
        return self._at

    def set(self, now: datetime, mark: float) -> None:
        """A heartbeat tells the database's time, which follows this one."""

    def call_at(self, when: datetime, callback: Callable[[], object]) -> Alarm:
        alarm = _Alarm(max(when, self._at), next(self._numbers), callback)
        if alarm.when > self._at:
            heapq.heappush(self._alarms, alarm)
        else:
            asyncio.get_running_loop().call_soon(_ring, alarm)
        return alarm

    async def sleep(self, seconds: float) -> None:
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        when = self._at + timedelta(seconds=seconds)
        alarm = self.call_at(when, functools.partial(_end, over))
        try:
            with self.sleeping():
                await over
        finally:
            alarm.cancel()

    async def hang(self) -> None:
        """Sleep until cancelled."""
        with self.sleeping():
            await asyncio.get_running_loop().create_future()

    def timeout(self, seconds: float | None) -> asyncio.Timeout:
        # That class is final; this one has what is asked of it.
        return cast("asyncio.Timeout", _Timeout(self, seconds))

    @property
    def next_alarm(self) -> datetime | None:
        while self._alarms and self._alarms[0].is_over:
            heapq.heappop(self._alarms)
        return self._alarms[0].when if self._alarms else None

    def move(self, to: datetime) -> None:
        """It is ``to`` now: what was set for then, or before, rings."""
        assert to >= self._at, "time does not go back"
        self._at = to
        while (when := self.next_alarm) is not None and when <= to:
            _ring(heapq.heappop(self._alarms))

    @contextmanager
    def sleeping(self) -> Generator[None]:
        """What the current task does in the block counts as sleep."""
        task = asyncio.current_task()
        assert task is not None
        self.asleep.add(task)
        try:
            yield
        finally:
            self.asleep.discard(task)


def _end(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)


def _ring(alarm: _Alarm) -> None:
    if not alarm.is_over:
        alarm.is_over = True
        alarm.callback()


class _Timeout:
    """``asyncio.timeout`` by that clock."""

    def __init__(self, clock: VirtualClock, seconds: float | None) -> None:
        self._clock = clock
        self._seconds = seconds
        self._scope = asyncio.timeout(None)
        self._alarm: Alarm | None = None

    async def __aenter__(self) -> Self:
        await self._scope.__aenter__()
        if self._seconds is not None:
            due = self._clock.now() + timedelta(seconds=self._seconds)
            self._alarm = self._clock.call_at(due, self._expire)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        await self._scope.__aexit__(kind, error, traceback)

    def expired(self) -> bool:
        return self._scope.expired()

    def reschedule(self, when: float) -> None:
        self._scope.reschedule(when)

    def _expire(self) -> None:
        self._scope.reschedule(asyncio.get_running_loop().time())
