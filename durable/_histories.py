"""Histories: what is recorded of one run, as a value that can leave its database.

It is read in a few statements, with no transaction left open: a journal only grows, so what is
read of it up to the length that the run's row was found with is what stood there at that moment.
Notes of attempts come and go, and are read with the row. ``_replaying.py`` feeds a history to the
code at hand; ``_history_lines.py`` writes it as lines of JSON. No code of a workflow runs here.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from datetime import datetime
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

import msgspec

from ._authoring import origins
from ._authoring.children import checked_name
from ._client.listing import checked_status
from ._core.statuses import OPEN
from ._runtime import rows
from ._store import verbs
from ._store.protocol import JournalRow, Message, Note
from .errors import RunExists, RunNotFound

if TYPE_CHECKING:
    from ._queries import Client

# Runs whose histories are read at once.
BATCH = 50


class History(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that is recorded of one run: who it is, its journal, what is still on its way to it.

    A history is read from a database (``History.of``) or from a file (``History.load``), is
    replayed against the code at hand (:func:`replay`), and never changes. Payloads are bytes, as
    they stand in the database.

    Attributes:
        id: the caller's name of the run. ``run`` is its key in the database it came from.
        workflow: the name of its workflow.
        status: how it stood when it was read: "waiting", "completed", "stuck" ...
        versions: what replay depends on: loop semantics, Python's minor version, anyio's.
        events: its journal: position, kind, name, op, at, input, result, failure, site ...
        notes: attempts of activities that have begun and were not over.
        unread: messages in its inbox that its code had not been given.

    Example:
        history = await History.of(client, "order-42")
        History.save("tests/histories/order-42.jsonl", [history])
    """

    id: str
    run: int
    workflow: str
    status: str
    seed: bytes
    input: bytes
    input_digest: bytes
    created_at: datetime
    queue: str = "default"
    priority: int = 0
    versions: str | None = None
    started_at: datetime | None = None
    closed_at: datetime | None = None
    due_at: datetime | None = None  # when it must be taken up
    deadline: datetime | None = None
    report: str | None = None  # why it is stuck
    result: bytes | None = None
    failure: bytes | None = None
    failed_at: int | None = None
    next_op: int | None = None
    reason: str | None = None
    parent: int | None = None  # key of the run that began it, and by which of its operations
    parent_op: int | None = None
    on_parent_close: str | None = None
    depth: int = 0
    origins: str | None = None  # whose its first turns were: see ``durable/_authoring/origins.py``
    events: tuple[JournalRow, ...] = ()
    notes: tuple[Note, ...] = ()
    unread: tuple[Message, ...] = ()

    def __str__(self) -> str:
        count = "1 event" if len(self.events) == 1 else f"{len(self.events)} events"
        return f"{self.workflow} {self.id!r} ({self.status}, {count})"

    @property
    def fed(self) -> list[JournalRow]:
        """The events that replay feeds: without those that a retry took back, and without the
        one that says that somebody has terminated the run."""
        return [row for row in rows.read(self.events).rows if row.kind != "terminated"]

    @classmethod
    async def of(cls, client: Client, id: str) -> Self:
        """The history of the run that ``id`` names now.

        Raises:
            RunNotFound: there is none.
        """
        run = await client.store.runs.current(checked_name(id, "id"))
        async for history in cls.read(client.store, [] if run is None else [run]):
            return history
        raise RunNotFound(id=id)

    @classmethod
    async def all(
        cls,
        client: Client,
        *,
        status: str | Sequence[str] = "open",
        workflow: str | None = None,
        limit: int | None = None,
    ) -> AsyncGenerator[Self, None]:
        """The histories of all open runs, or of those that stand as ``status`` says (one or
        several, "open" for all that are), of one ``workflow`` or of all; ``limit``: of the
        youngest. Which runs these are is settled at one moment; each is read when its turn comes.

        Raises:
            InvalidCall: there is no such status.

        Example:
            async for history in History.all(client, workflow="order"):
                replay(history)
        """
        store = client.store
        async for history in cls.read(store, await selected(store, status, workflow, limit)):
            yield history

    @classmethod
    async def read(cls, store: verbs.Store, runs: Iterable[int]) -> AsyncGenerator[Self, None]:
        """The histories of many runs, by their keys; of those that are still there."""
        wanted = sorted(set(runs))
        for start in range(0, len(wanted), BATCH):
            async for history in _batch(cls, store, wanted[start : start + BATCH]):
                yield history

    async def bring_into(self, client: Client, *, parent: int | None = None) -> int:
        """Bring the run into another database, under its id; returns its key there.

        A closed run stays as it ended. An open one is *paused*: it can be looked at, replayed and
        debugged, and goes on in that database when it is resumed, with the idempotency keys it
        had. What it has shown (states, streams) and the answers of its updates stay behind.
        ``parent`` is the key there of the run that began it; without, nobody is told of its end.

        Raises:
            RunExists: a run there has the id.
        """
        facts = msgspec.structs.asdict(self)
        for name in ("run", "parent", "events", "notes", "unread"):
            del facts[name]
        if self.closed_at is None:
            facts["status"] = "paused"
        facts["origins"] = self.origins_at(len(self.events))
        key, taken = await client.store.listing.adopt(
            facts, self.events, self._voids(), self.notes, self.unread, parent
        )
        if key is None:
            raise RunExists(id=self.id, status=str(taken), policy="import")
        return key

    def origins_at(self, until: int) -> str | None:
        """The origins of a run that shares the turns before a position with this one."""
        if until == 0:
            return None
        own = origins.read(self.origins)
        before = [each for each in own if each[0] < until]
        owner = origins.who(own, until, (self.run, self.id))
        return json.dumps([*before, (until, *owner)])

    def _voids(self) -> dict[int, int]:
        """Which event each ``voided`` one takes back: the latest that none has."""
        standing: list[int] = []
        voids: dict[int, int] = {}
        for row in self.events:
            if row.kind == "voided":
                voids[row.position] = standing.pop()
            else:
                standing.append(row.position)
        return voids

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Iterator[Self]:
        """The histories of a file, one after the other, as ``durable export`` and ``save`` have
        written them.

        Raises:
            HistoryUnreadable: it is something else, or cut, or of another format: which line, why.
            OSError: there is no such file.
        """
        from ._history_lines import parsed  # it knows this class

        with open(path, "rb") as file:
            yield from (cls(**facts) for facts in parsed(file, str(path)))

    @staticmethod
    def save(path: str | PathLike[str], histories: Iterable[History]) -> None:
        """Write histories to a file, as lines of JSON: first the run, then its events."""
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            for history in histories:
                file.writelines(f"{line}\n" for line in history.lines())

    def lines(self) -> Iterator[str]:
        """The same as lines of JSON, each without its end."""
        from ._history_lines import written

        return written(self)


async def selected(
    store: verbs.Store, status: str | Sequence[str], workflow: str | None, limit: int | None
) -> list[int]:
    """Keys of runs, the youngest first.

    Raises:
        InvalidCall: there is no such status.
    """
    wanted = {status} if isinstance(status, str) else set(status)
    statuses = {checked_status(each) for each in wanted - {"open"}}
    statuses |= OPEN if "open" in wanted else set()
    return await store.listing.selected(sorted(statuses), workflow, limit)


async def _batch(
    cls: type[Any], store: verbs.Store, runs: Sequence[int]
) -> AsyncGenerator[Any, None]:
    headers = await store.listing.recorded(runs)
    journals = _journals(store, {header["run"]: header.pop("events") for header in headers})
    found = {header["run"]: header for header in headers}
    async for run, events in journals:
        header = found[run]
        seen = max((row.seq or 0 for row in events), default=0)
        yield cls(**header, events=tuple(events), unread=await _unread(store, run, seen))


async def _unread(store: verbs.Store, run: int, seen: int) -> tuple[Message, ...]:
    """Also of a closed run: a fork of it may receive them."""
    unread: list[Message] = []
    while len(page := await store.inbox.read([(run, seen)])) == verbs.MESSAGES_MAX:
        unread += page
        seen = page[-1].seq
    return (*unread, *page)


async def _journals(
    store: verbs.Store, lengths: dict[int, int]
) -> AsyncGenerator[tuple[int, list[JournalRow]], None]:
    """Journals up to the lengths they had; one that is gone by now was removed with its run."""
    events: dict[int, list[JournalRow]] = {run: [] for run in sorted(lengths)}
    done: list[int] = []
    async for page in store.journal.pages([(run, 0) for run in events]):
        for row in page:
            if row.position < lengths[row.run]:
                events[row.run].append(row)
        # Pages come in the order of runs: those before the last one are whole.
        done = [run for run in events if page and run < page[-1].run]
        for run in done:
            if len(events[run]) == lengths[run]:
                yield run, events.pop(run)
    for run in list(events):
        if len(events[run]) == lengths[run]:
            yield run, events.pop(run)
