"""The limits of one attempt: ``timeout``, ``timeout_total`` and ``heartbeat_timeout``.

The first one passed cancels the attempt, which then fails as timed out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from .clock import Clock

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
    work.began_at = now = clock.now()
    work.since = work.since or now
    left, seconds = left_of_total(work, clock), work.call.definition.options.timeout
    work.over = TimedOut(f"it ran longer than its timeout of {seconds} s")
    if left is not None and (seconds is None or left < seconds):
        seconds, work.over = left, total_is_over(work)
    if seconds is not None:
        work.deadline = now + timedelta(seconds=seconds)
        if seconds <= 0:
            raise work.over
    work.scope = clock.timeout(seconds)
    try:
        async with work.scope:
            return await call()
    except TimeoutError as error:
        if not work.scope.expired():
            raise  # the activity's own
        work.stopped = True
        raise work.over from error
    finally:
        work.scope = None


def listen(work: Work, now: datetime) -> None:
    """End an attempt that has given no heartbeat for too long. Called now and then: a silence
    is as long as it is seen."""
    silence_max = work.call.definition.options.heartbeat_timeout
    if silence_max is None or work.scope is None or work.scope.expired():
        return
    if work.heard_at is None or work.has_beaten:
        work.heard_at, work.has_beaten = now, False
    elif now - work.heard_at > timedelta(seconds=silence_max):
        work.over = TimedOut(f"no heartbeat came for {silence_max:g} s")
        work.scope.reschedule(asyncio.get_running_loop().time())
