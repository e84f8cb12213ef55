"""The whole store in dicts: for the fastest tests. It lives as long as its ``Tables``, which
any number of stores of one process may share, as processes share a database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .. import verbs
from .aside import Attempts, Outcomes
from .inbox import Inbox
from .journal import Journal
from .listing import Listing
from .runs import Runs
from .streams import Promises, Streams
from .tables import Tables
from .workers import Heartbeat, Workers


class Store:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.runs: verbs.Runs = Runs(tables)
        self.journal: verbs.Journal = Journal(tables)
        self.attempts: verbs.Attempts = Attempts(tables)
        self.inbox: verbs.Inbox = Inbox(tables)
        self.outcomes: verbs.Outcomes = Outcomes(tables)
        self.streams: verbs.Streams = Streams(tables)
        self.promises: verbs.Promises = Promises(tables)
        self.workers: verbs.Workers = Workers(tables)
        self.listing: verbs.Listing = Listing(tables)

    async def open_heartbeat(self) -> verbs.Heartbeat:
        return Heartbeat(self._tables)

    async def notify(self) -> None:
        with self._tables.lock:
            for hear in list(self._tables.listeners.values()):
                hear()

    async def notify_ends(self) -> None:
        with self._tables.lock:
            for hear in list(self._tables.end_listeners.values()):
                hear()

    async def listen_for_ends(self, on_ends: Callable[..., None]) -> None:
        loop = asyncio.get_running_loop()
        self._tables.end_listeners[self, on_ends] = lambda: loop.call_soon_threadsafe(on_ends)

    async def notify_published(self) -> None:
        with self._tables.lock:
            for hear in list(self._tables.published_listeners.values()):
                hear()

    async def listen_for_published(self, on_published: Callable[..., None]) -> None:
        loop = asyncio.get_running_loop()
        self._tables.published_listeners[self, on_published] = lambda: loop.call_soon_threadsafe(
            on_published
        )

    async def close(self) -> None:
        for listeners in self._tables.end_listeners, self._tables.published_listeners:
            for key in [key for key in listeners if key[0] is self]:
                del listeners[key]
