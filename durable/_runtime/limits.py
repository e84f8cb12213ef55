"""The limits of one attempt: ``timeout``, ``timeout_total`` and ``heartbeat_timeout``.

The first one passed cancels the attempt, which then fails as timed out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from .clock import Alarm, Clock

if TYPE_CHECKING:
    from .work import Work

R = TypeVar("R")


class TimedOut(Exception):
    """The attempt, or all of them together, outlived a limit."""


def left_of_total(work: Work, clock: Clock) -> float | None:
    """Seconds that remain of ``timeout_total``; None if it has no end."""
    total = work.call.definition.options.timeout_total
    if total is None or work.since is None:
        return total
    return total - (clock.now() - work.since).total_seconds()


def total_is_over(work: Work) -> TimedOut:
    total = work.call.definition.options.timeout_total
    return TimedOut(f"its attempts together took longer than its timeout_total of {total:g} s")


async def within(work: Work, clock: Clock, call: Callable[[], Awaitable[R]]) -> R:
    """Await ``call()`` as long as the limits of the attempt under way allow.

    Raises:
        TimedOut: longer than that. ``work.stopped`` is set, for threads to see.
    """
    options = work.call.definition.options
    work.began_at = now = clock.now()
    work.since = work.since or now
    left, seconds = left_of_total(work, clock), options.timeout
    over = TimedOut(f"it ran longer than its timeout of {seconds} s")
    if left is not None and (seconds is None or left < seconds):
        seconds, over = left, total_is_over(work)
    if seconds is not None:
        work.deadline = now + timedelta(seconds=seconds)
    if seconds is not None and seconds <= 0:
        raise over
    scope = clock.timeout(seconds)
    work.watch = watch = Watch(clock, scope, options.heartbeat_timeout)
    try:
        async with scope:
            return await call()
    except TimeoutError as error:
        if not scope.expired():
            raise  # the activity's own
        work.stopped = True
        raise (watch.late or over) from error
    finally:
        watch.stop()


class Watch:
    """Ends the scope when the attempt has given no heartbeat for too long."""

    def __init__(self, clock: Clock, scope: asyncio.Timeout, silence_max: float | None) -> None:
        self.late: TimedOut | None = None
        self._clock = clock
        self._scope = scope
        self._host = asyncio.get_running_loop()
        self._alarm: Alarm | None = None
        self._silence_max = silence_max
        self.beat()
        if silence_max is not None:
            self._look()

    def beat(self) -> None:
        """From any thread."""
        self._beaten = self._clock.now()

    def stop(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()

    def _look(self) -> None:
        assert self._silence_max is not None
        end = self._beaten + timedelta(seconds=self._silence_max)
        if self._clock.now() < end:
            self._alarm = self._clock.call_at(end, self._look)
        elif not self._scope.expired():
            self.late = TimedOut(f"no heartbeat came for {self._silence_max:g} s")
            self._scope.reschedule(self._host.time())
