"""What the runtime and the client may ask of the store.

One small class per noun implements the verbs, on Postgres (``postgres/``, where they are
told) and in dicts (``memory/``, for tests); one suite tests both. Nothing here opens a
connection, and nobody outside this room sees one, but for the caller's own in joined calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from ..errors import StoreError
from . import protocol as rows


class Runs(Protocol):
    async def keys(self, count: int) -> list[int]: ...
    async def start(
        self, new: rows.NewRun, *, first: rows.Letter | None = None, connection: Any = None
    ) -> rows.Started: ...
    async def start_many(
        self, new: Sequence[rows.NewRun], *, connection: Any = None
    ) -> list[rows.Started | StoreError]: ...
    async def claim(
        self,
        worker: UUID,
        *,
        limit: int,
        versions: str | None = None,
        doubtful_max: int = 1,
    ) -> list[rows.Claimed]: ...
    async def acquit(self, worker: UUID, runs: Sequence[int]) -> None: ...
    async def owned(self, worker: UUID) -> list[rows.Claimed]: ...
    async def hand_back(self, worker: UUID, runs: Sequence[rows.HandBack]) -> list[int]: ...
    async def set_stuck(
        self, worker: UUID, run: int, claim: int, *, report: str, build: str
    ) -> bool: ...
    async def sweep_unserved(self) -> rows.Swept: ...
    async def current(self, id: str) -> int | None: ...
    async def outcomes(self, runs: Sequence[int]) -> list[rows.Outcome]: ...
    async def settled(self, runs: Sequence[int]) -> list[rows.Outcome]: ...
    async def expire(self) -> int: ...
    async def retry(self, id: str, meant: int | None = None) -> str | None: ...


class Journal(Protocol):
    async def commit(
        self, worker: UUID, advances: Sequence[rows.Advance], *, patient: bool = False
    ) -> list[rows.Verdict]: ...
    async def read(self, wanted: Iterable[tuple[int, int]]) -> list[rows.JournalRow]: ...


class Attempts(Protocol):
    async def read(self, runs: Sequence[int]) -> dict[int, list[rows.Note]]: ...


class Inbox(Protocol):
    async def deliver(
        self,
        *,
        id: str,
        kind: str,
        name: str | None,
        key: str,
        payload: bytes | None,
        meant: int | None = None,
        connection: Any = None,
    ) -> rows.Delivered: ...
    async def read(self, wanted: Iterable[tuple[int, int]]) -> list[rows.Message]: ...
    async def answers(self, wanted: Sequence[tuple[int, str]]) -> list[rows.Answer]: ...
    async def mail(self, worker: UUID) -> list[int]: ...
    async def clear_due(self, worker: UUID, seen: Sequence[tuple[int, int]]) -> None: ...


class Streams(Protocol):
    async def news(self, watched: Sequence[rows.Watched]) -> list[rows.News]: ...
    async def state(self, run: int, name: str) -> bytes | None: ...
    async def origin(self, run: int, name: str, after: int) -> int: ...
    async def successor(self, run: int) -> int | None: ...


class Promises(Protocol):
    async def answer(
        self, token: str, answer: bytes, kind: str | None, *, connection: Any = None
    ) -> rows.Answered: ...


class Outcomes(Protocol):
    """What runs on its connections speaks asyncpg: see ``_runtime/transactions.py``."""

    async def read(self, run: int, op: int) -> rows.Recorded | None: ...
    def connection(self) -> AbstractAsyncContextManager[Any]: ...
    async def record(
        self,
        connection: Any,
        *,
        worker: UUID,
        run: int,
        claim: int,
        op: int,
        name: str,
        digest: bytes | None,
        result: bytes | None,
    ) -> None: ...
    def backend(self, connection: Any) -> Any: ...
    def transaction(self, connection: Any) -> AbstractAsyncContextManager[None]: ...
    async def settle(self, backend: Any) -> bool: ...


class Workers(Protocol):
    async def suspects(self, judge: UUID) -> list[rows.Suspect]: ...
    async def take_over(self, worker: UUID, *, judged_at: datetime | None = None) -> int: ...
    async def deregister(self, worker: UUID) -> None: ...


class Heartbeat(Protocol):
    """A worker's own row; it lives in the loop (and thread) that opened it. It calls
    ``on_news`` when somebody hints that something is due."""

    on_news: Callable[[], object]

    async def register(self, registration: rows.Registration) -> None: ...
    async def beat(self, worker: UUID) -> rows.Beat: ...
    async def close(self) -> None: ...


class Listing(Protocol):
    async def describe(self, id: str, meant: int | None = None) -> dict[str, Any] | None: ...
    async def page(
        self,
        filters: Mapping[str, Any],
        *,
        oldest_first: bool,
        limit: int,
        beyond: tuple[datetime, int] | None,
    ) -> list[dict[str, Any]]: ...
    async def delete(
        self,
        *,
        older_than: timedelta,
        status: Sequence[str] | None,
        workflow: str | None,
        dry_run: bool,
    ) -> int: ...
    async def history(self, id: str) -> list[dict[str, Any]]: ...
    async def counts(self) -> dict[str, int]: ...


class Store(Protocol):
    """A plain record of the nouns."""

    runs: Runs
    journal: Journal
    attempts: Attempts
    inbox: Inbox
    streams: Streams
    promises: Promises
    outcomes: Outcomes
    workers: Workers
    listing: Listing

    async def open_heartbeat(self) -> Heartbeat: ...
    async def notify(self) -> None: ...
    async def notify_ends(self) -> None: ...
    async def listen_for_ends(self, on_ends: Callable[..., None]) -> None: ...
    async def notify_published(self) -> None: ...
    async def listen_for_published(self, on_published: Callable[..., None]) -> None: ...
    async def close(self) -> None: ...
