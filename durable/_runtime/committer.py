"""Group commit: the turns of many runs, one transaction.

Runs with news stand in a queue. A slice of at most a few milliseconds feeds them and
gathers what they want written; a sender writes whatever has gathered while its last
commit was under way, or a second one as soon as that is much. There are no timers: an idle
committer writes at once, a busy one writes more at a time. What two commits have under way is of
different runs: their order makes no difference, and is not known after a loss.

Nothing that a turn asked for is let out before its verdict: ``on_written`` gets a run with what
became of its rows, ``on_refused`` one that can go on no further, and ``on_fenced`` is told when
this worker counts as dead.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from .._core.hosts import lent
from .._store.protocol import Advance, Unavailable, Unwritable, Verdict
from .._store.verbs import Journal
from ..errors import LeaseLost
from .clock import Clock
from .complaints import Complaint
from .instance import Instance
from .metrics import Meter
from .watchdog import Watchdog

log = logging.getLogger("durable.worker")

LEFT_OUT = Verdict.LEFT_OUT

# The host's loop is ours for this long at a time, in seconds: up to three parts take such a slice
# in one round of it, and 5 ms are promised (bench hostloop).
SLICE_SECONDS = 0.0015

# Past 500 rows a statement, time per row no longer falls (measured: 3.6 us of Python at 500),
# and a smaller batch lets go of its locks sooner.
BATCH_ROWS_MAX = 500
BATCH_BYTES_MAX = 8 * 1024 * 1024

# So many turns are worth a commit that waits at the line behind the one under way: the database
# goes on with it at once, instead of waiting until this loop has come round.
AHEAD = 100

# A database that is away is asked again at this pace, in seconds.
PAUSE_FIRST, PAUSE_MAX = 0.05, 2.0

# What another commit holds is free again after one of these, in seconds; what is not is a
# stranger's. (Two workers whose runs end into one parent: alone, one after the other, 14 ms each.)
PASSING_SECONDS = (0.01, 0.02, 0.04, 0.08)


class Committer:
    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        *,
        worker: Callable[[], UUID],
        on_written: Callable[[Instance, Advance, Verdict], None],
        on_refused: Callable[[Instance, str], None],
        on_fenced: Callable[[UUID, float], None],
        watchdog: Watchdog,
        meter: Meter,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._worker = worker
        self._on_written = on_written
        self._on_refused = on_refused
        self._on_fenced = on_fenced
        self._watchdog = watchdog
        self._queue: deque[Instance] = deque()
        self._unfit: list[tuple[Instance, str | Exception]] = []  # found in this slice
        self._gathered: deque[tuple[Instance, Advance]] = deque()
        self._aside: set[asyncio.Task[None]] = set()
        self._more, self._much = asyncio.Event(), asyncio.Event()
        self._under_way = 0  # commits that are sent and not answered
        self._slice: asyncio.Handle | None = None
        self._answered: deque[tuple[tuple[Instance, Advance], Verdict]] = deque()
        self._settling: asyncio.Handle | None = None
        self._host = asyncio.get_running_loop()
        self._meter = meter
        self._complaint = Complaint(log, "the database takes commits again, after %.1f s")
        self.refusal: str | None = None  # of the commit that is sent again and again

    def submit(self, instance: Instance) -> None:
        """News has come for a run. While a commit of it is under way, it waits."""
        if instance.in_flight or instance.is_queued or instance.lost:
            return
        instance.is_queued = True
        self._queue.append(instance)
        if self._slice is None:
            self._slice = self._host.call_soon(self._run_slice)

    def busy(self) -> bool:
        return bool(self._queue or self._gathered or self._answered or self._aside)

    def clear(self) -> None:
        """The worker has died: what is not written is not written any more."""
        self._queue.clear()
        self._gathered.clear()
        self._answered.clear()
        for task in self._aside:
            task.cancel()

    async def once(self) -> None:
        """Send what has gathered, or what will have."""
        await self._send_when(self._more)

    async def ahead(self) -> None:
        """The same, when much has gathered behind a commit that is under way."""
        await self._send_when(self._much)

    async def _send_when(self, told: asyncio.Event) -> None:
        await told.wait()
        if not self._gathered or (self._under_way and len(self._gathered) < AHEAD):
            told.clear()
            return
        self._under_way += 1
        try:
            await self._send(self._take_batch())
        finally:
            self._under_way -= 1
            if self._gathered:
                self._more.set()

    # Feeding

    def _run_slice(self) -> None:
        self._slice = None
        end = time.monotonic() + SLICE_SECONDS
        queue, now = self._queue, self._clock.now()
        with lent():
            while queue:
                instance = queue.popleft()
                instance.is_queued = False
                if not instance.lost:
                    self._gather(instance, now)
                if queue and time.monotonic() > end:
                    self._slice = self._host.call_soon(self._run_slice)
                    break
        while self._unfit:
            instance, report = self._unfit.pop()
            if isinstance(report, Exception):
                log.error("run %r could not be fed", instance.id, exc_info=report,
                          extra=instance.facts)  # fmt: skip
                report = f"it could not be fed: {report!r}"
            self._on_refused(instance, report)
        if self._gathered and not self._under_way:
            self._more.set()  # an idle sender waits for no more
        elif len(self._gathered) >= AHEAD:
            self._more.set()
            self._much.set()

    def _gather(self, instance: Instance, now: datetime) -> None:
        self._watchdog.running = instance
        try:
            advance = instance.advance(now)
        except Exception as error:  # noqa: BLE001 - told when the host has its loop again
            self._unfit.append((instance, error))
            return
        finally:
            self._watchdog.running = None
        if advance is not None:
            instance.in_flight = True
            self._gathered.append((instance, advance))
        elif instance.report is not None:
            self._unfit.append((instance, instance.report))

    def _settle_slice(self) -> None:
        """Let out what was written, while the next commit is under way: the database is not to
        wait for it."""
        self._settling = None
        end = time.monotonic() + SLICE_SECONDS
        answered = self._answered
        while answered:
            (instance, advance), verdict = answered.popleft()
            if verdict is LEFT_OUT:
                self._set_aside(instance, advance)
            else:
                self._settle(instance, advance, verdict)
            if answered and time.monotonic() > end:  # activities may begin in here
                self._settling = self._host.call_soon(self._settle_slice)
                return

    # Sending

    def _take_batch(self) -> list[tuple[Instance, Advance]]:
        batch: list[tuple[Instance, Advance]] = []
        rows = size = 0
        gathered = self._gathered
        while gathered and rows < BATCH_ROWS_MAX and size < BATCH_BYTES_MAX:
            pair = gathered.popleft()
            batch.append(pair)
            advance = pair[1]
            rows += len(advance.rows)
            size += advance.size
        return batch

    async def _send(self, batch: list[tuple[Instance, Advance]]) -> None:
        try:
            verdicts = await self._commit([advance for _, advance in batch])
        except LeaseLost:
            for instance, advance in batch:  # what has come since then is not written either
                self._settle(instance, advance, Verdict.LOST)
            return
        except Unwritable as error:
            await self._split(batch, error)
            return
        self._answered.extend(zip(batch, verdicts, strict=True))
        if self._settling is None:
            self._settling = self._host.call_soon(self._settle_slice)

    async def _commit(self, advances: list[Advance], *, patient: bool = False) -> list[Verdict]:
        """Send until the database answers. The same keys go each time, so a send that did
        happen, unseen, is recognised."""
        pause = PAUSE_FIRST
        while True:
            worker, began = self._worker(), time.monotonic()
            try:
                verdicts = await self._journal.commit(worker, advances, patient=patient)
            except LeaseLost:
                self._on_fenced(worker, began)  # it may live under another name by now
                raise
            except Unavailable as error:
                self.refusal = str(error)
                self._complaint.raised(
                    "the database did not take a commit (%s); sending it again", error
                )
                self._meter.count("durable_commits_refused_total")
            else:
                self.refusal = None
                self._complaint.over()
                self._meter.committed(advances, began)
                return verdicts
            await asyncio.sleep(pause)
            pause = min(pause * 2, PAUSE_MAX)

    async def _split(self, batch: list[tuple[Instance, Advance]], error: Unwritable) -> None:
        """Some value in this batch cannot be written: find whose, spare the others."""
        if len(batch) > 1:
            middle = len(batch) // 2
            await self._send(batch[:middle])
            await self._send(batch[middle:])
            return
        self._unwritable(batch[0][0], error)

    def _unwritable(self, instance: Instance, error: Unwritable) -> None:
        instance.in_flight = False
        if not instance.lost:
            self._on_refused(instance, f"the database refused what the run wants written: {error}")

    def _set_aside(self, instance: Instance, advance: Advance) -> None:
        """Somebody holds a lock that this turn needs. Another worker lets go of it in a moment, so
        it is sent again with what has gathered then; a stranger may not: then it waits alone, in
        the lock queue."""

        async def wait() -> None:
            instance.left_out += 1
            if instance.left_out <= len(PASSING_SECONDS):
                await asyncio.sleep(PASSING_SECONDS[instance.left_out - 1])
                self._gathered.append((instance, advance))
                self._more.set()
                return
            while not instance.lost:
                try:
                    (verdict,) = await self._commit([advance], patient=True)
                except LeaseLost:
                    verdict = Verdict.LOST
                except Unwritable as error:
                    self._unwritable(instance, error)
                    return
                if verdict is not LEFT_OUT:
                    self._settle(instance, advance, verdict)
                    return

        task = self._host.create_task(wait())
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    def _settle(self, instance: Instance, advance: Advance, verdict: Verdict) -> None:
        instance.in_flight, instance.left_out = False, 0
        if instance.lost:
            return
        try:
            self._on_written(instance, advance, verdict)
        except Exception as error:
            log.exception("run %r could not go on", instance.id, extra=instance.facts)
            self._on_refused(instance, f"it could not go on: {error!r}")
            return
        if instance.arrivals or (instance.noted is not None and instance.noted.has_news):
            self.submit(instance)
