"""An event loop for a whole world of processes: no clock, no sockets, no threads.

A *lane* is what one thread of one process has to do, first come, first served, as asyncio promises
it. Whose turn it is among the lanes is drawn from the seed. Time moves when no lane has anything to
do. A lane that is held does nothing until it is let go: its process is stopped, or its loop is
blocked, or it is dead.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any

LANE: contextvars.ContextVar[Lane] = contextvars.ContextVar("lane")

# So many callbacks of a lane may run before another has its turn.
BURST_MAX = 8


class Lane:
    """``start`` and ``rate`` are those of its machine's monotonic clock."""

    def __init__(self, name: str, *, start: float = 0.0, rate: float = 1.0) -> None:
        self.name = name
        self.start = start
        self.rate = rate
        self.held = 0  # by so many
        self.ready: deque[asyncio.Handle] = deque()
        self.context = contextvars.copy_context()
        self.context.run(LANE.set, self)

    def clock(self, now: float) -> float:
        return self.start + now * self.rate


class Still(Exception):
    """Nothing will ever happen any more."""


class SimulatedLoop(asyncio.BaseEventLoop):
    """``now`` is the true time, in seconds; each lane reads it from its own clock."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self.now = 0.0
        self.home = Lane("world")
        self.lanes = [self.home]
        self.steps = 0
        self.complaints: list[str] = []
        self._chance = chance
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = itertools.count()

    def lane(self, name: str, **clock: float) -> Lane:
        self.lanes.append(Lane(name, **clock))
        return self.lanes[-1]

    def current(self) -> Lane:
        return LANE.get(self.home)

    # What asyncio asks for

    def time(self) -> float:
        return self.current().clock(self.now)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        lane = self._lane_of(timer)
        heapq.heappush(self._timers, ((when - lane.start) / lane.rate, next(self._numbers), timer))
        return timer

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        lane = self.current() if context is None else context.get(LANE, self.home)
        when = lane.clock(self.now) + delay
        return self.call_at(when, callback, *args, context=context)

    def _call_soon(
        self, callback: Callable[..., object], args: Any, context: Context | None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._lane_of(handle).ready.append(handle)
        return handle

    def _lane_of(self, handle: asyncio.Handle) -> Lane:
        return handle._context.get(LANE, self.home)  # type: ignore[attr-defined,no-any-return]

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is passed over when its time comes."""

    def _write_to_self(self) -> None:
        """There is nobody to wake."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.complaints.append(f"{self.current().name}: {context.get('message')}: {error!r}")

    def _run_once(self) -> None:
        timers = self._timers
        while timers and timers[0][0] <= self.now:
            timer = heapq.heappop(timers)[2]
            if not timer.cancelled():
                self._lane_of(timer).ready.append(timer)
        busy = [lane for lane in self.lanes if lane.ready and not lane.held]
        if not busy:
            if not timers:
                raise Still
            self.now = timers[0][0]
            return
        lane = busy[0] if len(busy) == 1 else self._chance.choice(busy)
        for _ in range(self._chance.randint(1, BURST_MAX)):
            if not lane.ready or lane.held or self._stopping:  # type: ignore[attr-defined]
                break
            handle = lane.ready.popleft()
            self.steps += 1
            if not handle.cancelled():
                handle._run()
