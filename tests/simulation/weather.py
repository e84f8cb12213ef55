"""What befalls the world while a storm lasts, and how all of it ends when it is over.

A seed picks a few kinds of faults and how thick they come. Several may be under way at once. Each
undoes what it did: when its time is up, or when the storm is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from .process import Code, Process
from .road import Weather
from .world import World

Fault = Callable[["Storm"], Awaitable[None]]
# How often a statement, an answer or a hint is lost.
DOSES = (0.0, 0.0, 0.02, 0.1)

# Seconds by which the clock may be ahead: some runs sleep for an hour until somebody ends them.
JUMPED_MAX = 2_000.0

FAULTS: dict[str, Fault] = {}


def fault(befalls: Fault) -> Fault:
    FAULTS[befalls.__name__] = befalls
    return befalls


class Storm:
    """``codes`` are what workers may be deployed with; ``final`` is what all of them have in the
    end, which serves everything, and whatever others have begun."""

    def __init__(
        self,
        world: World,
        codes: Sequence[Code],
        final: Code,
        *,
        cached: int,
        lease: float,
        kinds: Sequence[str],
    ) -> None:
        self.world = world
        self.chance = world.chance
        self.lease = lease
        self.befell: list[str] = []
        self._codes = codes
        self._final = final
        self._cached = cached
        self._kinds = kinds
        self._over = asyncio.Event()
        self.begin_client: Callable[[], Process]
        # On all roads, for as long as it lasts.
        self.climate = Weather(
            lost=self.chance.choice(DOSES), unanswered=self.chance.choice(DOSES),
            late=self.chance.choice(DOSES), hints_lost=self.chance.choice(DOSES),
        ) if kinds else Weather()  # fmt: skip

    async def rage(self, seconds: float, gap: float) -> None:
        """Faults come every ``gap`` seconds or so; returns when all of them are undone."""
        async with asyncio.TaskGroup() as faults:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    while self._kinds:
                        await asyncio.sleep(self.chance.expovariate(1 / gap))
                        kind = self.chance.choice(self._kinds)
                        self.befell.append(kind)
                        self.world.watch.tell(f"fault: {kind}")
                        faults.create_task(FAULTS[kind](self))  # type: ignore[arg-type]
            self._over.set()
        self._clear()

    def _clear(self) -> None:
        world = self.world
        for process in [*world.workers.values(), *world.clients]:
            process.road.weather = Weather()
        for place in list(world.workers):
            if world.workers[place].app.code is not self._final:
                world.leave(place)
                self.begin(place, self._final)
        world.watch.tell("the storm is over")

    async def lasts(self, shortest: float, longest: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self.chance.uniform(shortest, longest)):
                await self._over.wait()

    async def lasts_past_lease(self) -> None:
        """Mostly short, and often longer than a lease."""
        longer = self.chance.random() < 0.5
        await self.lasts(*((self.lease, 2.5 * self.lease) if longer else (0.05, self.lease)))

    def victim(self) -> Process | None:
        places = sorted(self.world.workers)
        return self.world.workers[self.chance.choice(places)] if places else None

    def some_weather(self) -> Weather:
        """Of the road of anybody; nobody's, if all are dead."""
        people = [*self.world.workers.values(), *self.world.clients]
        return self.chance.choice(people).road.weather if people else Weather()

    def begin(self, place: str, code: Code | None = None) -> None:
        code = code or self.chance.choice(self._codes)
        process = self.world.begin_worker(place, code, cached=self._cached, lease=self.lease)
        if not self._over.is_set():
            process.road.weather = replace(self.climate)


def _place(storm: Storm, process: Process | None) -> str | None:
    places = [each for each, known in storm.world.workers.items() if known is process]
    return places[0] if places else None


@fault
async def a_worker_dies(storm: Storm) -> None:
    place = _place(storm, storm.victim())
    if place is not None:
        storm.world.kill(place, host_is_gone=storm.chance.random() < 0.3)
        await storm.lasts(0.05, 8.0)
        storm.begin(place)


@fault
async def the_client_dies(storm: Storm) -> None:
    """Another one does again what it cannot know to be done."""
    world = storm.world
    if world.clients:
        client = world.clients.pop()
        world.watch.tell(f"{client.name} is killed")
        client.kill(host_is_gone=False)
        world.graves.append(client)
        await storm.lasts(0.05, 8.0)
        storm.begin_client().road.weather = replace(storm.climate)


@fault
async def all_workers_die(storm: Storm) -> None:
    places = sorted(storm.world.workers)
    for place in places:
        storm.world.kill(place, host_is_gone=storm.chance.random() < 0.3)
    await storm.lasts(0.05, 8.0)
    for place in places:
        storm.begin(place)


@fault
async def other_code_comes(storm: Storm) -> None:
    """The old worker leaves while the new one begins."""
    place = _place(storm, storm.victim())
    if place is not None:
        leaving = storm.world.leave(place)
        await storm.lasts(0.0, 2.0)
        storm.begin(place)
        await asyncio.wait([leaving])


@fault
async def a_process_stands_still(storm: Storm) -> None:
    process = storm.victim()
    if process is not None:
        process.stop()
        await storm.lasts_past_lease()
        process.go_on()


@fault
async def a_loop_is_held(storm: Storm) -> None:
    """By an activity that blocks; heartbeats go on."""
    process = storm.victim()
    if process is not None:
        process.stop(process.host)
        await storm.lasts_past_lease()
        process.go_on(process.host)


@fault
async def heartbeats_stop(storm: Storm) -> None:
    """And all else goes on."""
    process = storm.victim()
    if process is not None:
        process.stop(process.beats)
        await storm.lasts_past_lease()
        process.go_on(process.beats)


@fault
async def a_road_is_cut(storm: Storm) -> None:
    weather = storm.some_weather()
    weather.is_cut = True
    await storm.lasts_past_lease()
    weather.is_cut = False


@fault
async def heartbeats_are_cut_off(storm: Storm) -> None:
    process = storm.victim()
    if process is not None:
        process.road.weather.beats_cut = True
        await storm.lasts_past_lease()
        process.road.weather.beats_cut = False


@fault
async def fog(storm: Storm) -> None:
    """Statements and answers are lost, and some arrive late."""
    weather, chance = storm.some_weather(), storm.chance
    for kind in "lost", "unanswered", "late", "hints_lost":
        setattr(weather, kind, chance.choice([0.0, 0.02, 0.1, 0.3]))
    await storm.lasts(1.0, 30.0)
    for kind in "lost", "unanswered", "late", "hints_lost":
        setattr(weather, kind, getattr(storm.climate, kind))


@fault
async def mud(storm: Storm) -> None:
    """Everything takes its time."""
    weather = storm.some_weather()
    weather.delay = storm.chance.choice([0.01, 0.1, 0.5])
    await storm.lasts(1.0, 20.0)
    weather.delay = Weather.delay


@fault
async def the_database_is_away(storm: Storm) -> None:
    server = storm.world.server
    if server.is_up:
        server.go_away()
        await storm.lasts(0.05, 12.0)
        server.come_back()


@fault
async def the_clock_is_set(storm: Storm) -> None:
    """The database's: forward by whatever, back by seconds. (Less than one back is taken for an
    answer that was long on its way.)"""
    server = storm.world.server
    ahead = [0.3, 5.0, 60.0, 600.0] if server.jumped < JUMPED_MAX else []
    server.set_clock(storm.chance.choice([*ahead, -1.5, -5.0, -20.0]))
