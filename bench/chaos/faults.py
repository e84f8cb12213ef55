"""Faults. A deck holds each kind once; it is shuffled by the seed, dealt, and shuffled again.
Several are under way at once. Each puts right what it has done, also when it is cut short."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any

import asyncpg

from tests.poolers import PROGRAM
from tests.proof.history import note
from tests.proof.proxy import Link, Parted

from .stage import CONNECTIONS_MAX, LEASE_SECONDS, Actor, Manner, Stage, faketime

UNDER_WAY_MAX = 3

# In a run of a minute, Postgres is away for a shorter while.
AWAY_SECONDS, AWAY_SECONDS_IN_SHORT = 20.0, 5.0
SHORT_MINUTES = 2.0

TRIES = 3  # where a fault must meet somebody at work

ALIVE = "select from durable.worker where pid = $1 and state = 'live'"


@dataclass(frozen=True)
class Fault:
    name: str
    do: Callable[[Stage], Coroutine[Any, Any, None]]
    missing: Callable[[], str | None] = lambda: None  # what would have to be installed


FAULTS: list[Fault] = []

Do = Callable[[Stage], Coroutine[Any, Any, None]]


def fault(name: str, missing: Callable[[], str | None] = lambda: None) -> Callable[[Do], Do]:
    def add(do: Do) -> Do:
        FAULTS.append(Fault(name, do, missing))
        return do

    return add


def _no_pooler() -> str | None:
    return None if PROGRAM else "no pgbouncer"


def _no_faketime() -> str | None:
    return None if faketime() else "no libfaketime"


# Processes


@fault("worker killed")
async def kill_worker(stage: Stage) -> None:
    async with stage.one("worker") as actor:
        try:
            await stage.kill(actor)
            await asyncio.sleep(stage.chance.uniform(0, 2))
        finally:
            stage.begin(actor, _manner(stage))


@fault("client killed")
async def kill_client(stage: Stage) -> None:
    async with stage.one("client") as actor:
        try:
            await stage.kill(actor)
        finally:
            stage.begin(actor, _manner(stage))


@fault("worker stopped past its lease")
async def stop_worker(stage: Stage) -> None:
    async with stage.one("worker") as actor:
        actor.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(LEASE_SECONDS + stage.chance.uniform(1.5, 4))
        finally:
            actor.signal(signal.SIGCONT)


@fault("worker stopped in a commit, taken over, woken")
async def zombie(stage: Stage) -> None:
    """Its commit arrives when its runs are others'."""
    async with stage.server_taken:  # that lives: who is dead is judged after a while of peace
        for _ in range(TRIES):
            async with stage.one("worker") as actor:
                assert actor.process is not None
                strike = Standstill(stage, actor, actor.process.pid)
                if await actor.road.strike("commit", strike):
                    await strike.is_over.wait()
                    return


class Standstill:
    """A strike."""

    def __init__(self, stage: Stage, actor: Actor, pid: int) -> None:
        self._stage, self._actor, self._pid = stage, actor, pid
        self.is_over = asyncio.Event()

    async def __call__(self, _: Link) -> None:
        self._actor.signal(signal.SIGSTOP)
        try:
            async with asyncio.timeout(4 * LEASE_SECONDS):
                while await self._stage.execute(ALIVE, self._pid):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            note("fault", what="a worker that stood still was not taken over", state="off")
        finally:
            self._actor.signal(signal.SIGCONT)
            self.is_over.set()


@fault("worker stopped for a moment")
async def stutter(stage: Stage) -> None:
    async with stage.one("worker") as actor:
        actor.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(stage.chance.uniform(0.2, LEASE_SECONDS))
        finally:
            actor.signal(signal.SIGCONT)


@fault("worker told to leave")
async def leave(stage: Stage) -> None:
    await _another(stage, _manner(stage))


@fault("clock of a worker skewed", _no_faketime)
async def skew(stage: Stage) -> None:
    by = stage.chance.choice([-86_400, -3_600, -5, 5, 3_600, 86_400])
    await _another(stage, Manner(skew=by))


@fault("PgBouncer between", _no_pooler)
async def pooled(stage: Stage) -> None:
    await _another(stage, Manner(pooled=True))


@fault("notifications off")
async def deaf(stage: Stage) -> None:
    await _another(stage, Manner(notifies=False))


async def _another(stage: Stage, manner: Manner) -> None:
    async with stage.one("worker") as actor:
        try:
            await stage.leave(actor)
        finally:
            stage.begin(actor, manner)


def _manner(stage: Stage) -> Manner:
    return Manner(quick=stage.chance.random() < 0.75)


# Roads


@fault("connections cut")
async def cut(stage: Stage) -> None:
    async with stage.one("worker", "client") as actor:
        actor.road.cut()


@fault("answer of a commit lost")
async def lose_commit(stage: Stage) -> None:
    await _lose_answer(stage, "commit")


@fault("answer of a claim lost")
async def lose_claim(stage: Stage) -> None:
    await _lose_answer(stage, "claim")


@fault("answer of a client's call lost")
async def lose_start(stage: Stage) -> None:
    await _lose_answer(stage, stage.chance.choice(["start", "deliver"]), "client")


@fault("connection cut when a transaction records its outcome")
async def cut_transaction(stage: Stage) -> None:
    """Before it stands, or before it is committed: what user code has done must be undone."""
    for _ in range(TRIES):
        async with stage.one("worker") as actor:
            if await actor.road.strike("record", _part, after=stage.chance.random() < 0.5):
                return


async def _lose_answer(stage: Stage, statement: str, role: str = "worker") -> None:
    async with stage.one(role) as actor:
        for _ in range(stage.chance.randrange(1, 5)):
            await actor.road.strike(statement, _part, after=True)


async def _part(_: Link) -> None:
    raise Parted


@fault("black hole")
async def hole(stage: Stage) -> None:
    async with stage.one("worker", "client") as actor:
        actor.road.swallow()
        try:
            await asyncio.sleep(stage.chance.uniform(1, LEASE_SECONDS + 4))
        finally:
            actor.road.heal()


@fault("answers slow")
async def slow(stage: Stage) -> None:
    async with stage.one("worker", "client") as actor:
        actor.road.delay = stage.chance.choice([0.01, 0.05, 0.3])
        try:
            await asyncio.sleep(stage.chance.uniform(2, 6))
        finally:
            actor.road.heal()


# Postgres


@fault("sessions ended by Postgres")
async def end_sessions(stage: Stage) -> None:
    share = stage.chance.choice([0.2, 1.0])
    await stage.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where application_name like 'durable:%' and random() < $1", share)  # fmt: skip


@fault("Postgres crashed and started")
async def crash(stage: Stage) -> None:
    async with stage.server_taken:
        await _away(stage, signal.SIGQUIT, 0.0)


@fault("Postgres away")
async def away(stage: Stage) -> None:
    async with stage.server_taken:
        number = stage.chance.choice([signal.SIGINT, signal.SIGQUIT])
        await _away(stage, number, stage.away_seconds)


async def _away(stage: Stage, number: int, seconds: float) -> None:
    try:
        await asyncio.shield(stage.stop_server(number))
        await asyncio.sleep(seconds)
    finally:
        await stage.start_server()


@fault("no connection left")
async def crowd(stage: Stage) -> None:
    """Whoever has none gets none."""
    async with stage.server_taken, AsyncExitStack() as stack:
        with suppress(asyncpg.TooManyConnectionsError):
            for _ in range(CONNECTIONS_MAX):
                one = await asyncpg.connect(stage.dsn)
                stack.callback(one.terminate)
        actor = stage.chance.choice(stage.of("worker"))
        actor.road.cut()  # and now it needs some
        await asyncio.sleep(stage.chance.uniform(2, 5))


@fault("snapshot held open")
async def snapshot(stage: Stage) -> None:
    one = await asyncpg.connect(stage.dsn)
    try:
        await one.execute("begin isolation level repeatable read; select count(*) from durable.run")
        await asyncio.sleep(stage.chance.uniform(5, 15))
    finally:
        one.terminate()


@fault("transaction of a user left idle, with runs locked")
async def idle(stage: Stage) -> None:
    strength = stage.chance.choice(["update", "no key update", "key share"])
    one = await asyncpg.connect(stage.dsn)
    try:
        await one.execute(
            "begin; select run from durable.run where closed_at is null "
            f"order by random() limit 5 for {strength} skip locked")  # fmt: skip
        await asyncio.sleep(stage.chance.uniform(1, 5))
    finally:
        one.terminate()


# Dealing


class Deck:
    """Deals faults until told to stop."""

    def __init__(self, stage: Stage, minutes: float) -> None:
        self._stage = stage
        self._under_way: set[asyncio.Task[None]] = set()
        self._left: list[Fault] = []
        self._failure: Exception | None = None
        stage.away_seconds = AWAY_SECONDS_IN_SHORT if minutes < SHORT_MINUTES else AWAY_SECONDS
        self.skipped = {each.name: why for each in FAULTS if (why := each.missing())}

    async def deal(self, seconds: float) -> None:
        chance, loop = self._stage.chance, asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end:
            task = asyncio.create_task(self._do(self.draw()))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
            await asyncio.sleep(chance.expovariate(1.2))
            while len(self._under_way) >= UNDER_WAY_MAX:
                await asyncio.sleep(0.05)
            if self._failure is not None:
                raise self._failure

    def draw(self) -> Fault:
        if not self._left:
            self._left = [each for each in FAULTS if each.name not in self.skipped]
            self._stage.chance.shuffle(self._left)
        return self._left.pop()

    async def _do(self, each: Fault) -> None:
        try:
            note("fault", what=each.name, state="on")
            await each.do(self._stage)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            # Another fault keeps this one from the database.
            note("fault", what=each.name, state="hindered", why=repr(error))
        except Exception as error:  # noqa: BLE001 - it cannot be done here: no more follows
            self._failure = error
        else:
            note("fault", what=each.name, state="off")

    async def put_right(self) -> None:
        """The faults under way come to their end. The last blow hits each worker where a run may
        be left to nobody for as long as it lives: no death tidies up behind it."""
        if self._under_way:
            await asyncio.wait(self._under_way)
        for actor in self._stage.of("worker"):
            for statement in ("claim", "commit"):
                await actor.road.strike(statement, _part, after=True)
        note("fault", what="at last: answers of a claim and of a commit lost", state="on")
        for actor in self._stage.actors:
            actor.road.heal()
