"""The whole store in dicts: for the fastest tests. It lives as long as its ``Tables``, which
any number of stores of one process may share, as processes share a database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .. import verbs
from ..protocol import Hint
from .aside import Outcomes
from .inbox import Inbox
from .journal import Journal
from .listing import Listing
from .runs import Runs
from .streams import Streams
from .tables import Tables
from .workers import Heartbeat, Workers


class Store:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.runs: verbs.Runs = Runs(tables)
        self.journal: verbs.Journal = Journal(tables)
        self.inbox: verbs.Inbox = Inbox(tables)
        self.outcomes: verbs.Outcomes = Outcomes(tables)
        self.streams: verbs.Streams = Streams(tables)
        self.workers: verbs.Workers = Workers(tables)
        self.listing: verbs.Listing = Listing(tables)

    async def open_heartbeat(self) -> verbs.Heartbeat:
        return Heartbeat(self._tables)

    async def notify(self, hint: Hint) -> None:
        with self._tables.lock:
            for hear in list(self._tables.listeners[hint].values()):
                hear()

    async def listen(self, hint: Hint, hear: Callable[..., None]) -> None:
        loop = asyncio.get_running_loop()
        self._tables.listeners[hint][self, hear] = lambda: loop.call_soon_threadsafe(hear)

    async def close(self) -> None:
        for hint in Hint.ENDED, Hint.PUBLISHED:
            listeners = self._tables.listeners[hint]
            for key in [key for key in listeners if key[0] is self]:
                del listeners[key]
