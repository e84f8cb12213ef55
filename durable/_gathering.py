"""Calls that come while one is under way share the next.

As the committer does it: there are no timers. What comes alone goes at once; of many that come at
once each waits for two rounds at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

A = TypeVar("A")
R = TypeVar("R")


class Gathering(Generic[A, R]):
    """``send`` answers each of many, ``most`` at a time, in their order."""

    def __init__(
        self, send: Callable[[Sequence[A]], Awaitable[list[R]]], *, most: int | None = None
    ) -> None:
        self._send, self._most = send, most
        self._asked: list[tuple[A, asyncio.Future[R]]] = []
        self._task: asyncio.Task[None] | None = None

    async def call(self, asked: A) -> R:
        """Raises: what ``send`` raised for all that went together."""
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._asked.append((asked, answer))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._send_all())
        return await answer

    async def _send_all(self) -> None:
        while self._asked:
            gathered = self._asked[: self._most]
            del self._asked[: self._most]
            some = [each for each in gathered if not each[1].cancelled()]
            if not some:
                continue  # nobody waits for them
            try:
                answers = await self._send([asked for asked, _ in some])
            except Exception as error:  # noqa: BLE001 - each of them raises it
                for _, future in some:
                    if not future.done():
                        future.set_exception(error)
            else:
                for (_, future), answer in zip(some, answers, strict=True):
                    if not future.done():
                        future.set_result(answer)
