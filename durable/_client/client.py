"""``Client``: starts runs and finds them again. Needs no worker in this process."""

from __future__ import annotations

import asyncio
import builtins
import os
from collections.abc import Callable, Coroutine
from datetime import datetime
from types import TracebackType
from typing import (
    Any,
    Literal,
    Self,
    TypeAlias,
    TypeVar,
    TypeVarTuple,
    get_args,
    overload,
)
from uuid import uuid4

import asyncpg

from .._authoring.context import Context
from .._authoring.definitions import Definition, workflow_of
from .._codec.signatures import Signature
from .._codec.values import digest
from .._core.statuses import Status
from .._store.opening import open_store
from .._store.protocol import Outcome, Started, Store
from ..errors import IdReused, InvalidCall, NotRegistered, RetryRefused, RunExists, RunNotFound
from .handle import Description, Handle
from .waiting import Waiting

R = TypeVar("R")
Ts = TypeVarTuple("Ts")

IfExists: TypeAlias = Literal["use", "reject", "after_close", "after_failure", "replace"]

# Ids stand in a unique index and in many a log line.
ID_MAX = 255


class Client:
    """A connection to the runs of one database.

    Args:
        dsn: a Postgres URL; ``DURABLE_DATABASE_URL`` if left out.
        schema: the schema that holds the tables.

    Raises:
        ConfigurationError: (on entering) the database cannot be used, and why.
        SchemaMismatch: (on entering) it has no schema yet, or one for other code.

    Example:
        async with Client("postgresql://localhost/app") as client:
            await client.start("order", order, id="order-42")
    """

    def __init__(self, dsn: str | None = None, *, schema: str = "durable") -> None:
        self._dsn = dsn
        self._schema = schema
        self._store: Store | None = None
        self._waiting: Waiting | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0

    async def __aenter__(self) -> Self:
        if self._store is not None:
            raise InvalidCall(f"This {type(self).__name__} is open already; make another one.")
        await self._open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._close()

    async def _open(self) -> None:
        dsn = self._dsn or os.environ.get("DURABLE_DATABASE_URL")
        if dsn is None:
            raise InvalidCall("No database is given: pass a URL, or set DURABLE_DATABASE_URL.")
        await self._attach(await open_store(dsn, name="client", schema=self._schema))

    async def _attach(self, store: Store) -> None:
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._waiting = Waiting(store.runs.outcomes, is_live=self._is_live)

    async def _close(self) -> None:
        store, self._store = self._store, None
        if self._waiting is not None:
            self._waiting.fail(InvalidCall("The client was closed while a result was awaited."))
            await self._waiting.close()
        if store is not None:
            await store.close()

    # Starting

    @overload
    async def start(
        self,
        workflow: Callable[[Context, *Ts], Coroutine[Any, Any, R]],
        /,
        *args: *Ts,
        id: str | None = None,
        if_exists: IfExists = "use",
        queue: str = "default",
        connection: asyncpg.Connection | None = None,
    ) -> Handle[R]: ...
    @overload
    async def start(
        self,
        workflow: str,
        /,
        *args: Any,
        id: str | None = None,
        if_exists: IfExists = "use",
        queue: str = "default",
        connection: asyncpg.Connection | None = None,
    ) -> Handle[Any]: ...
    async def start(  # type: ignore[misc]  # mypy cannot match *Ts with *Any
        self,
        workflow: Any,
        /,
        *args: Any,
        id: str | None = None,
        if_exists: IfExists = "use",
        queue: str = "default",
        connection: asyncpg.Connection | None = None,
    ) -> Handle[Any]:
        """Start a run, or find the one that has this id already.

        When this returns, the run is in the database and will be worked on whatever crashes.
        Repeating the call with the same id does not start it twice.

        Args:
            workflow: the function, or its name (its code need not be in this process).
            args: its arguments after ``ctx``, by position.
            id: your name for the run, 1 to 255 characters; a random one by default.
            if_exists: what to do if the id names a run: ``use`` it, open or closed (with the
                same arguments); ``reject``; start another ``after_close`` or
                ``after_failure`` of the old one; ``replace`` an open one.
            queue: whose workers may take it.
            connection: an asyncpg connection of yours; the start joins its transaction and
                is undone if that is rolled back.

        Raises:
            IdReused: the id names a run with other arguments, or of another workflow.
            RunExists: ``if_exists`` forbids it.
            InvalidCall, EncodeError: a bad id or arguments; nothing was written.
        """
        definition = self._definition(workflow)
        name = definition.name if definition is not None else str(workflow)
        signature = definition.signature if definition is not None else _ANY
        checked = _checked_id(id)
        if if_exists not in get_args(IfExists):
            raise InvalidCall(f"if_exists={if_exists!r} is not one of {get_args(IfExists)}.")
        payload = signature.encode_call(args, {})
        if connection is None:
            run = await self._start_here(definition, checked, id is not None, queue, payload)
            if run is not None:
                return Handle(self, checked, run=run, definition=definition)
        started = await self.store.runs.start(
            id=checked,
            workflow=name,
            queue=queue,
            priority=0,
            input=payload,
            input_digest=digest(payload),
            if_exists=if_exists,
            connection=connection,
        )
        _check_started(started, name, checked, payload, if_exists)
        if connection is None and started.created:
            await self._started_elsewhere()
        return Handle(self, checked, run=started.run, definition=definition)

    @overload
    async def run(
        self,
        workflow: Callable[[Context, *Ts], Coroutine[Any, Any, R]],
        /,
        *args: *Ts,
        id: str | None = None,
        if_exists: IfExists = "use",
        queue: str = "default",
    ) -> R: ...
    @overload
    async def run(
        self,
        workflow: str,
        /,
        *args: Any,
        id: str | None = None,
        if_exists: IfExists = "use",
        queue: str = "default",
    ) -> Any: ...
    async def run(  # type: ignore[misc]  # as above
        self,
        workflow: Any,
        /,
        *args: Any,
        id: str | None = None,
        if_exists: IfExists = "use",
        queue: str = "default",
    ) -> Any:
        """``start`` and wait for the result. Idempotent by ``id``: after a crash of the caller
        the same call finds the same run, open or closed.

        Raises: what ``start`` and ``Handle.result`` raise.
        """
        handle = await self.start(workflow, *args, id=id, if_exists=if_exists, queue=queue)
        return await handle.result()

    @overload
    def handle(
        self, id: str, workflow: Callable[[Context, *Ts], Coroutine[Any, Any, R]], /
    ) -> Handle[R]: ...
    @overload
    def handle(self, id: str, workflow: str | None = None, /) -> Handle[Any]: ...
    def handle(self, id: str, workflow: Any = None, /) -> Handle[Any]:
        """A handle on the run that ``id`` names, typed by its workflow if that is given. Sends
        no statement."""
        definition = self._definition(workflow) if workflow is not None else None
        return Handle(self, _checked_id(id), run=None, definition=definition)

    async def list(
        self,
        *,
        status: Status | str | None = None,
        workflow: str | None = None,
        limit: int = 100,
        before: tuple[datetime, int] | None = None,
    ) -> builtins.list[Description]:
        """Runs, the youngest first. ``before`` is the last row's ``(created_at, run)``, for the
        next page."""
        if status is not None:
            status = Status(status)
        return [
            _described(row)
            for row in await self.store.listing.page(
                status=status, workflow=workflow, limit=limit, before=before
            )
        ]

    async def history(self, id: str) -> builtins.list[dict[str, Any]]:
        """The journal of the run that ``id`` names, payloads readable: one dict per event
        with position, at, kind, name, input, result, failure, traceback and site."""
        return await self.store.listing.history(id)

    async def count_by_status(self) -> dict[str, int]:
        """How many runs stand in each status."""
        return await self.store.listing.counts()

    # For handles

    @property
    def store(self) -> Store:
        """The open store; refuses what cannot work, in words."""
        if self._store is None:
            raise InvalidCall(
                f"This {type(self).__name__} is not open. Use it inside "
                f"`async with {type(self).__name__}(...) as ...:`."
            )
        if self._pid != os.getpid():
            raise InvalidCall(
                "The process forked after the database was opened; connections cannot be "
                "shared. Open it in the child, after the fork."
            )
        if asyncio.get_running_loop() is not self._loop:
            raise InvalidCall(
                "This was opened in another event loop. One Durable belongs to one loop: open "
                "another in this one."
            )
        return self._store

    @property
    def waiting(self) -> Waiting:
        assert self.store is not None and self._waiting is not None
        return self._waiting

    async def _current_run(self, id: str) -> int:
        run = await self.store.runs.current(id)
        if run is None:
            raise RunNotFound(id=id)
        return run

    async def _outcome_of(self, run: int, id: str) -> Outcome:
        outcomes = await self.store.runs.outcomes([run])
        if not outcomes:
            raise RunNotFound(id=id)
        return outcomes[0]

    async def _deliver_cancel(self, id: str) -> bool:
        answer = await self.store.inbox.deliver(
            id=id, kind="cancel", name=None, key=str(uuid4()), payload=None
        )
        if answer.state == "absent":
            raise RunNotFound(id=id)
        await self._news_for(answer.run)
        return answer.state == "accepted"

    async def _retry(self, id: str) -> None:
        refusal = await self.store.runs.retry(id)
        if refusal == "absent":
            raise RunNotFound(id=id)
        if refusal is not None:
            raise RetryRefused(id=id, why=refusal)
        await self._started_elsewhere()

    async def _describe(self, id: str) -> Description:
        row = await self.store.listing.describe(id)
        if row is None:
            raise RunNotFound(id=id)
        return _described(row)

    # What a process that also works does better

    async def _start_here(
        self,
        definition: Definition | None,
        id: str,
        explicit_id: bool,
        queue: str,
        payload: bytes,
    ) -> int | None:
        """Start the run in this process and return its key; None if that cannot be."""
        return None

    def _is_live(self, run: int) -> bool:
        return False

    async def _started_elsewhere(self) -> None:
        """Runs are due: whoever works should look."""
        await self.store.notify()

    async def _news_for(self, run: int | None) -> None:
        await self.store.notify()

    def _definition(self, workflow: Any) -> Definition | None:
        try:
            return workflow_of(workflow)
        except NotRegistered:
            if isinstance(workflow, str):
                return None  # served by another process
            raise


def _any(*args: Any) -> Any:
    """Stands for a workflow whose code is elsewhere: all arguments pass as they are."""


_ANY = Signature.of(_any)


def _described(row: dict[str, Any]) -> Description:
    fields: dict[str, Any] = {**row, "status": Status(row["status"])}
    return Description(**fields)


def _checked_id(id: str | None) -> str:
    if id is None:
        return str(uuid4())
    if not 1 <= len(id) <= ID_MAX or "\0" in id:
        raise InvalidCall(
            f"id={id!r} cannot name a run: it must be a text of 1 to {ID_MAX} characters, "
            "without NUL."
        )
    return id


def _check_started(
    started: Started, workflow: str, id: str, payload: bytes, if_exists: str
) -> None:
    if started.created:
        return
    if if_exists != "use":
        raise RunExists(id=id, status=started.status, policy=if_exists)
    if started.workflow != workflow:
        raise IdReused(id=id, difference=f"workflow ({started.workflow!r}, not {workflow!r})")
    if started.input_digest != digest(payload):
        raise IdReused(id=id, difference=_difference(started.input, payload))


def _difference(before: bytes | None, now: bytes) -> str:
    """Which argument differs, as far as it can be told."""
    if before is None:
        return "input"
    old, _ = _ANY.decode_call(before)
    new, _ = _ANY.decode_call(now)
    for index, (a, b) in enumerate(zip(old, new, strict=False)):
        if a != b:
            return f"argument {index + 1} (it was {a!r:.60}, now {b!r:.60})"
    return f"number of arguments (it was {len(old)}, now {len(new)})"
