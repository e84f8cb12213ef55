"""The way from a process to the database, and what may happen to a statement on it.

A process has a few connections, as on Postgres: on each, one statement is under way at a time. What
is sent arrives a while later, is carried out at once and whole, and its answer comes a while after
that. It may also not arrive; or the answer may not; or it arrives long after its sender gave it up,
or died. Whoever was not answered learns no more than ``Unavailable``.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from msgspec import structs

from durable._store.memory.workers import Heartbeat
from durable._store.protocol import Advance, Hint, JournalRow, Unavailable, Verdict

from .loop import Lane

if TYPE_CHECKING:
    from .server import Server

# Which connection a noun has; a few verbs have another. Elsewhere order is not kept.
LINES = {"journal": "commits", "listing": "lists"}
ASIDE = {("journal", "read"): "calls", ("journal", "notes"): "calls"}

# Seconds after which a silent connection is given up.
PATIENCE = 5.0

# A statement that was overtaken arrives up to so many seconds later.
LATE_MAX = 40.0

NOUNS = ("runs", "inbox", "streams", "workers", "listing", "outcomes")


@dataclass
class Weather:
    """Of one road: chances, and seconds that a way takes on average."""

    delay: float = 0.0005
    lost: float = 0.0  # it never arrives
    unanswered: float = 0.0  # it is carried out, and nobody learns so
    late: float = 0.0  # it arrives when nobody waits for it any more
    hints_lost: float = 0.0
    is_cut: bool = False  # nothing goes, and what is waited for is given up at once or late
    beats_cut: bool = False  # the same for heartbeats alone


class Road:
    """The ``Store`` of one process."""

    def __init__(self, server: Server, name: str, host: Lane, beats: Lane, chance: random.Random):
        self.server = server
        self.name = name
        self.host = host
        self.beats = beats
        self.weather = Weather()
        self.is_dead = False
        self.heartbeat: Heartbeat | None = None
        self._chance = chance
        self._lines: dict[str, asyncio.Lock] = {}
        self._calls: set[asyncio.Task[Any]] = set()
        self._loop = server.loop
        for noun in NOUNS:
            setattr(self, noun, Noun(self, noun))
        self.journal = Journal(self, "journal")

    # What a store does beside its nouns

    async def open_heartbeat(self) -> Beats:
        self.heartbeat = await self.call("beats", "store", "open_heartbeat")
        return Beats(self, self.heartbeat)

    async def notify(self, hint: Hint) -> None:
        await self.call("calls", "store", "notify", hint)

    async def listen(self, hint: Hint, hear: Callable[..., None]) -> None:
        self.server.tables.listeners[hint][self, hear] = self.hint(hear, self.host)

    async def close(self) -> None:
        self.leave()

    def leave(self) -> None:
        """Its connections are gone: nothing is heard on them any more."""
        for hint, listeners in self.server.tables.listeners.items():
            for key in list(listeners):
                if key is self.heartbeat or (hint is not Hint.DUE and key[0] is self):
                    del listeners[key]

    # Statements

    async def call(self, line: str, noun: str, verb: str, *args: Any, **kwargs: Any) -> Any:
        """Its caller may be cancelled; what is under way on a connection is not."""
        task = self._loop.create_task(self._call(line, noun, verb, args, kwargs))
        self._calls.add(task)
        task.add_done_callback(self._over)
        return await asyncio.shield(task)

    def _over(self, call: asyncio.Task[Any]) -> None:
        self._calls.discard(call)
        if not call.cancelled():
            call.exception()  # whether anybody still waits for it or not

    async def _call(self, line: str, noun: str, verb: str, args: Any, kwargs: Any) -> Any:
        async with self._lines.setdefault(line, asyncio.Lock()):
            if self.is_dead:
                raise Unavailable("the process is dead")
            answer = self._loop.create_future()
            self._send(answer, line, noun, verb, args, kwargs)
            try:
                async with asyncio.timeout(PATIENCE):
                    return await answer
            except TimeoutError:
                raise Unavailable(f"no answer within {PATIENCE:g} s") from None

    def _send(
        self, answer: asyncio.Future[Any], line: str, noun: str, verb: str, args: Any, kwargs: Any
    ) -> None:
        weather, chance = self.weather, self._chance
        lane = self.beats if line == "beats" else self.host
        fate = chance.random()
        is_cut = weather.is_cut or (weather.beats_cut and line == "beats")
        arrives, answers, way = True, True, self._way()
        if is_cut or fate < weather.lost:
            arrives = chance.random() < 0.2  # it was on its way already
            answers = False
        elif fate < weather.lost + weather.unanswered:
            answers = False
        elif fate < weather.lost + weather.unanswered + weather.late:
            answers, way = False, chance.uniform(0.0, LATE_MAX)

        def arrive() -> None:
            done = self.server.execute(self, noun, verb, args, kwargs)
            if answers and done is not None:
                self._loop.call_later(self._way(), done, answer, context=lane.context)

        if arrives:
            self._loop.call_later(way, arrive, context=self.server.lane.context)
        if not answers and chance.random() < 0.8:  # the rest are noticed when patience ends
            lost = chance.choice([way, chance.uniform(0.0, 1.0)])
            self._loop.call_later(lost, _lose, answer, context=lane.context)

    def _way(self) -> float:
        return self._chance.expovariate(1.0) * self.weather.delay

    def hint(self, hear: Callable[..., object], lane: Lane) -> Callable[[], None]:
        """What the database does to hint: it may come late, twice or never."""

        def send() -> None:
            weather = self.weather
            is_cut = weather.is_cut or (weather.beats_cut and lane is self.beats)
            while not is_cut and self._chance.random() >= weather.hints_lost:
                self._loop.call_later(self._way(), hear, context=lane.context)
                if self._chance.random() >= weather.hints_lost:
                    break

        return send


def _lose(answer: asyncio.Future[Any]) -> None:
    if not answer.done():
        answer.set_exception(Unavailable("the connection was lost"))


class Noun:
    def __init__(self, road: Road, noun: str) -> None:
        self._road = road
        self._noun = noun

    def __getattr__(self, verb: str) -> Callable[..., Awaitable[Any]]:
        road, noun = self._road, self._noun
        line = ASIDE.get((noun, verb)) or LINES.get(noun, "calls")

        def call(*args: Any, **kwargs: Any) -> Awaitable[Any]:
            on = "aside" if kwargs.get("patient") else line
            return road.call(on, noun, verb, *args, **kwargs)

        setattr(self, verb, call)
        return call


class Journal(Noun):
    async def commit(
        self, worker: UUID, advances: Sequence[Advance], *, patient: bool = False
    ) -> list[Verdict]:
        sent = [_as_sent(each) for each in advances]
        line = "aside" if patient else "commits"
        verdicts: list[Verdict] = await self._road.call(line, "journal", "commit", worker, sent)
        return verdicts

    async def pages(self, wanted: Iterable[tuple[int, int]]) -> AsyncIterator[list[JournalRow]]:
        for each in sorted(wanted):
            yield await self.read([each])


def _as_sent(advance: Advance) -> Advance:
    """As it is written on the wire: what becomes of it in its sender's memory changes nothing."""
    effects = None if advance.effects is None else structs.replace(advance.effects)
    return structs.replace(advance, rows=list(advance.rows), effects=effects)


class Beats:
    """A worker's heartbeat, as its thread sees it."""

    def __init__(self, road: Road, inner: Heartbeat | None) -> None:
        assert inner is not None
        self._road = road
        self._inner = inner
        self.on_news: Callable[[], object] = lambda: None
        send = road.hint(lambda: self.on_news(), road.beats)
        road.server.tables.listeners[Hint.DUE][inner] = send

    async def register(self, registration: Any) -> None:
        await self._road.call("beats", self._inner, "register", registration)  # type: ignore[arg-type]

    async def beat(self, worker: Any) -> Any:
        return await self._road.call("beats", self._inner, "beat", worker)  # type: ignore[arg-type]

    async def close(self) -> None:
        self._road.server.close_heartbeat(self._inner)
