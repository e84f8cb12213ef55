"""``Client``: starts runs and finds them again. Needs no worker in this process."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable, Set
from typing import Any, Self, TypeVar, TypeVarTuple, Unpack, overload

from .._authoring.children import Code, checked_name
from .._core.loop import ReplayLoop
from .._store.opening import open_store
from .._store.protocol import Delivered, Hint, Letter, Taker
from .._store.protocol import Started as Answer
from .._store.verbs import Store
from .._surroundings import Place, find_place, notifies
from ..errors import InternalError, InvalidCall
from . import asking
from .handle import Handle
from .listing import Lists
from .starting import Asked, JoinedOptions, Start, StartOptions, asked, begin, definition_of
from .waiting import Waiting, Waits

R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class Client(Lists):
    """A connection to the runs of one database.

    Args:
        dsn: a Postgres URL. Left out: ``DURABLE_DATABASE_URL``; without that, the embedded
            Postgres if ``durably[embedded]`` is installed (a warning names its directory;
            ``DURABLE_EMBEDDED=never`` forbids it).
        schema: the schema that holds the tables.
        notify: wake idle workers by LISTEN and NOTIFY, ``DURABLE_NOTIFY`` (``on`` or ``off``)
            if left out. Without, they find what is due within a second.

    Raises:
        ConfigurationError: (on entering) there is no database, or it cannot be used, and why.
        SchemaMismatch: (on entering) it has no schema yet, or one for other code.

    Example:
        async with Client("postgresql://localhost/app") as client:
            await client.start("order", order, id="order-42")
    """

    def __init__(
        self, dsn: str | None = None, *, schema: str = "durable", notify: bool | None = None
    ) -> None:
        self._dsn = dsn
        self._schema = schema
        self._notify = notify
        self._place: Place | None = None
        self._store: Store | None = None
        self._waits: Waits | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0

    async def __aenter__(self) -> Self:
        if self._store is not None:
            raise InvalidCall(f"This {type(self).__name__} is open already; make another one.")
        try:
            await self._open()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def _open(self) -> None:
        await self._attach(await self._open_database())

    async def _open_database(self) -> Store:
        return await self._open_store(await self._find_place(), name="client")

    async def _find_place(self) -> Place:
        notifies(self._notify)  # refuses what it cannot read before anything is started
        self._place = await asyncio.to_thread(find_place, self._dsn)
        return self._place

    async def _open_store(self, place: Place, *, name: str, transactions_max: int = 1) -> Store:
        return await open_store(
            place.dsn,
            name=name,
            schema=self._schema,
            transactions_max=transactions_max,
            notify=notifies(self._notify),
        )

    async def _attach(self, store: Store) -> None:
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._waits = Waits(
            Waiting(
                store.runs.settled,
                key=lambda outcome: outcome.run,
                listen=functools.partial(store.listen, Hint.ENDED),
                live=self._live,
            ),
            Waiting(
                store.streams.news,
                key=lambda news: news.watched,
                listen=functools.partial(store.listen, Hint.PUBLISHED),
            ),
            Waiting(
                store.inbox.answers, key=lambda each: (each.run, each.key), listen=self._listen
            ),
        )

    async def _listen(self, hear: Callable[..., None]) -> None:
        """A run that ends answers, too."""
        await self.store.listen(Hint.PUBLISHED, hear)
        await self.store.listen(Hint.ENDED, hear)

    async def _close(self) -> None:
        """Leave, whatever happens to the caller meanwhile."""
        leaving = asyncio.ensure_future(self._leave())
        try:
            await asyncio.shield(leaving)
        except asyncio.CancelledError:
            await asyncio.wait([leaving])
            raise

    async def _leave(self) -> None:
        store, self._store = self._store, None
        for waiting in self._waits or ():
            waiting.fail(InvalidCall("The client was closed while a run was waited for."))
            await waiting.close()
        if store is not None:
            await store.close()
        place, self._place = self._place, None
        if place is not None:
            await asyncio.to_thread(place.leave)

    # Starting

    @overload
    async def start(
        self, workflow: Code[*Ts, R], /, *args: *Ts, **options: Unpack[JoinedOptions]
    ) -> Handle[R]: ...
    @overload
    async def start(
        self, workflow: str, /, *args: Any, **options: Unpack[JoinedOptions]
    ) -> Handle[Any]: ...
    async def start(  # type: ignore[misc]  # mypy cannot match *Ts with *Any
        self, workflow: Any, /, *args: Any, connection: Any = None, **options: Any
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
            compare: False lets ``use`` take a run with whatever arguments.
            queue: whose workers may take it.
            priority: -2 to 2; what is due is taken in this order, the larger first.
            delay, at: when it begins: seconds (or a timedelta) from now, or an aware datetime.
            deadline: when it is cancelled if it is still open: seconds (or a timedelta) after
                it may begin, or an aware datetime.
            message: for a signal or an update, as ``shipped(parcel)`` makes it: the run has it
                before it begins, or gets it if it is there already. Both, or neither.
            build: only workers of this build (``Durable(build=...)``) take it; see ``Handle.pin``.
            connection: of yours (asyncpg, psycopg, SQLAlchemy); the start joins its transaction
                and is undone if that is rolled back.

        Raises:
            RunClosed: there is a message, and the id names a run that is closed.
            IdReused: the id names a run with other arguments, or of another workflow.
            RunExists: ``if_exists`` forbids it.
            InvalidCall, EncodeError: bad arguments, or ones that the workflow does not take;
                nothing was written.
        """
        return await self._start(asked(Start(workflow, *args, **options)), connection)

    async def _start(self, start: Asked, connection: Any = None) -> Handle[Any]:
        assert self.store is not None
        id, is_alone = start.new.id, connection is None and start.message is None
        run = await self._start_here(start) if is_alone else None
        if run is None:
            start.check_fits()
            answer = await self._begin(start, connection)
            run = answer.run
            if connection is None:
                await (self._started_elsewhere() if answer.created else self._found(id, answer))
        return Handle(self, id, run=run, definition=start.definition)

    @overload
    async def run(
        self, workflow: Code[*Ts, R], /, *args: *Ts, **options: Unpack[StartOptions]
    ) -> R: ...
    @overload
    async def run(self, workflow: str, /, *args: Any, **options: Unpack[StartOptions]) -> Any: ...
    async def run(  # type: ignore[misc]  # as above
        self, workflow: Any, /, *args: Any, **options: Any
    ) -> Any:
        """``start`` and wait for the result. Idempotent by ``id``: after a crash of the caller
        the same call finds the same run, open or closed.

        Raises: what ``start`` and ``Handle.result`` raise.
        """
        return await self._run(asked(Start(workflow, *args, **options)))

    async def _run(self, start: Asked) -> Any:
        return await (await self._start(start)).result()

    @overload
    def handle(self, id: str, workflow: Code[*Ts, R], /) -> Handle[R]: ...
    @overload
    def handle(self, id: str, workflow: str | None = None, /) -> Handle[Any]: ...
    def handle(self, id: str, workflow: Any = None, /) -> Handle[Any]:
        """A handle on the run that ``id`` names, typed by its workflow if that is given. Sends
        no statement."""
        definition = None if workflow is None else definition_of(workflow)[0]
        return Handle(self, checked_name(id, "id"), run=None, definition=definition)

    # Promises

    async def resolve(self, token: str, value: object, /, *, connection: Any = None) -> bool:
        """Answer a promise by its token: whatever an e-mail or a webhook brings.

        Args:
            token: of ``ctx.promise(...)``.
            value: what ``await`` gives to the workflow.
            connection: of yours (asyncpg, psycopg, SQLAlchemy); the answer joins its transaction.

        Returns:
            True; False if the promise was answered before: that answer stands. True, too, if the
            run goes on and waits for it no more.

        Raises:
            TokenRefused: forged, changed, of another database, or of a run that was deleted.
            RunClosed: the run has ended.
            InvalidCall: the promise takes another type; the token is still good.
            EncodeError, PayloadTooLarge: the value cannot be recorded.

        Example:
            async def approve(request: Request) -> Response:
                first = await client.resolve(request.path_params["token"], True)
        """
        return await self._answer(token, value, rejects=False, connection=connection)

    async def reject(self, token: str, message: str, /, *, connection: Any = None) -> bool:
        """Let ``await promise`` raise ``PromiseRejected(message)`` in the workflow. All else as
        ``resolve``."""
        return await self._answer(token, message, rejects=True, connection=connection)

    async def _answer(self, token: str, value: object, *, rejects: bool, connection: Any) -> bool:
        run, is_first = await asking.resolve(
            self.store, token, value, rejects=rejects, connection=connection
        )
        if is_first and connection is None:
            await self._news_for(run)
        return is_first

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
        if isinstance(loop := asyncio.get_running_loop(), ReplayLoop):
            raise InvalidCall("A workflow's code cannot use a client: it has ctx.child(...) and "
                              "ctx.send(...), and all else is for an activity.")  # fmt: skip
        if loop is not self._loop:
            raise InvalidCall(
                "This was opened in another event loop. One Durable belongs to one loop: open "
                "another in this one."
            )
        return self._store

    @property
    def waits(self) -> Waits:
        assert self.store is not None and self._waits is not None
        return self._waits

    async def _replayed(self, run: int, query: str) -> bytes:
        """The answer of a run's code to a query, from what is recorded."""
        raise InternalError("this client cannot run code", run=run, query=query)

    async def _forked(
        self, run: int, at: int, id: str | None, result: tuple[object, ...]
    ) -> tuple[int, str]:
        """Key and id of a fork of the run."""
        raise InternalError("this client cannot run code", run=run, at=at)

    async def _begin(self, start: Asked, connection: Any) -> Answer:
        return await begin(self, start, connection)

    # What a process that also works does better

    async def _start_here(self, start: Asked) -> int | None:
        """Start the run in this process and return its key; None if that cannot be.

        Raises:
            InvalidCall: the workflow does not take these arguments.
        """
        return None

    def _live(self) -> Set[int]:
        """Runs of this process: it will tell their ends by itself."""
        return frozenset()

    async def _found(self, id: str, answer: Answer) -> None:
        """A start has found a run that is there already."""

    def _seed(self, old: int) -> bytes:
        """All chance of a run that is begun anew."""
        return os.urandom(16)

    async def _started_elsewhere(self) -> None:
        """Runs are due: whoever works should look."""
        await self.store.notify(Hint.DUE)

    async def _deliver(
        self, id: str, letter: Letter, meant: int | None, connection: Any, by: Taker | None = None
    ) -> Delivered:
        """Send a message, and tell who may go on with its run, unless that is ``by``."""
        inbox = self.store.inbox
        answer = await inbox.deliver(id, letter, meant=meant, connection=connection, taker=by)
        if connection is None and answer.state == "accepted" and not answer.is_taken:
            await self._news_for(answer.run)
        return answer

    async def _news_for(self, run: int | None) -> None:
        await self.store.notify(Hint.DUE)
