"""What a client does: it starts workflows with ids of its own, sends again what was not answered
(and now and then what was), cancels, retries, and waits for results.

A story follows from seed, name and number alone. A ledger says which were begun and which are
over, so that whoever comes after a client that was killed tells its stories to their end.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from durable import Client, Handle, RunCancelled, RunFailed, RunTerminated
from durable.errors import RetryRefused, StoreUnavailable
from tests.proof.canon import CASES, LABORIOUS, Case, ticking
from tests.proof.history import note

from . import sightings

R = TypeVar("R")

PAUSE_SECONDS = 0.3

# The share of stories in which one run replaces another, and of those that take seconds.
REPLACED, LABOURS = 0.05, 0.1

ENDINGS: dict[type[Exception], str] = {
    RunFailed: "failed", RunCancelled: "cancelled", RunTerminated: "terminated"}  # fmt: skip


class Ledger:
    """Survives its writer: a line is one write."""

    def __init__(self, path: Path) -> None:
        self._path = path
        said = path.read_text().split("\n") if path.exists() else []
        pairs = [line.split() for line in said if line]
        ended = {n for word, n in pairs if word == "end"}
        self.unfinished = [int(n) for word, n in pairs if word == "begin" and n not in ended]
        self.next = max((int(n) for _, n in pairs), default=-1) + 1

    def note(self, word: str, n: int) -> None:
        with self._path.open("a") as file:
            file.write(f"{word} {n}\n")


class Teller:
    """``quiet`` is a file: when it is there, no new story begins."""

    def __init__(
        self, client: Client, *, name: str, seed: int, folder: Path, in_flight: int, pause: float
    ) -> None:
        self._client, self._name, self._seed = client, name, seed
        self._ledger = Ledger(folder / f"{name}.ledger")
        self._quiet = folder / "quiet"
        self._in_flight, self._pause = in_flight, pause

    async def tell(self) -> None:
        """Until it is quiet, and every story has come to its end."""
        async with asyncio.TaskGroup() as group:
            room = asyncio.Semaphore(self._in_flight)

            async def told(n: int) -> None:
                try:
                    await self._story(n)
                finally:
                    room.release()
                self._ledger.note("end", n)

            for n in self._ledger.unfinished:
                await room.acquire()
                group.create_task(told(n))
            n = self._ledger.next
            while not self._quiet.exists():
                await room.acquire()
                self._ledger.note("begin", n)
                group.create_task(told(n))
                n += 1
                await asyncio.sleep(random.expovariate(1 / self._pause))

    async def _story(self, n: int) -> None:
        chance, id = random.Random(f"{self._seed} {self._name} {n}"), f"{self._name}-{n}"
        kind = chance.random()
        if kind < REPLACED:
            await self._replaced(id, chance.expovariate(4))
            return
        case = LABORIOUS if kind < REPLACED + LABOURS else chance.choice(CASES)
        start = self._starting(case.workflow, id, **dict(case.options))
        handle = await self._sure("start", id, start)
        note("started", run=id, case=case.name, ends=[case.status])
        if chance.random() < 0.2:
            again = await self._sure("start", id, start)
            note("started again", run=id, first=handle._run, second=again._run)
        async with asyncio.TaskGroup() as group:
            if case.status == "cancelled" and not case.options and chance.random() < 0.7:
                # Perhaps when it is about to be put away.
                group.create_task(self._cancel(handle, chance.uniform(0, 0.05)))
            elif case.meanwhile is not None:
                group.create_task(self._meanwhile(case, handle))
            elif chance.random() < 0.15:
                group.create_task(self._cancel(handle, chance.expovariate(5)))
        await self._await(handle)

    async def _replaced(self, id: str, after: float) -> None:
        """Another run takes the id, while the first one's owner is writing all the time."""
        first = await self._sure("start", id, self._starting(ticking, id))
        note("started", run=id, case="replaced", ends=["completed", "terminated"])
        await asyncio.sleep(after)
        replacing = self._starting(ticking, id, if_exists="replace")
        second = await self._sure("start", id, replacing)
        for handle in (first, second):  # an answer may have been lost: then it was replaced as well

            async def over(handle: Handle[Any] = handle) -> None:
                with suppress(RunTerminated):
                    await handle.result()

            await self._sure("result", id, over)

    def _starting(
        self, workflow: Any, id: str, **options: Any
    ) -> Callable[[], Awaitable[Handle[Any]]]:
        async def start() -> Handle[Any]:
            return await self._client.start(workflow, id=id, **options)

        return start

    async def _meanwhile(self, case: Case, handle: Handle[Any]) -> None:
        async def do() -> None:
            assert case.meanwhile is not None
            with suppress(RetryRefused):  # an earlier try went through
                await case.meanwhile(self._client, handle)

        await self._sure("meanwhile", handle.id, do)

    async def _cancel(self, handle: Handle[Any], after: float) -> None:
        await asyncio.sleep(after)
        accepted = await self._sure("cancel", handle.id, handle.cancel)
        note("sent", run=handle.id, what="cancel", accepted=accepted)

    async def _await(self, handle: Handle[Any]) -> None:
        async def result() -> None:
            value, status = None, "completed"
            try:
                value = await handle.result()
            except tuple(ENDINGS) as error:
                status = ENDINGS[type(error)]
            note("result", run=handle.id, status=status, value=repr(value))

        await self._sure("result", handle.id, result)

    async def _sure(self, what: str, id: str, call: Callable[[], Awaitable[R]]) -> R:
        """Until the database answers."""
        while True:
            try:
                return await call()
            except StoreUnavailable as error:
                sightings.saw(sightings.REPEATED)
                if what in ("cancel", "meanwhile"):  # it may have been accepted
                    note("sent", run=id, what=what, accepted=False, why=str(error))
                await asyncio.sleep(PAUSE_SECONDS)
