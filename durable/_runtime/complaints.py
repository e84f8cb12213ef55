"""A trouble that goes on is told at once, then now and then, and when it is over."""

from __future__ import annotations

import logging
import time

# An outage of an hour is a hundred lines, not two thousand.
AGAIN_SECONDS = 30.0


class Complaint:
    """One trouble. Use it from one thread."""

    def __init__(self, log: logging.Logger, over: str) -> None:
        """``over``: what to say when it has ended, with the seconds that it took."""
        self._log = log
        self._over = over
        self._since: float | None = None
        self._told = 0.0

    def raised(self, text: str, *args: object, **given: object) -> None:
        """It happens; a warning, unless that was said a moment ago."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        elif now - self._told < AGAIN_SECONDS:
            return
        self._told = now
        self._log.warning(text, *args, **given)  # type: ignore[arg-type]

    def over(self) -> None:
        """It does not happen any more."""
        since, self._since = self._since, None
        if since is not None:
            self._log.warning(self._over, time.monotonic() - since)
