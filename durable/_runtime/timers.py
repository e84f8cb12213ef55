"""Timers of live runs that are due soon: a heap, and one wake-up of the host's loop."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import datetime

from .clock import Alarm, Clock

# Dropped entries kept beyond the number of live ones before the heap is rebuilt.
DROPPED_MAX = 1_000


class Timers:
    """``on_due`` gets (run, op) at or after its time, never before."""

    def __init__(self, clock: Clock, on_due: Callable[[int, int], None]) -> None:
        self._clock = clock
        self._on_due = on_due
        self._heap: list[tuple[datetime, int, int]] = []
        self._live: set[tuple[int, int]] = set()
        self._wake: Alarm | None = None
        self._wakes_at: datetime | None = None

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

    def look(self) -> None:
        """The clock may have been set, and what was far off be due."""
        if self._heap and self._heap[0][0] <= self._clock.now():
            self._fire()

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
            self._wakes_at = self._heap[0][0]
            self._wake = self._clock.call_at(self._wakes_at, self._fire)
