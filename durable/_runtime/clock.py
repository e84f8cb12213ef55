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


class Clock:
    def __init__(self) -> None:
        self.set(datetime.now(UTC))

    def set(self, now: datetime) -> None:
        """The database has just answered that it is ``now``."""
        self._base = now
        self._mark = time.monotonic()

    def now(self) -> datetime:
        return self._base + timedelta(seconds=time.monotonic() - self._mark)

    def call_at(self, when: datetime, callback: Callable[[], object]) -> Alarm:
        """Call at that time, or earlier if it is far off: look again then."""
        wait = (when - self.now()).total_seconds()
        host = asyncio.get_running_loop()
        return host.call_later(min(max(wait, 0.0), WAKE_MAX_SECONDS), callback)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def timeout(self, seconds: float | None) -> asyncio.Timeout:
        return asyncio.timeout(seconds)
