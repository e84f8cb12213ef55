"""The worker's right to live: one row, one heartbeat, one lock.

Heartbeats come from a thread with its own loop and connection, so that a blocked event loop
does not cost the worker its runs. Each beat is one statement, which also brings back what
the worker wants to know: the time, whether work is due, whether mail has come.

Two clocks judge a worker. Others may take its runs when it has been silent for a whole
lease (or for three seconds, when its connection is gone as well). It judges itself sooner:
past ``START_DEADLINE`` without an answered beat it begins no attempt.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from uuid import UUID

from .._core.leases import FREE_LOCK_SECONDS
from .._store.protocol import Beat, Registration, Unavailable
from .._store.verbs import Heartbeat
from ..errors import LeaseLost
from .complaints import Complaint

log = logging.getLogger("durable.worker")

BEAT_SECONDS = 1.0

# Beats that follow hints are at least this far apart, however many hints come.
HINT_PAUSE_SECONDS = 0.01

# The shortest time after which anyone may judge this worker dead.
START_DEADLINE = FREE_LOCK_SECONDS


class Lease:
    """``on_beat`` is called in the host's loop for each answer, with the moment (monotonic) when
    it had come; ``on_hint`` for each hint that something is due, which the next beat will look for;
    ``on_lost`` when somebody has declared this worker dead."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Heartbeat]],
        registration: Registration,
        on_beat: Callable[[Beat, float], None],
        on_hint: Callable[[], None],
        on_lost: Callable[[UUID], None],
    ) -> None:
        self.registration = registration
        self.beaten_since = float("inf")  # monotonic: beats without a gap since then
        self._connect = connect
        self._on_beat = on_beat
        self._on_hint = on_hint
        self._on_lost = on_lost
        self._complaint = Complaint(log, "the database answers heartbeats again, after %.1f s")
        self.missed = 0  # beats without an answer that nobody has counted yet
        self._has_lived = False  # a beat of its was answered; known to the thread
        self._answered = 0.0  # monotonic: when the latest answered beat was sent
        self._host = asyncio.get_running_loop()
        self._beaten: asyncio.Future[None] | None = None
        self._stop = threading.Event()
        self._stop_async: Callable[[], object] = lambda: None
        self._thread: threading.Thread | None = None

    async def acquire(self) -> None:
        """Register and beat once; raises what registering raises.

        Raises:
            LeaseLost: it was declared dead before that.
        """
        ready: asyncio.Future[None] = self._host.create_future()
        self._thread = threading.Thread(
            target=self._run, args=(ready,), name="durable heartbeat", daemon=True
        )
        self._thread.start()
        await ready

    async def release(self) -> None:
        """Stop beating. The row is the caller's to remove."""
        self._stop.set()
        self._stop_async()
        if self._beaten is not None and not self._beaten.done():
            self._beaten.set_result(None)  # who waits must ask the next lease
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def may_begin(self) -> Awaitable[None] | None:
        """None while attempts may begin; else something to wait for before one asks again."""
        if time.monotonic() < self._answered + START_DEADLINE:
            return None
        if self._beaten is None or self._beaten.done():
            self._beaten = self._host.create_future()
        return asyncio.shield(self._beaten)

    def beat_soon(self) -> None:
        """Beat before the second is over: what is due next may have changed."""
        self._stop_async()

    @property
    def silence(self) -> float:
        """Seconds since the last beat that was answered."""
        return time.monotonic() - self._answered

    # In the thread

    def _run(self, ready: asyncio.Future[None]) -> None:
        try:
            asyncio.run(self._live(ready))
        except BaseException as error:
            log.exception("the heartbeat thread ended")
            self._tell(_fail, ready, error)

    async def _live(self, ready: asyncio.Future[None]) -> None:
        awake = asyncio.Event()  # set to stop, and by hints
        loop = asyncio.get_running_loop()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the thread has ended by itself
                loop.call_soon_threadsafe(awake.set)

        def hinted() -> None:
            awake.set()
            self._tell(self._on_hint)

        self._stop_async = wake
        try:
            beats = await self._connect()
            beats.on_news = hinted
            await beats.register(self.registration)
        except Exception as error:  # noqa: BLE001 - told to whoever waits for `acquire`
            self._tell(_fail, ready, error)
            return
        try:
            while not self._stop.is_set():
                pause = await self._beat(beats, ready)
                try:
                    async with asyncio.timeout(pause):
                        await awake.wait()
                except TimeoutError:
                    continue
                # A hint: the next beat looks what is due. Hints that come together are one.
                if not self._stop.is_set():
                    await asyncio.sleep(HINT_PAUSE_SECONDS)
                awake.clear()
        finally:
            await beats.close()

    async def _beat(self, beats: Heartbeat, ready: asyncio.Future[None]) -> float:
        """One beat; returns the seconds until the next."""
        sent = time.monotonic()
        worker = self.registration.worker
        try:
            beat = await beats.beat(worker)
        except Unavailable as error:
            self.beaten_since = float("inf")
            self.missed += 1
            facts = {"worker": self.registration.name}
            told = "the database did not answer a heartbeat: %s"
            self._complaint.raised(told, error, extra=facts)
            return BEAT_SECONDS / 2
        except Exception:
            if not ready.done():
                raise  # told to whoever waits for `acquire`
            # Nobody expected it; but a worker that stopped beating would wait for ever, alive.
            self.beaten_since = float("inf")
            log.exception("a heartbeat failed; beating on")
            return BEAT_SECONDS / 2
        if not beat.alive and not self._has_lived:  # paused so long before its first beat
            self._stop.set()
            lost = LeaseLost(f"worker {worker} was declared dead before its first heartbeat")
            self._tell(_fail, ready, lost)
            return 0.0
        if not beat.alive:
            self._tell(self._on_lost, worker)
            return BEAT_SECONDS
        self._has_lived = True
        self._complaint.over()
        if self.beaten_since > sent:
            self.beaten_since = sent
        self._tell(self._heard, sent, beat, time.monotonic(), ready)
        return max(0.0, sent + BEAT_SECONDS - time.monotonic())

    def _tell(self, callback: Callable[..., None], *args: object) -> None:
        try:
            self._host.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            self._stop.set()  # the host's loop is closed: nobody is left to work for

    # In the host's loop

    def _heard(self, sent: float, beat: Beat, came: float, ready: asyncio.Future[None]) -> None:
        self._answered = max(self._answered, sent)
        if self._beaten is not None and not self._beaten.done():
            self._beaten.set_result(None)
        self._on_beat(beat, came)
        if not ready.done():
            ready.set_result(None)


def _fail(future: asyncio.Future[None], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
