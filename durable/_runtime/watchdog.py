"""Names the line at which the event loop is held.

A workflow that computes for ever, or an ``async def`` activity that calls something that blocks,
stops everything that shares its loop, heartbeats excepted. Nobody inside that loop can say so; a
thread can.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .instance import Instance

log = logging.getLogger("durable.worker")

# Seconds a turn may take before its line is named. An honest turn takes microseconds.
BLOCKED_AFTER = 2.0

BLOCKING = (
    "In an `async def` nothing may block: await, or make it a plain `def` activity, which runs in "
    "a thread."
)
COMPUTING = (
    "A workflow may only compute briefly and await: move the work into an activity (a plain `def` "
    "runs in a thread)."
)


class Watchdog:
    """Watches one event loop, and its turns. To say which run has one costs an assignment."""

    def __init__(self) -> None:
        self.running: Instance | None = None  # whose turn it is
        self._loop: asyncio.AbstractEventLoop | None = None
        self._answered = 0.0  # the loop has run what it was given
        self._thread_id = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Watch the calling thread's loop until ``stop``."""
        self._loop = asyncio.get_running_loop()
        self._answered = time.monotonic()
        self._thread_id = threading.get_ident()
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="durable watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        """A run that stands at the same position for so long, with its turn not over; or a loop
        that runs nothing for so long, whoever holds it."""
        seen: tuple[Instance, int] | None = None
        since = told = asked = held = 0.0
        while not self._stop.wait(BLOCKED_AFTER / 4):
            if self._answered >= asked:
                asked = time.monotonic()
                if not self._ask():
                    return
            elif asked != held and time.monotonic() - asked > BLOCKED_AFTER:
                held = asked
                if self.running is None:
                    self._tell(None)
            running = self.running
            now = time.monotonic()
            turn = None if running is None else (running, running.position)
            if turn is None or turn != seen:
                seen, since = turn, now
            elif now - since > BLOCKED_AFTER and told != since:
                told = since
                self._tell(turn[0])

    def _ask(self) -> bool:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._answer)
        except RuntimeError:  # it is closed
            return False
        return True

    def _answer(self) -> None:
        self._answered = time.monotonic()

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._thread_id)
        return "".join(traceback.format_stack(frame)[-4:]) if frame else "(no stack)"

    def _tell(self, instance: Instance | None) -> None:
        who, facts, advice = "something", {}, BLOCKING
        if instance is not None:
            name = instance.definition.name
            who, facts, advice = (
                f"run {instance.id!r} of workflow {name!r}",
                instance.facts,
                COMPUTING,
            )
        log.error(
            "%s has held the event loop for %g s; nothing else runs meanwhile. It stands at:\n%s%s",
            who, BLOCKED_AFTER, self._stack(), advice, extra=facts,
        )  # fmt: skip
