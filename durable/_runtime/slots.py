"""How many attempts are under way at once; who comes first begins first."""

from __future__ import annotations

import asyncio
from collections import deque


class Slots:
    """Take one by ``free -= 1`` where ``free`` is not zero; else by ``wait``."""

    def __init__(self, count: int) -> None:
        self.free = count
        self._waiters: deque[asyncio.Future[None]] = deque()

    async def wait(self) -> None:
        """Until one that is given back is handed on to whoever waits here."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.give_back()
            raise

    def give_back(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self.free += 1
