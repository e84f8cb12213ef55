"""The database: a store in memory that carries out one verb at a time, watched by whoever wants.

Its clock is the true time plus jumps. When it is away, nothing is carried out; what it held of
sessions, the locks of heartbeats and who listens, is gone when it comes back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from durable._store.memory.store import Store
from durable._store.memory.tables import Tables
from durable._store.memory.workers import Heartbeat

from .loop import SimulatedLoop

if TYPE_CHECKING:
    from .road import Road
    from .watch import Watch

START = datetime(2026, 1, 1, tzinfo=UTC)

# The longest that a worker may stand still or be cut off, and then some.
UNHEARD_MAX = 60.0

Deliver = Callable[[asyncio.Future[Any]], None]


class Server:
    def __init__(self, loop: SimulatedLoop) -> None:
        self.loop = loop
        self.lane = loop.lane("database")
        self.is_up = True
        self.jumped = 0.0  # seconds by which its clock was set
        self._before: list[tuple[float, float]] = []  # jumps that were, and until when
        self.tables = Tables(self.now, self.now)
        self.store = Store(self.tables)
        self.watch: Watch | None = None

    def now(self) -> datetime:
        return START + timedelta(seconds=self.loop.now + self.jumped)

    def set_clock(self, by: float) -> None:
        self._before.append((self.loop.now, self.jumped))
        self.jumped += by

    def latest(self) -> datetime:
        """What the clock would show had it not been set back of late: a worker that has not heard
        of that yet goes by its own."""
        since = self.loop.now - UNHEARD_MAX
        jumped = max([self.jumped, *(before for until, before in self._before if until >= since)])
        return START + timedelta(seconds=self.loop.now + jumped)

    def execute(
        self, road: Road, noun: str | Heartbeat, verb: str, args: Any, kwargs: Any
    ) -> Deliver | None:
        """Carry out a verb; what delivers its answer, or None if there is none."""
        if not self.is_up:
            return None
        owner: Any = noun
        if isinstance(noun, str):
            owner = self.store if noun == "store" else getattr(self.store, noun)
        watch = self.watch
        if watch is not None:
            watch.before(verb, args)
        result: Any = None
        try:
            result = _at_once(getattr(owner, verb)(*args, **kwargs))
        except Exception as error:
            told: BaseException | None = error
        else:
            told = None
        if verb == "beat" and result is not None and result.alive:
            self.tables.worker[args[0]].holds_lock = True  # its connection stands, or stands again
        if watch is not None:
            watch.after(road.name, noun if isinstance(noun, str) else "heartbeat", verb, args,
                        told or result)  # fmt: skip

        def deliver(answer: asyncio.Future[Any]) -> None:
            if answer.done():
                return
            if told is not None:
                answer.set_exception(told)
            else:
                answer.set_result(result)

        return deliver

    def close_heartbeat(self, heartbeat: Heartbeat) -> None:
        """Its connection is gone."""
        if self.is_up:
            _at_once(heartbeat.close())

    def go_away(self) -> None:
        self.is_up = False
        for row in self.tables.worker.values():
            row.holds_lock = False

    def come_back(self) -> None:
        self.is_up = True
        self.tables.up_since = self.now()


def _at_once(verb: Coroutine[Any, Any, Any]) -> Any:
    try:
        while True:
            verb.send(None)
    except StopIteration as done:
        return done.value
