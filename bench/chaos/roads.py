"""The road of one process to its database: it can be cut, swallow all, and be slow."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from urllib.parse import urlsplit

from tests.proof.history import note
from tests.proof.proxy import Link, Point, Proxy, Strike

# How long a swallowed connection stands before the server hears that its client is gone.
# A kernel's keepalive takes longer; but the sessions of half an hour must fit.
LINGER_SECONDS = 15.0

STATEMENT_COMES_SECONDS = 3.0


class Road(Proxy):
    def __init__(self, dsn: str) -> None:
        super().__init__(dsn)
        self.delay = 0.0  # seconds, on the mean, that a question is late
        self.swallows = False

    def lead_to(self, dsn: str) -> None:
        """What connects from now on gets there."""
        self._direct = urlsplit(dsn)

    def cut(self) -> None:
        for link in self.links:
            link.client.transport.abort()

    def swallow(self) -> None:
        """Bytes vanish, nobody is told; whoever connects is not answered either."""
        self.swallows = True
        for link in self.links:
            link.is_hole = True

    def heal(self) -> None:
        """Who connects gets through. What was swallowed is gone: such a connection stays a
        hole until its end."""
        self.swallows, self.delay = False, 0.0
        self._point = None
        for link in self.links:
            if link.is_hole and link.task is not None:
                asyncio.get_running_loop().call_later(LINGER_SECONDS, link.task.cancel)

    async def strike(self, statement: str, strike: Strike, *, after: bool = False) -> bool:
        """At the next one of these, before the server sees it or ``after`` it has acted. False if
        none comes for a while."""
        self.struck = asyncio.Event()
        self.aim(Point(statement, self.seen[statement] + 1, after), strike)
        with suppress(TimeoutError):
            async with asyncio.timeout(STATEMENT_COMES_SECONDS):
                await self.struck.wait()
                note("struck", statement=statement, after=after)
                return True
        self._point = None
        return False

    async def _ask(self, link: Link, name: str, question: bytes, ends: bytes) -> None:
        if self.swallows:
            link.is_hole = True
        if self.delay:
            await asyncio.sleep(random.expovariate(1 / self.delay))
        await super()._ask(link, name, question, ends)
