"""Calls that may have to wait for a stranger's lock.

They are tried on the common connection, whose lock_timeout is short, so that one stranger's
open transaction does not hold up everybody's calls. One that must wait does so on a
connection of its own, and not for ever.
"""

from __future__ import annotations

import time
from typing import Any

import asyncpg

from ...errors import StoreUnavailable
from .line import Line

WAIT_SECONDS = 10.0


class Patience:
    def __init__(self, line: Line, aside: Line) -> None:
        self._line = line
        self._aside = aside

    async def fetchrow(self, what: str, query: str, *args: Any) -> Any:
        """Raises:
        StoreUnavailable: ``what`` stays locked."""
        until = time.monotonic() + WAIT_SECONDS
        line = self._line
        while True:
            try:
                return await line.fetchrow(query, *args)
            except asyncpg.LockNotAvailableError:
                if time.monotonic() > until:
                    raise StoreUnavailable(
                        f"An open transaction has held {what} for {WAIT_SECONDS:g} s. Is it one "
                        "of yours (a start or a signal with connection=...)? Commit it first. "
                        "Nothing was written."
                    ) from None
                line = self._aside
