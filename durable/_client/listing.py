"""Lists of runs: filters, and pages of a size, whoever asks for however many."""

from __future__ import annotations

import builtins
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Generator, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from .._authoring.moments import aware, length
from .._core.retries import Duration
from .._core.statuses import Status
from .._store.verbs import Listing, Store
from ..errors import InvalidCall
from .handle import Description, described

# Payloads are read along: a page of them fits into memory.
PAGE = 100

# No run is older; and the calendar of Postgres has a beginning.
AGES = timedelta(days=365_000)


class Runs:
    """The runs that a list found: ``async for`` reads them page by page, however many they
    are; ``await`` gives all of them as a list."""

    def __init__(
        self, listing: Listing, filters: Mapping[str, Any], *, oldest_first: bool, limit: int | None
    ) -> None:
        self._listing = listing
        self._filters = filters
        self._oldest_first = oldest_first
        self._limit = limit

    def __aiter__(self) -> AsyncGenerator[Description, None]:
        return self._pages()

    def __await__(self) -> Generator[Any, None, list[Description]]:
        return self._all().__await__()

    async def _all(self) -> list[Description]:
        return [each async for each in self._pages()]

    async def _pages(self) -> AsyncGenerator[Description, None]:
        left, beyond = self._limit, None
        while left is None or left > 0:
            size = PAGE if left is None else min(left, PAGE)
            rows = await self._listing.page(
                self._filters, oldest_first=self._oldest_first, limit=size, beyond=beyond
            )
            for row in rows:
                yield described(row)
            if len(rows) < size:
                return
            beyond = (rows[-1]["created_at"], rows[-1]["run"])
            left = None if left is None else left - size


class Lists(ABC):
    """The part of a client that looks at many runs, or removes them."""

    @property
    @abstractmethod
    def store(self) -> Store: ...

    def list(
        self,
        *,
        status: Status | str | Iterable[Status | str] | None = None,
        workflow: str | None = None,
        queue: str | None = None,
        id_prefix: str | None = None,
        parent: str | None = None,
        created_since: datetime | None = None,
        created_until: datetime | None = None,
        closed_since: datetime | None = None,
        closed_until: datetime | None = None,
        order: Literal["newest", "oldest"] = "newest",
        limit: int | None = None,
    ) -> Runs:
        """Runs that fit all that is given, the newest first, or the oldest.

        ``async for`` reads them page by page, however many there are; ``await`` gives a list.

        Args:
            status: one, or several: what moves from one to another is listed once.
            id_prefix: how their ids begin; only runs that these ids name now.
            parent: the id of the run that has begun them as its children.
            created_since, created_until, closed_since, closed_until: aware datetimes; *until*
                is not included.
            limit: how many at most; None: all.

        Raises:
            InvalidCall: there is no such status, or a time has no zone.

        Example:
            async for run in client.list(status="failed", workflow="order"):
                await client.handle(run.id).retry()
        """
        filters: dict[str, Any] = {
            "statuses": _statuses(status),
            "workflow": workflow,
            "queue": queue,
            "id_prefix": id_prefix,
            "parent": parent,
            "created_since": created_since and aware(created_since, "created_since"),
            "created_until": created_until and aware(created_until, "created_until"),
            "closed_since": closed_since and aware(closed_since, "closed_since"),
            "closed_until": closed_until and aware(closed_until, "closed_until"),
        }
        filters = {name: each for name, each in filters.items() if each is not None}
        if len(filters.get("statuses", ())) == 1:  # that index has an order
            filters["status"] = filters.pop("statuses")[0]
        if order not in ("newest", "oldest"):
            raise InvalidCall(f"order={order!r} is not 'newest' or 'oldest'.")
        return Runs(self.store.listing, filters, oldest_first=order == "oldest", limit=limit)

    async def delete(
        self,
        *,
        older_than: Duration,
        status: Status | str | Iterable[Status | str] | None = None,
        workflow: str | None = None,
        dry_run: bool = False,
    ) -> int:
        """Remove closed runs for good: with their arguments, results, journals and messages.
        Their ids are free again, so a start that is repeated later is a new run.

        Goes in batches, each a transaction; open runs are never touched.

        Args:
            older_than: seconds (or a timedelta) since they closed.
            status: only those that ended so; one status or several.
            dry_run: only count them.

        Returns:
            How many were removed.

        Example:
            await client.delete(older_than=timedelta(days=30), status="completed")
        """
        return await self.store.listing.delete(
            older_than=min(length(older_than, "older_than", datetime.now(UTC)), AGES),
            status=_statuses(status),
            workflow=workflow,
            dry_run=dry_run,
        )

    async def history(self, id: str) -> builtins.list[dict[str, Any]]:
        """The journal of the run that ``id`` names, payloads readable: one dict per event
        with position, at, kind, name, input, result, failure, traceback, site and patches."""
        return await self.store.listing.history(id)

    async def count_by_status(self) -> dict[str, int]:
        """How many runs stand in each status."""
        return await self.store.listing.counts()


def _statuses(given: Any) -> builtins.list[str] | None:
    several = given if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    return None if given is None else [checked_status(each) for each in several]


def checked_status(status: Status | str) -> str:
    try:
        return Status(status)
    except ValueError:
        raise InvalidCall(f"status={status!r} is not one of {', '.join(Status)}.") from None
