"""The runtime's clock: the database's time, carried on by this machine's monotonic clock.

Whatever of a run waits for a time waits here, so that a test may put a clock of its own in
this one's place (``durable/testing/clock.py``). Leases have no part in it: they are judged
by the machine's monotonic clock here, and by the database's there.

Setting the machine's clock changes nothing; each heartbeat corrects the drift. The time is
late by up to the way of an answer, never early, so no timer fires before its time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

# One wake-up of the loop is never asked for further off than this; the clock may be
# corrected meanwhile, and some platforms take no longer sleeps.
WAKE_MAX_SECONDS = 3600.0


class Alarm(Protocol):
    def cancel(self) -> None: ...


# Two good clocks part by less than this, in seconds per second.
DRIFT_MAX = 1e-4

# An answer that says so much less than was known means that the database's clock was set.
STEP = timedelta(seconds=1)


class Clock:
    def __init__(self) -> None:
        self._base, self._mark = datetime.now(UTC), time.monotonic()
        self._was_set = False

    def set(self, now: datetime, mark: float) -> None:
        """The database's answer, that it is ``now``, had come by ``mark`` (monotonic). One that
        was long on its way says less than a quick one before it, and is not believed."""
        passed = mark - self._mark
        known = self._base + timedelta(seconds=passed)
        if self._was_set and now < known < now + STEP:
            now = max(now, known - timedelta(seconds=passed * DRIFT_MAX))
        self._base, self._mark, self._was_set = now, mark, True

    def now(self) -> datetime:
        """Not ahead of the database's, though this machine may be the faster of two good ones."""
        return self._base + timedelta(seconds=(time.monotonic() - self._mark) * (1 - DRIFT_MAX))

    def call_at(self, when: datetime, callback: Callable[[], object]) -> Alarm:
        """Call at that time, or earlier if it is far off: look again then."""
        wait = (when - self.now()).total_seconds()
        host = asyncio.get_running_loop()
        return host.call_later(min(max(wait, 0.0), WAKE_MAX_SECONDS), callback)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def timeout(self, seconds: float | None) -> asyncio.Timeout:
        return asyncio.timeout(seconds)
