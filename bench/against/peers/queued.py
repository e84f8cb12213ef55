"""What the adapters of job queues share: a job of theirs has no result, so its handler tells."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from ..adapter import Adapter

JOBS_AT_ONCE = 100
ENQUEUED_AT_ONCE = 500
PAUSE_SECONDS = 0.005


class Queued(Adapter):
    """A run of one step is a job; ``result`` waits until its handler has run, ``settled`` until
    no job is left that the database does not know to be done."""

    def expect(self, id: str) -> asyncio.Future[int]:
        self.expected[id] = future = asyncio.get_running_loop().create_future()
        return future

    def handled(self, id: str, n: int) -> None:
        self.expected.pop(id).set_result(n)

    async def open(self, concurrency: int) -> None:
        self.expected: dict[str, asyncio.Future[int]] = {}

    async def start(self, workflow: str, argument: int, id: str) -> Any:
        (handle,) = await self.start_many(workflow, argument, [id])
        return handle

    async def start_many(self, workflow: str, argument: int, ids: Sequence[str]) -> list[Any]:
        handles = [self.expect(id) for id in ids]
        for begin in range(0, len(ids), ENQUEUED_AT_ONCE):
            await self.enqueue(ids[begin : begin + ENQUEUED_AT_ONCE], argument)
        return handles

    async def result(self, handle: Any) -> Any:
        return await handle

    async def settled(self) -> None:
        while await self.some_left():
            await asyncio.sleep(PAUSE_SECONDS)

    async def enqueue(self, ids: Sequence[str], n: int) -> None:
        raise NotImplementedError

    async def some_left(self) -> bool:
        raise NotImplementedError
