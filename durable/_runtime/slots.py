"""How many attempts are under way at once; who comes first begins first."""

from __future__ import annotations

import asyncio
from collections import deque


class Slots:
    """Take one by ``free -= 1`` where ``free`` is not zero, or ``wait`` for that."""

    def __init__(self, count: int) -> None:
        self.free = count
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def is_free(self) -> bool:
        """Whether there is one for who comes now: not if others wait."""
        return self.free > 0 and not self._waiters

    async def wait(self) -> None:
        while not self.free:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                self._wake_next()  # it may have been this one's turn
                raise

    def give_back(self) -> None:
        self.free += 1
        if self._waiters:
            self._wake_next()

    def _wake_next(self) -> None:
        while self.free and self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
