"""A foreign transaction is left open and idle: it holds a run's row, an id, or a worker's row.
Who needs that very thing waits, in bounds; all others go on at once."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from durable._store.protocol import Verdict
from durable._store.verbs import Heartbeat

from .stage import Stage, birth, message, new_run, turn
from .test_strangers import BATCH_SECONDS_MAX, TRIES, start_on

AN_ID = "nobody else's"
HOLDS = {
    "a run's row": "select from durable.run where id = 'held' for update",
    "a run's row, weakly": "select from durable.run where id = 'held' for key share",
    "a worker's row": "select from durable.worker where worker = $1 for update",
    "a worker's row, weakly": "select from durable.worker where worker = $1 for key share",
}


class Neighbours:
    """What goes on beside a thing that is held: each does something new each time."""

    def __init__(self, stage: Stage, worker: UUID, beats: Heartbeat, runs: list[int]) -> None:
        self._stage, self._worker, self._beats = stage, worker, beats
        self._stepping, self._sending, self._target = runs
        self._position = 0

    async def steps(self) -> None:
        self._position += 1
        step = turn(self._stepping, self._position)
        assert await self._stage.commit(self._worker, step) == [Verdict.DONE]

    async def births(self) -> None:
        (key,) = await self._stage.store.runs.keys(1)
        born = turn(key, 0, birth=birth(f"born {key}"))
        assert await self._stage.commit(self._worker, born) == [Verdict.DONE]

    async def sends(self) -> None:
        sent = turn(self._sending, self._position, deliveries=(
            message(self._target, f"k{self._position}"),))  # fmt: skip
        assert await self._stage.commit(self._worker, sent) == [Verdict.DONE]

    async def starts(self) -> None:
        assert (await self._stage.start(f"other {self._position}")).created

    async def starts_many(self) -> None:
        many = [new_run(f"many {self._position} {n}") for n in range(3)]
        assert len(await self._stage.store.runs.start_many(many)) == 3

    async def signals(self) -> None:
        assert (await self._stage.send("target", f"s{self._position}")).state == "accepted"

    async def beats(self) -> None:
        assert (await self._beats.beat(self._worker)).alive

    async def claims(self) -> None:
        await self._stage.store.runs.claim(self._worker, limit=1)

    async def chores(self) -> None:
        store = self._stage.store
        await store.workers.suspects(self._worker)
        await store.runs.sweep_unserved()
        await store.runs.expire()

    def all(self) -> list[Any]:
        return [self.steps, self.births, self.sends, self.starts, self.starts_many, self.signals,
                self.beats, self.claims, self.chores]  # fmt: skip


@pytest.mark.parametrize("held", ["an id", *HOLDS])
async def test_an_idle_transaction_holds_up_nobody_but_who_needs_what_it_holds(
    stage: Stage, held: str
) -> None:
    victim, (beats, worker) = await stage.worker(), await stage.beating()
    await stage.born(victim, "held")
    neighbours = Neighbours(
        stage, worker, beats, await stage.born(worker, "stepping", "sending", "target")
    )
    stranger = await stage.stranger()

    async with stranger.transaction():
        await hold(stranger, held, victim)
        # Somebody needs what is held, in the same store: he waits aside, not in all others' way.
        waiting = asyncio.create_task(needs(stage, held))
        took: dict[str, float] = {}
        for _ in range(TRIES):
            for each in neighbours.all():
                before = time.perf_counter()
                await each()
                name = each.__name__
                took[name] = min(took.get(name, 9.9), time.perf_counter() - before)

    await waiting
    assert {name: t for name, t in took.items() if t > BATCH_SECONDS_MAX} == {}


async def needs(stage: Stage, held: str) -> None:
    if held == "an id":
        await stage.start(AN_ID)
    elif "run" in held:
        await stage.send("held", "from somebody")


async def hold(stranger: asyncpg.Connection[Any], held: str, worker: UUID) -> None:
    if held == "an id":
        await start_on(stranger, AN_ID)
    else:
        await stranger.execute(HOLDS[held], *([worker] if "$1" in HOLDS[held] else []))


async def test_a_transaction_that_reads_a_workers_row_stops_neither_its_beats_nor_its_commits(
    stage: Stage,
) -> None:
    (beats, worker), stranger = await stage.beating(), await stage.stranger()
    (run,) = await stage.born(worker, "a")

    async with stranger.transaction():
        await hold(stranger, "a worker's row, weakly", worker)
        assert (await beats.beat(worker)).alive
        assert await stage.commit(worker, turn(run, 1)) == [Verdict.DONE]
