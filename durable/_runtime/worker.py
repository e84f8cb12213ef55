"""A live worker: composes the lease, the claimer, the committer and the attempts.

It owns the runs in this process's memory (``active``) and moves news between the parts:

    claim --> load --> committer --written--> attempts, timers --news--> committer

What is decided is decided by the core; what is written is written by the committer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from uuid import UUID

from .._authoring import guards
from .._authoring.definitions import Definition
from .._authoring.logs import write
from .._core import commands
from .._store.protocol import Advance, Beat, Hint, Outcome, Registration, Verdict
from .._store.verbs import Store
from ..errors import LeaseLost
from . import process
from .arrivals import Begin, Due, Redo, Result
from .attempts import Attempts
from .background import Background
from .cache import Cache
from .chores import Chores
from .claimer import Claimer
from .clock import Clock
from .committer import Committer
from .drain import WRITE_SECONDS, drain
from .instance import Instance
from .lease import START_DEADLINE, Lease
from .metrics import Meter
from .options import Health, WorkerOptions
from .timers import Timers
from .watchdog import Watchdog

# Enum members are looked up anew each time on Python 3.11, and these are asked for per step.
DONE, PARKED = Verdict.DONE, Verdict.PARKED

log = logging.getLogger("durable.worker")


class LiveWorker:
    def __init__(
        self,
        store: Store,
        definitions: Mapping[str, Definition],
        options: WorkerOptions,
        *,
        on_closed: Callable[[Outcome], None],
        clock: Clock | None = None,
    ) -> None:
        self.store = store
        self.definitions = definitions
        for each in definitions.values():
            guards.read(each.fn)
        self.options = options
        self.meter = Meter(options.metrics)
        self._lags = 0.0, 0.0  # of what is due, and of the host's loop
        self.clock = clock or Clock()
        self.active: dict[int, Instance] = {}
        self.draining = False
        self._is_beginning = False  # again, under a name that is not registered yet
        self._began_at = 0.0  # monotonic: when that was over last
        self._on_closed = on_closed
        self._host = asyncio.get_running_loop()
        self._births: dict[int, Callable[[Verdict], None]] = {}
        self._background = Background()
        self.own = self._background.own
        self._watchdog = Watchdog()
        self._rename()
        self.cache = Cache()
        self.timers = Timers(self.clock, self._timer_due)
        self.committer = Committer(
            store.journal,
            self.clock,
            worker=lambda: self.registration.worker,
            on_written=self._written,
            on_refused=self.refused,
            on_fenced=self.lost,
            watchdog=self._watchdog,
            meter=self.meter,
        )
        self.attempts = Attempts(self)
        self.claimer = Claimer(self)
        self.chores = Chores(self)

    # Life

    async def start(self) -> None:
        """Register and begin to work."""
        await self._acquire()
        self._watchdog.start()
        rounds = (self.committer.once, self.committer.ahead, self.claimer.once, self.attempts.watch)
        self._background.keep(*rounds, *self.chores.rounds())
        await self.chores.greet()
        self.claimer.poke()

    async def drain(self) -> None:
        """Leave, and hand the runs over; bounded even if the database is away."""
        self.draining = True
        try:
            await drain(self)
        finally:
            await self._end()

    async def _end(self) -> None:
        self.committer.clear()
        await self._background.stop()
        await self._lease.release()
        self._watchdog.stop()
        self._forget_all()
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await self.chores.deregister()
        except Exception as error:  # noqa: BLE001 - as above
            log.warning("could not deregister (%r); others find out", error)

    def _forget_all(self) -> None:
        for instance in list(self.active.values()):
            self.forget(instance)
        for told in self._births.values():  # written or not: whoever starts them finds out
            told(Verdict.LOST)
        self._births.clear()
        self.claimer.clear()
        self.cache.clear()
        self.timers.clear()

    def health(self) -> Health:
        reasons = [f"{part} fails: {why}" for part, why in self._background.failures.items()]
        silence = self._lease.silence
        if silence > START_DEADLINE:
            reasons.append(f"the database has not answered a heartbeat for {silence:.0f} s")
        if self.committer.refusal is not None:
            reasons.append(f"commits fail and are sent again: {self.committer.refusal}")
        if self.draining:
            reasons.append("it is draining")
        return Health(
            not reasons,
            tuple(reasons),
            self.registration.worker,
            len(self.active),
            self.attempts.count(),
            silence,
            *self._lags,
        )

    @property
    def room(self) -> int:
        """How many more runs fit."""
        return 0 if self.draining else max(0, self.options.runs_max - len(self.active))

    def may_begin(self) -> Awaitable[None] | None:
        """None while attempts may begin; else something to wait for before one asks again."""
        return self._lease.may_begin()

    def look_again(self) -> None:
        """What is due next may have changed: ask the database before the next second."""
        self._lease.beat_soon()

    @property
    def beaten_since(self) -> float:
        return self._lease.beaten_since

    # Runs in memory

    def adopt(self, instance: Instance) -> None:
        """A run is ours from here on, and has news or open ops to take up. One of it that is in
        memory already was lost by the database: what it sends still is not taken."""
        before = self.active.get(instance.run)
        if before is not None and before is not instance:
            self.forget(before)
            if (told := self._births.pop(instance.run, None)) is not None:
                told(DONE)  # it was claimed, so it stands; its commit is yet to be heard of
        self.active[instance.run] = instance

    def bear(self, instance: Instance, told: Callable[[Verdict], None]) -> None:
        """Write a new run by its own first turn, and tell what came of it: DONE or PARKED if it
        stands in the database; TAKEN if its id names another; LOST if it is not known, or was
        never written."""
        self._births[instance.run] = told
        self.adopt(instance)
        instance.arrivals.append(Begin())
        self.committer.submit(instance)

    def forget(self, instance: Instance) -> None:
        """Drop a run from memory; its journal has all that is needed."""
        instance.lost = True
        if instance.noted is not None:
            instance.noted.tell(written=False)
        if self.active.get(instance.run) is instance:
            del self.active[instance.run]
        self._drop_timers(instance)
        instance.replayer.close()

    def _drop_timers(self, instance: Instance) -> None:
        for command in instance.replayer.open.values():
            if isinstance(command, commands.Wait):
                self.timers.drop(instance.run, command.op)

    def take_up(self, instance: Instance) -> None:
        """Go on with all that the code waits for, after a load."""
        known = (each for each in instance.arrivals if isinstance(each, Redo | Due))
        answered = {each.row.op if isinstance(each, Redo) else each.op for each in known}
        for command in list(instance.replayer.open.values()):
            if command.op in answered:
                continue
            if isinstance(command, commands.Run):
                found = instance.noted.found.pop(command.op, None) if instance.noted else None
                self.attempts.begin(instance, command, resumed=True, found=found)
            elif isinstance(command, commands.Wait):
                self.timers.arm(instance.run, command.op, command.due)
        self.committer.submit(instance)  # also without news: it may be put away again

    # News

    def result_arrived(self, instance: Instance, result: Result) -> None:
        if self.active.get(instance.run) is instance:  # not lost, and not put away
            instance.arrivals.append(result)
            self.committer.submit(instance)

    def has_news(self, instance: Instance) -> None:
        if self.active.get(instance.run) is instance:
            self.committer.submit(instance)

    def _timer_due(self, run: int, op: int) -> None:
        instance = self.active.get(run)
        if instance is not None and not instance.holding:
            instance.arrivals.append(Due(op))
            self.committer.submit(instance)

    def _beat(self, beat: Beat, came: float) -> None:
        self.clock.set(beat.now, came)
        self.timers.look()
        self._lags = beat.due_lag, time.monotonic() - came
        missed, self._lease.missed = self._lease.missed, 0
        self.meter.beaten(*self._lags, missed=missed)
        if beat.due:
            self.claimer.poke()
        elif beat.next_due is not None:
            self.claimer.poke_at(beat.next_due)
        if beat.overdue:
            self.chores.deadline_passed()
        if beat.mail:
            self.claimer.mail_came()
        if beat.owned or self.active:
            self.claimer.compare()
        if beat.farewell:
            self.chores.tell_children()
        if beat.suspects:
            self.chores.judge_soon()
        if beat.aside:
            self.chores.sweep_soon()

    # Verdicts

    def _written(self, instance: Instance, advance: Advance, verdict: Verdict) -> None:
        if verdict is DONE and advance.effects is None and instance.report is None:
            self._let_out(instance, parked=False)  # the usual one: rows, and no more
            return
        if instance.birth is not None:
            instance.birth = None
            if (told := self._births.pop(instance.run, None)) is not None:
                told(verdict)
        if verdict is not DONE and verdict is not PARKED:
            self.attempts.drop_run(instance)
            self.forget(instance)
            return
        if instance.noted is not None:
            instance.noted.tell(written=True)
        if instance.sent:
            instance.sent = False
            self.claimer.mail_came()  # for runs of this worker, or a refusal
            self.chores.announce(Hint.DUE)
        if instance.published:
            instance.published = False
            self.chores.announce(Hint.PUBLISHED)
        self._let_out(instance, parked=verdict is PARKED)
        if instance.close is not None:
            self._closed(instance)
        elif instance.report is not None:
            self.refused(instance, instance.report)
        elif verdict is PARKED:
            del self.active[instance.run]
            instance.put_away()
            self._drop_timers(instance)
            self.cache.keep(instance)
            self.claimer.made_room()

    def _let_out(self, instance: Instance, *, parked: bool) -> None:
        """The turn is written: now the world may see it. A parked run asks for nothing: its
        row holds when it must be taken up again."""
        still_open = instance.replayer.open
        begins = not (self.draining or parked or instance.holding)
        for command in instance.requests:
            if isinstance(command, commands.Run):  # the usual one
                if begins and command.op in still_open:
                    self.attempts.begin(instance, command)
            elif isinstance(command, commands.Say):
                write(command, instance.facts)
            elif isinstance(command, commands.Drop):
                self.attempts.drop(instance.run, command.op)
                self.timers.drop(instance.run, command.op)
            elif begins and isinstance(command, commands.Wait) and command.op in still_open:
                self.timers.arm(instance.run, command.op, command.due)
        instance.requests.clear()

    def _closed(self, instance: Instance) -> None:
        close = instance.close
        assert close is not None
        self.chores.announce(Hint.ENDED)
        name, ended = instance.definition.name, (close.status, close.result, close.failure)
        if close.status == "continued":
            self.claimer.poke()
        else:  # who waits for a continued run waits for the one that it goes on as
            self._on_closed(Outcome(instance.run, instance.id, name, *ended, None, close.reason))
        if close.parent is not None:
            self.claimer.mail_came()
            self.chores.announce(Hint.DUE)
        if close.has_children:
            self.chores.tell_children()
        self.meter.count("durable_runs_closed_total", workflow=name, status=close.status)
        self.forget(instance)
        self.claimer.made_room()

    def refused(self, instance: Instance, report: str) -> None:
        """No code here can continue this run."""
        self.attempts.drop_run(instance)
        self.forget(instance)
        if (told := self._births.pop(instance.run, None)) is not None:
            told(Verdict.LOST)  # it was never written: whoever starts it does so the other way
            return
        self.own(self.chores.set_stuck(instance.facts, instance.claim, report))
        self.claimer.made_room()

    # Death and rebirth

    def lost(self, worker: UUID, asked_at: float = float("inf")) -> None:
        """Somebody has declared this worker dead: its runs belong to others. It drops them
        and begins again under a new name. Not if what was asked before that was registered."""
        if worker != self.registration.worker or asked_at < self._began_at:
            return
        self.committer.clear()
        self._forget_all()
        if self.draining or self._is_beginning:
            return
        self._is_beginning = True
        told = "worker %s was declared dead; it begins again"
        log.warning(told, worker, extra={"worker": self.registration.name})
        old = self._lease
        self._rename()
        self.own(self._begin_again(old))

    async def _begin_again(self, old: Lease) -> None:
        await old.release()
        pause = 0.1
        while not self.draining:
            try:
                await self._acquire()
            except Exception as error:  # noqa: BLE001 - a lost database costs time only
                log.warning("cannot register again yet: %s", error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)
                self._lease = self._new_lease()
            else:
                self._is_beginning, self._began_at = False, time.monotonic()
                self.claimer.poke()
                return

    async def _acquire(self) -> None:
        """Begin to live; under another name if somebody has declared this one dead before."""
        while True:
            try:
                return await self._lease.acquire()
            except LeaseLost:
                await self._lease.release()
                self._rename()

    def _new_registration(self) -> Registration:
        return process.registration(self.definitions, self.options)

    def _rename(self) -> None:
        self.registration = self._new_registration()
        self._lease = self._new_lease()

    def _new_lease(self) -> Lease:
        connect, told = self.store.open_heartbeat, self.registration
        hinted = lambda: self.chores.hinted()  # noqa: E731, PLW0108 - they are made later
        return Lease(connect, told, self._beat, hinted, self.lost)
