"""One run seen from outside."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, overload
from uuid import uuid4

from .._authoring.channels import Exact, Message, Query, Signal, Update, expect
from .._authoring.children import checked_name
from .._authoring.definitions import Definition
from .._authoring.registry import is_name
from .._authoring.streams import State, Stream
from .._codec.failures import decode_failure
from .._codec.values import decode
from .._core.statuses import Status
from .._store.protocol import Hint, Letter, Outcome
from ..errors import (
    InternalError,
    InvalidCall,
    RetryRefused,
    RunCancelled,
    RunFailed,
    RunNotFound,
    RunStuck,
    RunTerminated,
)
from . import asking, reading
from .anew import Anew
from .reading import StreamItem

if TYPE_CHECKING:
    from .client import Client

R = TypeVar("R")
T = TypeVar("T")
A = TypeVar("A")
Connection: TypeAlias = Any  # of asyncpg or psycopg, or what SQLAlchemy has


@dataclass(frozen=True, slots=True)
class Description:
    """What the database knows of a run: ``handle.describe()``."""

    run: int
    id: str
    workflow: str
    queue: str
    priority: int  # -2 to 2; the larger is taken first
    status: Status
    created_at: datetime
    started_at: datetime | None
    closed_at: datetime | None
    due_at: datetime | None  # when it must be taken up again
    deadline: datetime | None  # when it is asked to cancel; None once it was
    events: int  # length of its journal
    worker: str | None  # who owns it now
    waits_for: str | None  # in words, as of when it was put away
    waits_at: str | None  # file:line
    report: str | None  # why it is stuck
    build: str | None  # whose workers alone may take it up; None: any
    reason: str | None  # why it was cancelled, or closed from outside
    parent: str | None  # id of the run that has begun it as its child
    input: object  # readable: what ``durable.readable`` makes of it
    result: object
    failure: object


def described(row: Mapping[str, Any]) -> Description:
    fields: dict[str, Any] = {**row, "status": Status(row["status"])}
    return Description(**fields)


class Handle(Anew, Generic[R]):
    """A run, by its id. Costs nothing to make; each method asks the database.

    A handle that came from ``start`` means the very run it started, also after its id was
    given to another.
    """

    def __init__(
        self, client: Client, id: str, *, run: int | None, definition: Definition | None
    ) -> None:
        self.id = id
        self._client = client
        self._run = run
        self._definition = definition

    def __repr__(self) -> str:
        return f"<Handle {self.id!r}>"

    async def result(self) -> R:
        """Wait for the run's result. Use ``asyncio.timeout`` to wait only so long: the run
        goes on all the same.

        Raises:
            RunFailed, RunCancelled, RunTerminated: how it ended otherwise.
            RunStuck: no code here can continue it; ``.report`` says why.
            RunNotFound: no such id.
        """
        run = await self._resolved()
        return await self._concluded(await self._client.waits.results.answer(run))

    async def _concluded(self, outcome: Outcome) -> R:
        while outcome.status == "continued" and outcome.heir is not None:
            self._run = outcome.heir
            outcome = await self._client.waits.results.answer(outcome.heir)
        value: R = self._value(outcome)
        return value

    async def status(self) -> Status:
        """Where the run stands now.

        Raises:
            RunNotFound: no such id.
        """
        run = await self._resolved()
        for outcome in await self._client.store.runs.outcomes([run]):
            if outcome.heir is None:
                return Status(outcome.status)
            self._run = outcome.heir
            return await self.status()
        raise RunNotFound(id=self.id)

    async def cancel(self, *, connection: Connection = None) -> bool:
        """Ask the run to stop: ``asyncio.CancelledError`` is raised where its code waits, and
        ``finally`` blocks run, with durable steps if they like. Returns at once; a run that
        completes meanwhile has completed.

        A paused run hears of it when it is resumed, a stuck one when fitting code runs.

        Args:
            connection: of yours (asyncpg, psycopg, SQLAlchemy); the request joins its
                transaction.

        Returns:
            True if the request was accepted, False if the run was closed already.

        Raises:
            RunNotFound: no such id.
        """
        asked = Letter("cancel", None, str(uuid4()), None)
        answer = await self._client._deliver(self.id, asked, self._run, connection)
        if answer.state == "absent":
            raise RunNotFound(id=self.id)
        return answer.state == "accepted"

    async def terminate(self, reason: str | None = None) -> bool:
        """Close the run at once, wherever it stands. Its code has no say: no ``finally`` runs, what
        it does is not recorded any more, and its activities are cancelled within a second or so.

        Args:
            reason: why, for whoever asks for the result, and for the journal.

        Returns:
            True if it was closed by this, False if it was closed already.

        Raises:
            RunNotFound: no such id.

        Example:
            await app.handle("order-42").terminate("the customer is gone")
        """
        is_text = isinstance(reason, str) and all(map(is_name, reason))  # each of its characters
        if reason is not None and not is_text:
            raise InvalidCall(f"reason={reason!r:.300} is no text that Postgres takes.")
        closed = await self._from_outside("terminate", reason)
        if closed:
            await self._client.store.notify(Hint.ENDED)
        return closed

    async def pause(self) -> bool:
        """Let the run hold: it begins nothing more. What is under way ends first, and is recorded.
        Messages are kept, timers go off and deadlines are told when it is resumed; so is a cancel.
        Pausing twice is pausing once.

        Returns:
            True if it holds or will, False if it is closed.

        Raises:
            RunNotFound: no such id.
        """
        return await self._from_outside("pause", True)

    async def pin(self, build: str | None) -> bool:
        """Let only workers of one build (``Durable(build=...)``) take the run up, as ``start(...,
        build=...)`` does; None: any again. Who has it now keeps it until it is put away (or paused
        and resumed); where no such worker lives it is *unserved*. Its children and the run that it
        goes on as are for any. False if it is closed.

        Raises: RunNotFound: no such id.
        """
        named = None if build is None else checked_name(build, "build")
        return await self._from_outside("pin", named)

    async def resume(self) -> bool:
        """Let a paused run go on; one that was not paused goes on anyway.

        Returns:
            False if it is closed.

        Raises:
            RunNotFound: no such id.
        """
        return await self._from_outside("pause", False)

    @overload
    async def signal(
        self, signal: Signal[None] | Message[None], /, *, key: str | None = None,
        connection: Connection = None,
    ) -> None: ...  # fmt: skip
    @overload
    async def signal(
        self, signal: Exact[T, None], value: T, /, *, key: str | None = None,
        connection: Connection = None,
    ) -> None: ...  # fmt: skip
    async def signal(
        self, signal: Any, value: Any = None, /, *, key: str | None = None,
        connection: Connection = None,
    ) -> None:  # fmt: skip
        """Send the run a message. When this returns, it is in the database: the run receives it
        exactly once, after what you have sent before; or it closes first, and keeps it unread.

        Args:
            signal: the channel, or a message of it: ``shipped(parcel)``.
            value: of the channel's type; None by default.
            key: your name for this message: the run takes one of each key, so a send can be
                repeated. A random one by default.
            connection: of yours (asyncpg, psycopg, SQLAlchemy); the message joins its
                transaction and is undone if that is rolled back.

        Raises:
            RunNotFound, RunClosed: nobody is there to receive it; nothing was sent.
            InvalidCall: the value is not of the channel's type.
            EncodeError: it cannot be recorded.

        Example:
            await app.handle("order-42").signal(shipped, Parcel("JJD0001"), key="JJD0001")
        """
        message = asking.message(signal, value, key, Signal)
        await asking.send(self._client, self.id, message, meant=self._run, connection=connection)

    @overload
    async def update(
        self, update: Update[None, A] | Message[A], /, *, key: str | None = None
    ) -> A: ...
    @overload
    async def update(self, update: Update[T, A], value: T, /, *, key: str | None = None) -> A: ...
    async def update(self, update: Any, value: Any = None, /, *, key: str | None = None) -> Any:
        """Ask the run to change, and wait for its answer. Durable at both ends: the run handles it
        once, whatever crashes; who asks again with the same ``key`` waits for that same answer.

        Args:
            update: the channel, or a message of it: ``add(item)``.
            value: of the channel's type; None by default.
            key: your name for this update, as for ``signal``.

        Raises:
            UpdateRejected: its check refused it; nothing has happened.
            UpdateFailed: its handler raised.
            RunClosed: the run was closed, or closed before it had answered.
            RunStuck, RunNotFound: there will be no answer for now; ask again later.
            InvalidCall, EncodeError: as ``signal``.

        Use ``asyncio.timeout`` to wait only so long. A run that never handles such an update never
        answers.

        Example:
            count = await app.handle("cart-7").update(add, Item("socks"), key=request.id)
        """
        message = asking.message(update, value, key, Update)
        return await asking.update(self._client, self.id, message, meant=self._run)

    async def query(self, query: Query[A], /) -> A:
        """Ask what the run knows, without leaving a trace. The answer rests on what is recorded:
        the run answers itself if this process works on it; if not, its journal is replayed here,
        so this process must know its code. A closed run answers, too.

        Raises:
            RunNotFound: no such id.
            NotRegistered: this process does not know the run's workflow.
            InvalidCall: the run does not answer that (yet), or tried to do something.
            Divergence: the code does not fit the run's journal.

        Example:
            items = await app.handle("cart-7").query(content)
        """
        expect(query, Query)
        payload = await self._client._replayed(await self._resolved(), query.name)
        answer: A = query.decode(payload)
        return answer

    async def retry(self) -> None:
        """Let a failed run go on from before its failure: nothing that completed is done
        again, the failed step gets its attempts anew under the same idempotency key. A stuck
        run is tried again.

        Raises:
            RetryRefused: the run is open or completed, or events follow the failure.
        """
        refusal = await self._client.store.runs.retry(self.id, self._run)
        if refusal == "absent":
            raise RunNotFound(id=self.id)
        if refusal is not None:
            raise RetryRefused(id=self.id, why=refusal)
        await self._client._started_elsewhere()

    async def describe(self) -> Description:
        """All that the database knows of the run, payloads readable."""
        row = await self._client.store.listing.describe(self.id, self._run)
        if row is None:
            raise RunNotFound(id=self.id)
        return described(row)

    # What it shows

    async def state(self, state: State[T], /) -> T | None:
        """The last value that the run has shown, open or closed; None if it has shown none.

        Raises:
            RunNotFound: no such id.
            DecodeError: the run's code shows values of another type.
        """
        return await reading.state(self._client, await self._resolved(), state)

    def changes(self, state: State[T], /) -> AsyncGenerator[T, None]:
        """The values that the run shows, as they come: first the present one, if there is one;
        of several in quick succession the last. Ends when the run is closed.

        Raises: (when iterated) as ``state``.

        Example:
            async for percent in handle.changes(progress):
                bar.update(percent)
        """
        return reading.changes(self._client, self._resolved, state)

    def stream(
        self, stream: Stream[T], /, *, after: int = 0
    ) -> AsyncGenerator[StreamItem[T], None]:
        """What the run has published, and what it will: each value with its offset, live within
        a moment (50 ms, by LISTEN and NOTIFY). Ends when the run is closed and all is read; a run
        that continues as a new one goes on.

        Args:
            stream: the channel.
            after: the offset of the last item that you have; 0 is before the first. Offsets grow
                for as long as the id is in use, not always by one.

        Raises: (when iterated) as ``state``.

        Example:
            async for item in handle.stream(tokens, after=last_seen):
                text = "" if item.is_reset else text + item.value
                last_seen = item.offset
        """
        return reading.items(self._client, self._resolved, stream, after)

    async def _from_outside(self, verb: str, *given: Any) -> bool:
        """Whether the run was open."""
        refusal = await getattr(self._client.store.runs, verb)(self.id, *given, self._run)
        if refusal == "absent":
            raise RunNotFound(id=self.id)
        if refusal is None:
            await self._client._news_for(self._run)
        return refusal is None

    async def _resolved(self) -> int:
        if self._run is None:
            self._run = await self._client.store.runs.current(self.id)
            if self._run is None:
                raise RunNotFound(id=self.id)
        return self._run

    def _value(self, outcome: Outcome) -> Any:
        match outcome.status:
            case "completed":
                if outcome.result is None:
                    raise InternalError("a completed run without a result", run=outcome.run)
                if self._definition is not None and self._definition.name == outcome.workflow:
                    return self._definition.signature.decode_result(outcome.result)
                return decode(outcome.result)
            case "failed":
                assert outcome.failure is not None
                raise RunFailed(id=self.id, **decode_failure(outcome.failure).told)
            case "cancelled":
                raise RunCancelled(id=self.id, reason=outcome.reason)
            case "absent":
                raise RunNotFound(id=self.id)
            case "stuck":
                raise RunStuck(id=self.id, report=outcome.report or "no reason was recorded")
            case _:
                raise RunTerminated(id=self.id, reason=outcome.reason)
