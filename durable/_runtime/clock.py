"""The runtime's clock: the database's time, carried on by this machine's monotonic clock.

Setting the machine's clock changes nothing; each heartbeat corrects the drift. The time is
late by up to the way of an answer, never early, so no timer fires before its time.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta


class Clock:
    def __init__(self) -> None:
        self.set(datetime.now(UTC))

    def set(self, now: datetime) -> None:
        """The database has just answered that it is ``now``."""
        self._base = now
        self._mark = time.monotonic()

    def now(self) -> datetime:
        return self._base + timedelta(seconds=time.monotonic() - self._mark)
