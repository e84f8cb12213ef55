"""The worker of an environment: virtual time, stand-ins, and a word for being at rest."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from uuid import UUID

from .._authoring.definitions import Definition
from .._core import commands
from .._runtime.arrivals import Result
from .._runtime.instance import Instance
from .._runtime.kept import Kept
from .._runtime.lease import Lease
from .._runtime.options import WorkerOptions
from .._store.protocol import Beat, Outcome
from .._store.verbs import Store
from .cast import Cast
from .clock import VirtualClock
from .rehearsal import RehearsalWorker

log = logging.getLogger("durable.worker")


class EnvironmentWorker(RehearsalWorker):
    def __init__(
        self,
        store: Store,
        definitions: Mapping[str, Definition],
        options: WorkerOptions,
        *,
        on_closed: Callable[[Outcome], None],
        clock: VirtualClock,
        cast: Cast,
        replays: bool,
    ) -> None:
        super().__init__(store, definitions, options, on_closed=on_closed, clock=clock)
        self.virtual = clock
        self.replays = replays
        self._parts = 0
        self._killed: set[UUID] = set()
        self.attempts.chance = lambda: 0.0  # pauses between attempts in their full length
        attempts = self.attempts
        attempts.begin = cast.begin(attempts.begin)  # type: ignore[method-assign]
        attempts._runners = {kind: cast.runner(kind, attempts._runners)
                             for kind in attempts._runners}  # fmt: skip

    async def start(self) -> None:
        await super().start()
        self._parts = len(self._background._tasks)

    def die(self) -> None:
        """As if the process had been killed: attempts end, and nothing is left but what is
        written. Its runs are taken over at once, by this worker under another name."""
        for instance in list(self.active.values()):
            self.attempts.drop_run(instance)
        self.attempts._kept = _Nothing()
        self._killed.add(self.registration.worker)
        told, log.disabled = log.disabled, True  # that it was declared dead: the test knows
        try:
            self.lost(self.registration.worker)
        finally:
            log.disabled = told

    async def _begin_again(self, old: Lease) -> None:
        if old.registration.worker in self._killed:
            await self.store.workers.take_over(old.registration.worker)
        await super()._begin_again(old)

    def is_at_rest(self, *, but_for_attempts: bool = False) -> bool:
        """Whether nothing goes on here unless time passes, or news comes."""
        return not (
            self.committer.busy()
            or self.claimer.busy()
            or self._births
            or len(self._background._tasks) > self._parts
            or any(_has_news(each) for each in self.active.values())
            or (not but_for_attempts and self._is_working())
        )

    def _is_working(self) -> bool:
        """Whether an attempt does anything but sleep, or wait for others that do."""
        asleep = sum(work.task in self.virtual.asleep for work in self.attempts._under_way.values())
        queueing = sum(not each.done() for each in self.attempts._slots._waiters)
        return self.attempts.count() > asleep + queueing

    def _beat(self, beat: Beat, came: float) -> None:
        # When runs are due is looked up before time moves, not once a second.
        super()._beat(beat._replace(next_due=None), came)


class _Nothing(Kept):
    """What the dead leave behind."""

    def add(self, run: int, command: commands.Run, result: Result) -> None:
        """It is gone with its process."""


def _has_news(run: Instance) -> bool:
    return run.in_flight or run.has_news
