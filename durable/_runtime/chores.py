"""Chores: what any worker does for all of them, now and then. Each may be done by several
at once, and again, without harm.

- *takeover*: runs of a worker that is dead go back to be claimed;
- *unserved*: due runs whose workflow no live worker knows are marked, and unmarked;
- at the end of this worker: its own runs are handed back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import datetime
from typing import TYPE_CHECKING

from .._core import commands
from .._core.leases import is_dead
from .._store.protocol import HandBack, Unavailable
from . import process
from .instance import Instance

if TYPE_CHECKING:
    from .worker import LiveWorker

log = logging.getLogger("durable")

SWEEP_SECONDS = 5.0


class Chores:
    def __init__(self, worker: LiveWorker) -> None:
        self._worker = worker
        self._poked = asyncio.Event()
        self._swept_at = time.monotonic()

    def poke(self) -> None:
        """Another worker's heartbeat is late."""
        self._poked.set()

    async def greet(self) -> None:
        """At the start: take over from processes of this machine that are gone."""
        await self._judge()

    async def run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(SWEEP_SECONDS):
                    await self._poked.wait()
            except TimeoutError:
                pass
            self._poked.clear()
            try:
                await self._judge()
                if time.monotonic() - self._swept_at >= SWEEP_SECONDS:
                    self._swept_at = time.monotonic()
                    await self._worker.store.runs.sweep_unserved()
            except Unavailable as error:
                log.warning("the database did not answer a chore: %s", error)

    async def _judge(self) -> None:
        worker = self._worker
        beaten_for = time.monotonic() - worker.beaten_since
        me = worker.registration.worker
        for suspect in await worker.store.workers.suspects(me):
            gone = process.is_gone(suspect.host, suspect.pid, suspect.pid_started)
            if gone or is_dead(
                silent_for=suspect.silent_for,
                lease=suspect.lease,
                lock_is_free=suspect.lock_is_free,
                judge_beaten_for=beaten_for,
                server_up_for=suspect.server_up_for,
            ):
                why = "its process is gone" if gone else f"silent for {suspect.silent_for:.1f} s"
                # By heartbeat it is judged as of that beat; a process that is gone stays gone.
                judged_at = None if gone else suspect.beat_at
                count = await worker.store.workers.take_over(suspect.worker, judged_at=judged_at)
                log.warning("worker %s is dead (%s); %d runs taken over", suspect.name, why, count)
                worker.claimer.poke()

    async def set_stuck(self, run: int, claim: int, report: str) -> None:
        """Note that no code here can continue the run; tried until the database answers."""
        worker = self._worker
        while True:
            try:
                registration = worker.registration
                await worker.store.runs.set_stuck(
                    registration.worker, run, claim, report=report, build=registration.build
                )
            except Unavailable:
                await asyncio.sleep(0.5)
            else:
                return

    async def hand_back(self) -> None:
        """The runs in memory go back to the database, due when they have something to do."""
        worker = self._worker
        now = worker.clock.now()
        runs = [_handed_back(each, now) for each in worker.active.values()]
        await worker.store.runs.hand_back(worker.registration.worker, runs)
        await worker.store.workers.deregister(worker.registration.worker)


def _handed_back(instance: Instance, now: datetime) -> HandBack:
    waits_for, waits_at = instance.waiting()
    waits = list(instance.replayer.open.values())
    timers = [each.due for each in waits if isinstance(each, commands.Wait)]
    has_work = bool(instance.arrivals) or len(timers) < len(waits) or not waits
    due_at = now if has_work else min(timers)
    return HandBack(instance.run, instance.claim, due_at, waits_for, waits_at)
