"""Timers of live runs that are due soon: a heap, and one wake-up of the host's loop."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from datetime import datetime

from .clock import Clock

# One wake-up of the loop is never asked for further off than this; the clock may be
# corrected meanwhile, and some platforms take no longer sleeps.
WAKE_MAX_SECONDS = 3600.0

# Dropped entries kept beyond the number of live ones before the heap is rebuilt.
DROPPED_MAX = 1_000


class Timers:
    """``on_due`` gets (run, op) at or after its time, never before."""

    def __init__(self, clock: Clock, on_due: Callable[[int, int], None]) -> None:
        self._clock = clock
        self._on_due = on_due
        self._heap: list[tuple[datetime, int, int]] = []
        self._live: set[tuple[int, int]] = set()
        self._wake: asyncio.TimerHandle | None = None
        self._wakes_at: datetime | None = None
        self._host = asyncio.get_running_loop()

    def arm(self, run: int, op: int, due: datetime) -> None:
        heapq.heappush(self._heap, (due, run, op))
        self._live.add((run, op))
        if self._wakes_at is None or due < self._wakes_at:
            self._schedule()

    def drop(self, run: int, op: int) -> None:
        """Forget a timer. Its entry stays in the heap until its time, or until dropped
        entries outnumber the live ones (``asyncio.timeout`` makes one per step)."""
        self._live.discard((run, op))
        if len(self._heap) > 2 * len(self._live) + DROPPED_MAX:
            self._heap = [each for each in self._heap if each[1:] in self._live]
            heapq.heapify(self._heap)

    def clear(self) -> None:
        self._heap.clear()
        self._live.clear()
        self._schedule()

    def _fire(self) -> None:
        self._wakes_at = None
        now = self._clock.now()
        while self._heap and self._heap[0][0] <= now:
            _, run, op = heapq.heappop(self._heap)
            if (run, op) in self._live:
                self._live.discard((run, op))
                self._on_due(run, op)
        self._schedule()

    def _schedule(self) -> None:
        if self._wake is not None:
            self._wake.cancel()
            self._wake = self._wakes_at = None
        if self._heap:
            due = self._heap[0][0]
            wait = (due - self._clock.now()).total_seconds()
            self._wakes_at = due
            self._wake = self._host.call_later(min(max(wait, 0.0), WAKE_MAX_SECONDS), self._fire)
