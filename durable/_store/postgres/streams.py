"""The ``state`` and ``stream`` tables: read here, written by commits."""

from __future__ import annotations

from collections.abc import Sequence

from ..protocol import Item, News, Watched
from .statements import Noun

# One reader's page.
PAGE_ITEMS = 500
PAGE_BYTES = 1024 * 1024


class Streams(Noun):
    async def news(self, watched: Sequence[Watched]) -> list[News]:
        """Of many readers those that have something to hear: something new (a page of it), that
        the run has closed, or that it is gone. In one statement."""
        if not watched:
            return []
        news: dict[int, News] = {}
        columns = zip(*watched, strict=True)
        for n, status, *item in await self._line.fetch(
            self._sql["news"], *columns, PAGE_ITEMS, PAGE_BYTES
        ):
            told = news.setdefault(n, News(watched[n - 1], [], status))
            if item[0] is not None:
                told.items.append(Item(*item))
        return list(news.values())

    async def state(self, run: int, name: str) -> bytes | None:
        """What the run shows, or the one that it goes on as by now."""
        value: bytes | None = await self._line.fetchval(self._sql["state"], run, name)
        return value

    async def origin(self, run: int, name: str, after: int) -> int:
        """The run whose part of a stream follows an offset: this one, or one that it continues."""
        origin: int | None = await self._line.fetchval(self._sql["origin"], run, name, after)
        return run if origin is None else origin

    async def successor(self, run: int) -> int | None:
        """The run that has continued this one."""
        successor: int | None = await self._line.fetchval(self._sql["successor"], run)
        return successor
