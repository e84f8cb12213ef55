"""Chores: what any worker does for all of them, now and then. Each may be done by several
at once, and again, without harm.

- *takeover*: runs of a worker that is dead go back to be claimed;
- *deadlines*: runs whose time is up are asked to cancel;
- *farewell*: children of a run that has ended are told, or ended, as they were begun with;
- *unserved*: due runs whose workflow no live worker knows are marked, and unmarked;
- at the end of this worker: its own runs are handed back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from .._core import commands
from .._core.leases import seconds_left
from .._store.protocol import HandBack, Hint, Suspect
from ..errors import StoreUnavailable
from . import process
from .instance import Instance
from .lease import BEAT_SECONDS

if TYPE_CHECKING:
    from .worker import LiveWorker

log = logging.getLogger("durable.worker")

SWEEP_SECONDS = 5.0

# A judge that comes in time comes so much later.
MARGIN_SECONDS = 0.01

# With fewer live runs hints are told and followed at once: somebody waits for just that. With more
# those of one kind gather for so long.
LITTLE = 16
ANNOUNCE_SECONDS = 0.02

DEREGISTER_TRIES = 2

# Of a report on a stuck run: it is read by people.
REPORT_CHARS_MAX = 8 * 1024


Chore: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


class Chores:
    def __init__(self, worker: LiveWorker) -> None:
        self._worker = worker
        self._poked = asyncio.Event()
        self._announcers = {hint: Announcer(worker, hint) for hint in Hint}
        self._wanted: dict[Chore, None] = {}  # in the order of being asked for, each once
        self._swept_at = float("-inf")

    def judge_soon(self) -> None:
        """Another worker's heartbeat is late."""
        self._want(self._judge)

    def sweep_soon(self) -> None:
        """Runs may wait for other code, or for code that has come."""
        if time.monotonic() - self._swept_at >= SWEEP_SECONDS:
            self._want(self._sweep)

    def deadline_passed(self) -> None:
        """A run is still open at its deadline."""
        self._want(self._expire)

    def tell_children(self) -> None:
        """A run has ended that has begun others."""
        self._want(self._tell_children)

    @property
    def has_little(self) -> bool:
        return len(self._worker.active) < LITTLE

    def hinted(self) -> None:
        """Something is due, or has come for a run of this worker. The beat that follows finds it,
        with all that comes meanwhile."""
        if self.has_little:
            claimer = self._worker.claimer
            (claimer.mail_came if self._worker.active else claimer.poke)()

    def announce(self, hint: Hint) -> None:
        """Somebody may be waiting for that elsewhere."""
        self._announcers[hint].news.set()

    def rounds(self) -> list[Chore]:
        """What is to be done again and again, side by side."""
        return [self.once, *(each.once for each in self._announcers.values())]

    async def greet(self) -> None:
        """At the start, when a beat has told: bring back what waits for a worker like this one.
        Nobody waits for what is then done, which is to take over from processes of this machine
        that are gone."""
        if self._sweep in self._wanted:
            del self._wanted[self._sweep]
            await self._sweep()
        self._want(self._judge)

    def _want(self, chore: Chore) -> None:
        self._wanted[chore] = None
        self._poked.set()

    async def once(self) -> None:
        """What a beat has found to be done; nothing is asked for otherwise."""
        await self._poked.wait()
        self._poked.clear()
        try:
            while self._wanted:
                chore = next(iter(self._wanted))
                del self._wanted[chore]
                await chore()
        except StoreUnavailable as error:
            log.warning("the database did not answer a chore: %s", error)
        except Exception:
            self._poked.set()  # go round once more, to be well again
            raise

    async def _judge(self) -> None:
        worker = self._worker
        beaten_for = time.monotonic() - worker.beaten_since
        me = worker.registration.worker
        for suspect in await worker.store.workers.suspects(me):
            why = _is_gone(suspect)
            # By heartbeat it is judged as of that beat; what is dead for sure stays dead.
            judged_at = None if why else suspect.beat_at
            if why is None:
                left = _seconds_left(suspect, beaten_for)
                if left >= 0:
                    self._judge_in_time(left)
                    continue
                why = f"silent for {suspect.silent_for:.1f} s"
            name = suspect.name
            facts: dict[str, Any] = {"worker": name}
            try:
                count = await worker.store.workers.take_over(suspect.worker, judged_at=judged_at)
            except StoreUnavailable as error:
                log.warning("worker %s cannot be taken over yet: %s", name, error, extra=facts)
                continue
            facts["runs"] = count
            log.warning("worker %s is dead (%s); %d runs taken over", name, why, count, extra=facts)
            worker.meter.taken_over(count)
            worker.claimer.poke()

    def _judge_in_time(self, left: float) -> None:
        """Its time may be up before this worker beats again, and runs wait for that."""
        if left < BEAT_SECONDS:
            asyncio.get_running_loop().call_later(left + MARGIN_SECONDS, self.judge_soon)

    async def _sweep(self) -> None:
        self._swept_at = time.monotonic()
        swept = await self._worker.store.runs.sweep_unserved()
        if swept.set_aside:
            self._worker.meter.count("durable_runs_unserved_total", swept.set_aside)
            log.warning("due runs of workflows that no live worker serves: %d. See `durable list "
                        "--status unserved`", swept.set_aside)  # fmt: skip

    async def _expire(self) -> None:
        worker = self._worker
        if await worker.store.runs.expire():
            worker.claimer.mail_came()
            await worker.store.notify(Hint.DUE)
            worker.look_again()  # there may be more of them

    async def _tell_children(self) -> None:
        worker = self._worker
        while await worker.store.runs.tell_children():
            worker.claimer.mail_came()
            self.announce(Hint.DUE)

    async def set_stuck(
        self, facts: dict[str, Any], claim: int, report: str, cause: Exception | None = None
    ) -> None:
        """Note that no code here can continue the run; tried until the database answers. It is
        told only then: what made no sense here may be the work of whoever has the run by now."""
        worker, is_noted = self._worker, False
        # It quotes people's values: the database takes no NUL and no half character.
        report = writable(report)
        while True:
            try:
                registration = worker.registration
                is_noted |= await worker.store.runs.set_stuck(
                    registration.worker, facts["run"], claim, report=report,
                    build=registration.build,
                )  # fmt: skip
            except StoreUnavailable:
                is_noted = True  # or it may be: it would not be taken again
                await asyncio.sleep(0.5)
            else:
                break
        if is_noted:
            log.error("run %r is stuck: %s", facts["id"], report, extra=facts, exc_info=cause)
            worker.meter.count("durable_runs_stuck_total", workflow=facts["workflow"])
        else:
            log.info("run %r is not this worker's any more", facts["id"], extra=facts)

    async def hand_back(self, instances: Iterable[Instance]) -> None:
        """Runs go back to the database, due when they have something to do; what a stranger holds
        stays in memory, to be tried again."""
        worker, now = self._worker, self._worker.clock.now()
        runs = [_handed_back(each, now) for each in instances]
        if not runs:
            return
        try:
            went = await worker.store.runs.hand_back(worker.registration.worker, runs)
            for gone in [worker.active[run] for run in went if run in worker.active]:
                worker.forget(gone)
            if went:
                await worker.store.notify(Hint.DUE)
        except StoreUnavailable as error:
            log.warning("the database did not answer a hand-back: %s", error)

    async def deregister(self) -> None:
        """The last act, when no beat can follow. What is left, others take over."""
        workers, worker = self._worker.store.workers, self._worker.registration.worker
        for _ in range(DEREGISTER_TRIES):
            try:
                await workers.deregister(worker)
                return
            except StoreUnavailable as error:
                log.warning("the database did not answer a farewell: %s", error)


class Announcer:
    """One kind of hint; those that come together are one."""

    def __init__(self, worker: LiveWorker, hint: Hint) -> None:
        self.news = asyncio.Event()
        self._worker = worker
        self._hint = hint

    async def once(self) -> None:
        await self.news.wait()
        self.news.clear()
        try:
            await self._worker.store.notify(self._hint)
        except StoreUnavailable as error:
            log.debug("nobody was told of news (%s); they ask anyway", error)
        if not self._worker.chores.has_little:
            await asyncio.sleep(ANNOUNCE_SECONDS)


def writable(report: str) -> str:
    """Without what neither a database nor a terminal takes; it may come out of anybody's data."""
    return report[:REPORT_CHARS_MAX].replace("\0", "␀").encode("utf-8", "replace").decode()


def _seconds_left(suspect: Suspect, beaten_for: float) -> float:
    return seconds_left(
        silent_for=suspect.silent_for,
        lease=suspect.lease,
        lock_is_free=suspect.lock_is_free,
        judge_beaten_for=beaten_for,
        server_up_for=suspect.server_up_for,
    )


def _is_gone(suspect: Suspect) -> str | None:
    """Why a worker is dead whatever its heartbeats say; None if they are to say it."""
    if suspect.state == "dead":
        return "its takeover was begun and not ended"
    if process.is_gone(suspect.host, suspect.pid, suspect.pid_started):
        return "its process is gone"
    return None


def _handed_back(instance: Instance, now: datetime) -> HandBack:
    waits_for, waits_at = instance.waiting()
    waits = list(instance.replayer.open.values())
    timers = [each.due for each in waits if isinstance(each, commands.Wait)]
    has_work = bool(instance.arrivals) or any(isinstance(each, commands.Run) for each in waits)
    due_at = now if has_work else min(timers, default=None)
    return HandBack(instance.run, instance.claim, due_at, waits_for, waits_at)
