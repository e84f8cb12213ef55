"""Sessions of the server that workers have left, for those of later trials.

To begin one costs the server more than all that is done there in a trial: a process, its caches
of the catalogs, our functions compiled anew. So behind the proxy a session that is left in order,
or at rest by a process that dies, is not ended but swept. What its next client meets is what a
new one begins with: the same settings, for it said the same words when it began; no statement, no
lock, no channel. It serves once in a trial, so no two workers of one trial ever record the same
session as theirs. One that a fault has struck is ended, and so is one in a transaction, or that
owes an answer.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass

# All of `discard all` but the plans of our functions, which is what is to be kept.
SWEEP = (
    "close all; unlisten *; deallocate all; reset all; select pg_advisory_unlock_all(); "
    "discard sequences; discard temp"
)

# By one that begins them with the same words: a worker has no more at a time.
KEPT_MAX = 6


@dataclass(eq=False)
class Kept:
    """``start`` is the message that began it, ``greeting`` the answer to that."""

    start: bytes
    greeting: bytes
    pid: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    unrest: asyncio.Future[bytes] | None = None  # what it says while nobody asks, or its end


class Sessions:
    """Of one stage."""

    def __init__(self) -> None:
        self._ready: defaultdict[bytes, list[Kept]] = defaultdict(list)
        self._left: list[Kept] = []

    def begin(self) -> None:
        """A trial begins: what was left in the one before is there for it."""
        for each in self._left:
            ready = self._ready[each.start]
            if len(ready) < KEPT_MAX:
                ready.append(each)
            else:
                _end(each)
        self._left.clear()

    def pids(self) -> list[int]:
        return [each.pid for kept in (self._left, *self._ready.values()) for each in kept]

    async def take(self, start: bytes) -> Kept | None:
        """One that would be begun by the same words, if there is any."""
        while self._ready[start]:
            kept = self._ready[start].pop()
            assert kept.unrest is not None
            if not kept.unrest.done():
                kept.unrest.cancel()
                with suppress(asyncio.CancelledError):
                    await kept.unrest
                return kept
            _end(kept)
        return None

    def leave(self, kept: Kept) -> None:
        kept.unrest = asyncio.ensure_future(kept.reader.read(1))
        self._left.append(kept)

    def close(self) -> None:
        self.begin()
        for kept in self._ready.values():
            for each in kept:
                _end(each)
        self._ready.clear()


def _end(kept: Kept) -> None:
    kept.writer.transport.abort()
    if kept.unrest is not None:
        kept.unrest.cancel()
