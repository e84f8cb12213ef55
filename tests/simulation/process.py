"""A process of the simulated world: all of ``Durable``, with what a process would have of its own
(threads, clocks, connections) given to it by the world."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from msgspec import structs

from durable import Client, Durable
from durable._authoring import attempts as authoring
from durable._authoring.definitions import Definition
from durable._core import commands
from durable._runtime.cache import Cache
from durable._runtime.clock import Clock
from durable._runtime.instance import Instance
from durable._runtime.lease import Lease, _fail
from durable._runtime.options import WorkerOptions
from durable._runtime.watchdog import Watchdog
from durable._runtime.work import Work
from durable._runtime.worker import LiveWorker
from durable._store.protocol import Outcome, Registration
from durable._store.verbs import Store

from .loop import Lane
from .road import Road

if TYPE_CHECKING:
    from .world import World

Plays = Callable[..., Coroutine[Any, Any, Any]]


@dataclass(frozen=True)
class Code:
    """What a worker is deployed with. ``changed``: workflows in another version, by name."""

    serve: tuple[Callable[..., Any], ...]
    build: str = "1"
    changed: Mapping[str, Callable[..., Any]] = field(default_factory=dict)


class Process:
    """``host`` is its main thread, ``beats`` that of its heartbeat."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        chance = world.chance
        start, rate = chance.uniform(1e3, 1e6), 1.0 + chance.uniform(-4e-5, 4e-5)
        self.host = world.loop.lane(name, start=start, rate=rate)
        self.beats = world.loop.lane(f"{name} heartbeat", start=start, rate=rate)
        self.road = Road(world.server, name, self.host, self.beats, chance)
        self.app: Any = None
        self.is_dead = False
        self.life: asyncio.Task[Any] | None = None

    def begin(self, work: Coroutine[Any, Any, Any], lane: Lane | None = None) -> asyncio.Task[Any]:
        context = (lane or self.host).context.copy()
        return self.world.loop.create_task(work, context=context)

    # What may befall it

    def stop(self, *lanes: Lane) -> None:
        for lane in lanes or (self.host, self.beats):
            lane.held += 1

    def go_on(self, *lanes: Lane) -> None:
        for lane in lanes or (self.host, self.beats):
            lane.held -= 1

    def kill(self, *, host_is_gone: bool) -> None:
        """Nothing of it runs any more. Its connections end, unless its whole machine is gone."""
        self.is_dead = self.road.is_dead = True
        self.stop()
        heartbeat = self.road.heartbeat
        self.road.leave()
        if heartbeat is not None and not host_is_gone:
            self.world.server.close_heartbeat(heartbeat)


class SimulatedClock(Clock):
    def __init__(self, at: datetime) -> None:
        self._base, self._mark, self._was_set = at, time.monotonic(), False


class SimulatedLease(Lease):
    """Its thread is a lane."""

    process: Process
    _task: asyncio.Task[None] | None = None

    async def acquire(self) -> None:
        ready: asyncio.Future[None] = self._host.create_future()
        self._task = self.process.begin(self._live_here(ready), self.process.beats)
        await ready

    async def _live_here(self, ready: asyncio.Future[None]) -> None:
        try:
            await self._live(ready)
        except Exception as error:
            self._tell(_fail, ready, error)

    async def release(self) -> None:
        self._stop.set()
        self._stop_async()
        if self._beaten is not None and not self._beaten.done():
            self._beaten.set_result(None)
        if self._task is not None:
            await asyncio.wait([self._task])

    def _tell(self, callback: Callable[..., None], *args: object) -> None:
        self._host.call_soon(callback, *args, context=self.process.host.context)


class NoWatchdog(Watchdog):
    """It would watch a real loop from a real thread."""

    def start(self) -> None:
        """Nothing to watch."""

    def stop(self) -> None:
        """As above."""


class SimulatedWorker(LiveWorker):
    def __init__(
        self,
        process: Process,
        store: Store,
        definitions: Mapping[str, Definition],
        options: WorkerOptions,
        *,
        on_closed: Callable[[Outcome], None],
        cached: int,
    ) -> None:
        self.process = process
        world = process.world
        skew = timedelta(seconds=world.chance.choice([0.0, 0.0, -7200.0, 86400.0]))
        super().__init__(
            store, definitions, options, on_closed=on_closed,
            clock=SimulatedClock(world.server.now() + skew),
        )  # fmt: skip
        self._watchdog = NoWatchdog()
        self.cache = Cache(cached)
        self.attempts.chance = world.chance.random
        self._begins = self.attempts.begin
        self.attempts.begin = self._begin_played  # type: ignore[method-assign]

    def _new_registration(self) -> Registration:
        told = super()._new_registration()
        # Nobody can see whether its process lives.
        return told._replace(name=self.process.name, host="", pid=0, pid_started=0)

    def _new_lease(self) -> Lease:
        lease = SimulatedLease(
            self.store.open_heartbeat,
            self.registration,
            on_beat=self._beat,
            on_hint=lambda: self.chores.hinted(),
            on_lost=self.lost,
        )
        lease.process = self.process
        return lease

    def _begin_played(self, instance: Instance, command: commands.Run, **resumed: Any) -> None:
        """Each attempt is seen to begin."""
        definition: Definition = command.call.definition
        plays: Plays = self.process.world.plays.get(definition.name, definition.fn)

        async def play(*args: Any, **kwargs: Any) -> Any:
            work = cast("Work", authoring._current.get())
            key = authoring.attempt().idempotency_key
            self.process.world.watch.begins(self.registration.worker, work, key)
            return await plays(*args, **kwargs)

        call = structs.replace(command.call, definition=replace(definition, fn=play))
        self._begins(instance, structs.replace(command, call=call), **resumed)


class SimulatedApp(Durable):
    """``process`` and ``cached`` are set before it is opened."""

    process: Process
    code: Code
    cached: int

    async def _open_database(self) -> Store:
        return cast("Store", self.process.road)

    def _new_worker(self, definitions: Mapping[str, Definition]) -> LiveWorker:
        other = {name: replace(definitions[name], fn=fn) for name, fn in self.code.changed.items()
                 if name in definitions}  # fmt: skip
        return SimulatedWorker(
            self.process,
            self.store,
            {**definitions, **other},
            self._options,
            on_closed=self.waits.results.tell,
            cached=self.cached,
        )

    @property
    def worker(self) -> SimulatedWorker | None:
        return cast("SimulatedWorker | None", self._worker)


class SimulatedClient(Client):
    process: Process

    async def _open_database(self) -> Store:
        return cast("Store", self.process.road)
