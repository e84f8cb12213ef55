"""``Client``: what it takes the code of workflows to do, and what is done to many runs at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict, Unpack

from . import _queries
from ._authoring.children import checked_name
from ._client.handle import Handle
from ._core.statuses import OPEN, Status
from ._forking import fork
from .errors import DurableError, InvalidCall, StoreError

# Filters that are texts.
TEXTS = {"workflow", "queue", "id_prefix", "parent"}


class Filters(TypedDict, total=False):
    """Which runs are meant: what ``client.list`` takes."""

    status: Status | str | Iterable[Status | str] | None
    workflow: str | None
    queue: str | None
    id_prefix: str | None
    parent: str | None
    created_since: datetime | None
    created_until: datetime | None
    closed_since: datetime | None
    closed_until: datetime | None


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one run of many.

    Attributes:
        id: the run's.
        error: why it was refused, as ``RetryRefused``; None if it was done.
    """

    id: str
    error: DurableError | None


class Client(_queries.Client):
    __doc__ = _queries.Client.__doc__

    async def retry_many(
        self, *, limit: int | None = None, **filters: Unpack[Filters]
    ) -> list[Done]:
        """Retry all runs that fit all that is given: those that failed and those that are stuck,
        unless a ``status`` says which. The youngest first, one after the other; each as
        ``Handle.retry`` does it. One that is refused costs the others nothing.

        Args:
            limit: how many at most.
            filters: as of :meth:`list`; one at least.

        Returns:
            One answer for each run that was found.

        Raises:
            InvalidCall: no filter, or one that cannot be. Nothing was done.
            StoreUnavailable: the database was lost on the way. Call it again: what was done is not
                found any more.

        Example:
            for each in await client.retry_many(workflow="order", closed_since=outage):
                if each.error is not None:
                    print(each.id, each.error)
        """
        return await self._each("retry", (Status.FAILED, Status.STUCK), filters, limit)

    async def cancel_many(
        self, *, limit: int | None = None, **filters: Unpack[Filters]
    ) -> list[Done]:
        """Ask all open runs that fit to stop, as ``Handle.cancel`` does. One that has closed
        meanwhile is left out. All else as :meth:`retry_many`; but called again, it asks again."""
        return await self._each("cancel", sorted(OPEN), filters, limit)

    async def terminate_many(
        self, reason: str | None = None, /, *, limit: int | None = None, **filters: Unpack[Filters]
    ) -> list[Done]:
        """Close all open runs that fit at once, as ``Handle.terminate`` does. All else as
        :meth:`retry_many`.

        Example:
            await client.terminate_many("never meant", parent="import-2026-01")
        """
        return await self._each("terminate", sorted(OPEN), filters, limit, reason)

    async def _each(
        self,
        verb: str,
        statuses: Sequence[Status],
        given: Filters,
        limit: int | None,
        *arguments: Any,
    ) -> list[Done]:
        filters: dict[str, Any] = {name: each for name, each in given.items() if each is not None}
        if unknown := filters.keys() - Filters.__annotations__.keys():
            raise InvalidCall(
                f"There is no filter {', '.join(sorted(unknown))}; there are "
                f"{', '.join(Filters.__annotations__)}."
            )
        if not filters:
            raise InvalidCall(
                f"{verb}_many() without a filter would {verb} all runs there are. Say which are "
                f"meant, as in {verb}_many(workflow='order')."
            )
        if limit is not None and (type(limit) is not int or limit < 0):
            raise InvalidCall(f"limit={limit!r:.300} is no number of runs.")
        for name in TEXTS & filters.keys():  # an empty prefix would mean all runs, too
            checked_name(filters[name], name)
        # One list: what moves from one status to another meanwhile is met, and met once.
        runs = self.list(**{**filters, "status": filters.get("status", statuses)})
        done: list[Done] = []
        async for run in runs:
            if limit is not None and len(done) >= limit:
                break
            handle = Handle[Any](self, run.id, run=run.run, definition=None)
            try:
                if await getattr(handle, verb)(*arguments) is not False:
                    done.append(Done(run.id, None))
            except StoreError:
                raise
            except DurableError as error:
                done.append(Done(run.id, error))
        return done

    async def _forked(
        self, run: int, at: int, id: str | None, result: tuple[object, ...]
    ) -> tuple[int, str]:
        return await fork(self, run, at=at, id=id, result=result)
