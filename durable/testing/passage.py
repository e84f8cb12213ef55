"""How time passes in an environment: from one moment at which something is due to the next.

Between two moments all that is under way ends first. That is what makes it exact: nothing is
early, nothing that was due is skipped, and what is due at one moment happens in one order.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

from ..errors import DurableError
from .clock import VirtualClock
from .worker import EnvironmentWorker
from .worlds import World, told

# Rounds of the loop in which nothing may happen before a worker counts as at rest: callbacks
# that are due run in the next one.
QUIET_ROUNDS = 3

# What is looked at again and again, at first every round of the loop and then at this pace:
# activities that run for real take the time they take.
SPIN_ROUNDS = 200
LOOK_SECONDS = 0.001


class Stalled(DurableError):
    """A result is awaited that can never come: nothing goes on, and no timer is set.

    Attributes:
        waits: what each awaited run waits for, in words.
    """

    def __init__(self, *, waits: list[str]) -> None:
        super().__init__(
            f"Nothing more can happen by itself: {'; '.join(waits)}. No timer is set, and no "
            "activity will end by itself. Send what is waited for before awaiting the result."
        )
        self.waits = waits


class Waiters(Protocol):
    """Who awaits results."""

    def awaited(self) -> list[int]: ...
    async def tell_settled(self) -> bool: ...
    def fail(self, error: Exception) -> None: ...


class Passage:
    """Moves the time of one environment. ``patience`` is in real seconds: how long a moment may
    last, at most, when ``advance`` was asked for more; and how long nothing may happen before
    awaiting a result is given up."""

    def __init__(
        self,
        clock: VirtualClock,
        world: World,
        worker: Callable[[], EnvironmentWorker],
        waiters: Waiters,
        *,
        patience: float,
    ) -> None:
        self._clock = clock
        self._world = world
        self._worker = worker
        self._waiters = waiters
        self._patience = patience
        self._moving = asyncio.Lock()  # time has one hand at a time
        self._interested = 0
        self._driver: asyncio.Task[None] | None = None

    async def advance(self, to: datetime) -> None:
        async with self._moving:
            while True:
                coming = await self._settled(self._patience)
                if coming is None or coming > to:
                    break
                await self._move(coming)
            await self._move(to)
            await self._settled(self._patience)

    @contextmanager
    def interest(self) -> Generator[None]:
        """While somebody awaits what time brings, it passes by itself."""
        self._interested += 1
        if self._driver is None or self._driver.done():
            self._driver = asyncio.get_running_loop().create_task(self._drive())
        try:
            yield
        finally:
            self._interested -= 1

    async def close(self) -> None:
        if self._driver is not None:
            self._driver.cancel()
            await asyncio.gather(self._driver, return_exceptions=True)

    async def _drive(self) -> None:
        try:
            await self._pass()
        except Exception as error:  # noqa: BLE001 - whoever awaits a result raises it
            self._waiters.fail(error)

    async def _pass(self) -> None:
        idle_since: float | None = None
        while self._interested:
            async with self._moving:
                coming = await self._settled(None)
                if await self._waiters.tell_settled() or not self._interested:
                    idle_since = None
                elif coming is not None:
                    idle_since = None
                    await self._move(coming)
                elif idle_since is None:
                    idle_since = time.monotonic()
                elif time.monotonic() - idle_since > self._patience:
                    await self._give_up()
            await asyncio.sleep(0 if idle_since is None else LOOK_SECONDS)

    async def _give_up(self) -> None:
        """Only the test itself could bring news, and it awaits the result."""
        live = self._worker().active
        awaited = self._waiters.awaited()
        waits = await self._world.waits([run for run in awaited if run not in live])
        waits += [told(live[run].id, *live[run].waiting()) for run in awaited if run in live]
        if waits:
            self._waiters.fail(Stalled(waits=waits))

    async def _move(self, to: datetime) -> None:
        await self._world.set_time(to)  # first: what it gives out then is not due too early
        self._clock.move(to)

    async def _settled(self, patience: float | None) -> datetime | None:
        """Wait until nothing is under way; when is the next moment? Attempts that go on for
        longer than ``patience`` are left to go on."""
        until = None if patience is None else time.monotonic() + patience
        while True:
            impatient = await self._quiet(until)
            worker = self._worker()
            coming = await self._world.coming(worker.registration)
            if not worker.is_at_rest(but_for_attempts=impatient):
                continue
            if coming.overdue:
                worker.chores.deadline_passed()
            elif coming.farewell:
                worker.chores.tell_children()
            elif coming.mail:
                worker.claimer.mail_came()
            elif coming.due and worker.room:
                worker.claimer.poke()
            else:
                moments = [each for each in (coming.next, self._clock.next_alarm) if each]
                return min(moments, default=None)
            await asyncio.sleep(0)

    async def _quiet(self, until: float | None) -> bool:
        """Wait until the worker is at rest; True if attempts went on for too long."""
        quiet = rounds = 0
        while quiet < QUIET_ROUNDS:
            worker = self._worker()
            impatient = until is not None and time.monotonic() > until
            quiet = quiet + 1 if worker.is_at_rest(but_for_attempts=impatient) else 0
            if quiet == QUIET_ROUNDS:
                return impatient
            rounds += 1
            await asyncio.sleep(0 if rounds < SPIN_ROUNDS else LOOK_SECONDS)
        return False
