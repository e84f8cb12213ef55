"""``ctx``: the hand with which workflow code reaches the world.

As pure as the core: each verb encodes what it is given, asks the replayer and returns an
``Operation``. What happens then is the runtime's business.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Concatenate, ParamSpec, TypeVar, Unpack, cast, overload
from uuid import UUID

import msgspec

from .._codec.signatures import Signature
from .._codec.tokens import new_token
from .._codec.values import digest
from .._core.operation import Operation
from .._core.replayer import Replayer
from .._core.retries import Duration
from ..errors import InvalidCall, PayloadTooLarge
from .answering import Answering
from .channels import Channel, Exact, Signal, expect
from .children import ANY, Parent, checked_name
from .definitions import Definition, activity_of, transaction_of, with_options
from .logs import RunLog
from .moments import aware
from .moments import length as _length
from .options import Given
from .origins import Origins
from .patching import Patching
from .registry import is_name
from .streams import TURN_BYTES_MAX, Promise, State, Stream

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Call(msgspec.Struct, frozen=True):
    """What the runtime needs to run an activity: the core carries it unseen."""

    definition: Definition
    input: bytes
    nth: int  # the n-th call with this name and input in this run
    args: tuple[Any, ...] | None  # what decoding ``input`` would give, if that is known


class Verbs:
    """What runs a function outside of the workflow."""

    __slots__ = ()

    def _ask(self, definition: Definition, args: Any, kwargs: Any) -> Operation[Any]:
        raise NotImplementedError

    @overload
    def activity(
        self, fn: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Operation[R]: ...
    @overload
    def activity(
        self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Operation[R]: ...
    def activity(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Operation[Any]:
        """Run an activity and record its result; on replay, give that result back.

        The activity runs at least once, its result is recorded exactly once, and what comes
        back has always been through the database's encoding. The arguments are encoded now:
        changing them later changes nothing.

        Raises:
            ActivityError: (when awaited) all attempts failed.
            EncodeError: an argument cannot be recorded; nothing was asked for.
            InvalidCall: the arguments do not fit the function.

        Example:
            a, b = await asyncio.gather(ctx.activity(f, 1), ctx.activity(g, key="x"))
        """
        return self._ask(activity_of(fn), args, kwargs)

    def transaction(
        self,
        fn: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Operation[R]:
        """Run ``fn(conn, ...)`` in a database transaction that also records its result:
        *exactly once*, whatever crashes.

        ``conn`` is inside a transaction of this run's database. Its annotation says in which
        library: ``asyncpg.Connection``; ``psycopg.AsyncConnection`` (``durably[psycopg]``);
        SQLAlchemy's ``AsyncSession`` or ``AsyncConnection`` (``durably[sqlalchemy]``). Do not
        commit it, and do nothing in ``fn`` that the database cannot roll back: ``fn`` runs again
        after a conflict or a lost connection. It is READ COMMITTED unless
        ``ctx.options(isolation="serializable")``, or ``@activity(isolation=...)`` on ``fn``, says
        otherwise.

        Example:
            async def reserve(conn: asyncpg.Connection, sku: str) -> None:
                await conn.execute("update stock set left = left - 1 where sku = $1", sku)

            await ctx.transaction(reserve, "socks")
        """
        return self._ask(transaction_of(fn), args, kwargs)


class Context(Verbs, Answering, Parent, Patching):
    """Everything a workflow may do that is not plain computation.

    ``id`` is the caller's id of this run, ``workflow`` the name of its workflow, ``log`` a logger
    whose lines appear once, when the turn that wrote them is recorded."""

    def __init__(
        self,
        replayer: Replayer,
        *,
        id: str,
        workflow: str,
        run: int = 0,
        signature: Signature = ANY,
        origins: Origins | None = None,
    ) -> None:
        self._own, self._origins = (run, id), origins or []
        self.workflow = workflow
        self._signature = signature
        self._replayer = replayer
        # Calls so far, by name and input. The keys are bytes, since tuples would be walked by
        # the garbage collector for as long as the run is in memory.
        self._uses: dict[bytes, int] = {}
        self._random: random.Random | None = None
        self._uuids = 0

    @cached_property
    def log(self) -> RunLog:
        """The logger ``durable.workflow``, whose lines appear once: when the turn that wrote them
        is recorded."""
        return RunLog(self._replayer)

    def options(self, **options: Unpack[Given]) -> Options:
        """The same verbs with other options, for the calls made through what is returned: those
        of :func:`durable.activity`, but for its name.

        What is left out stays as ``@activity`` has it; None unsets it. A transaction has no
        heartbeats, and its start need not be recorded: those two are not for it.

        Example:
            await ctx.options(timeout=5, retry=Retry(attempts=2)).activity(charge, card)
        """
        return Options(self, options)

    def sleep(
        self,
        length: Duration = 0,
        /,
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
    ) -> Operation[None]:
        """Sleep: through restarts, deploys and crashes. A run that sleeps for longer than a
        few seconds is one row and takes no memory.

        Args:
            length: seconds, or a timedelta; the keywords are added to it.

        Example:
            await ctx.sleep(days=30)
        """
        now = self._replayer.now
        try:
            parts = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
            whole = _length(length, "ctx.sleep: length", now) + parts
        except (ValueError, OverflowError) as error:  # NaN, or beyond the calendar
            raise InvalidCall(f"ctx.sleep(days={days!r}, ...): {error}.") from None
        return self._replayer.ask_sleep(now + _length(whole, "ctx.sleep: length", now))

    def sleep_until(self, when: datetime) -> Operation[None]:
        """Sleep until an aware datetime; one in the past returns in the next turn.

        Raises:
            InvalidCall: ``when`` is no datetime, or has no time zone.
        """
        return self._replayer.ask_sleep(aware(when, "ctx.sleep_until: when"))

    def receive(self, signal: Signal[T], /) -> Operation[T]:
        """The next message of a signal: one that has come already, or the first to come. Messages
        are received in the order in which they were accepted, each exactly once.

        Cancelled, as by ``asyncio.timeout``, it takes nothing: what comes later is for the next.

        Example:
            async with asyncio.timeout(3600):
                parcel = await ctx.receive(shipped)
        """
        expect(signal, Signal)
        return self._replayer.ask_receive(signal.name, signal.decode)

    @overload
    def send(self, to: str, signal: Signal[None], /) -> None: ...
    @overload
    def send(self, to: str, signal: Exact[T, None], value: T, /) -> None: ...
    def send(self, to: str, signal: Any, value: Any = None, /) -> None:
        """Send a signal to another run, by its id. It goes with this turn, exactly once; in
        order. If there is no such run, or it is closed, a warning is logged, and the journal tells.

        Raises:
            InvalidCall: the value is not of the signal's type.
            EncodeError: it cannot be recorded.
        """
        expect(signal, Signal)
        payload = signal.encode(value)
        self._replayer.send(
            checked_name(to, "id"), signal.kind, signal.name, digest(payload), payload
        )

    def set(self, state: State[T], value: T, /) -> None:
        """Show a value under a state's name, in the place of the one before. It is seen when this
        turn is recorded, exactly then; of several in one turn only the last.

        Raises:
            InvalidCall: the value is not of the state's type.
            EncodeError, PayloadTooLarge: it cannot be recorded, or takes more than 256 KiB.

        Example:
            ctx.set(progress, n / len(pages))
        """
        self._show(State, state, value)

    def publish(self, stream: Stream[T], value: T, /) -> None:
        """Publish a value in a stream: exactly once, in order, when this turn is recorded.

        Raises: as ``set``.

        Example:
            ctx.publish(steps, "paid")
        """
        self._show(Stream, stream, value)

    def _show(self, kind: type[Channel], channel: Any, value: Any) -> None:
        expect(channel, kind)
        payload = channel.encode(value)
        size = len(payload)
        if not self._replayer.publish(
            channel.kind, channel.name, payload, size=size, size_max=TURN_BYTES_MAX
        ):
            what = "what this turn shows, without an await in between,"
            raise PayloadTooLarge(what=what, size=TURN_BYTES_MAX + size, limit=TURN_BYTES_MAX)

    @overload
    def promise(self, expected: type[T], /, *, name: str = "promise") -> Promise[T]: ...
    @overload
    def promise(self, expected: Any, /, *, name: str = "promise") -> Promise[Any]: ...
    def promise(self, expected: Any, /, *, name: str = "promise") -> Promise[Any]:
        """Ask somebody outside, who answers with a token: out of an e-mail, by a webhook.

        The token cannot be guessed or forged, and is good for one answer:
        ``client.resolve(token, value)``, ``client.reject(token, message)``, or in SQL
        ``select durable.resolve('...', 'true')``.

        Args:
            expected: the type of the answer. Of a bool, int, float or str the token tells, so
                another one is refused where it is given; of all else the run gets stuck until
                code comes that can read it.
            name: what people see of it in ``durable.waiting`` and the history.

        Raises:
            PromiseRejected: (when awaited) it was rejected, with this message.
            InvalidCall: no name.

        Example:
            approved = ctx.promise(bool, name="approval")
            await ctx.activity(send_mail, boss, f"https://shop.example/approve/{approved.token}")
            async with asyncio.timeout(86_400):
                if await approved: ...
        """
        if isinstance(expected, str) or not is_name(name):
            raise InvalidCall(f"ctx.promise({expected!r:.100}, name={name!r:.300}): it takes the "
                              "type of the answer, as ctx.promise(bool), and a name.")  # fmt: skip
        promise: Promise[Any] = self._replayer.ask_promise(Promise, name, expected)
        promise.token = new_token(self._replayer.seed, self._who[0], promise.op, expected)
        return promise

    def now(self) -> datetime:
        """The time of the latest event of this run, in UTC. It stands still between awaits,
        never goes back, and is the same on replay."""
        return self._replayer.now

    @property
    def random(self) -> random.Random:
        """A random number generator that gives the same numbers on replay. Not for secrets."""
        self._replayer.check_turn()
        if self._random is None:
            self._random = random.Random(int.from_bytes(self._replayer.seed, "big"))  # noqa: S311
        return self._random

    def uuid4(self) -> UUID:
        """A random UUID that is the same on replay, from a stream of its own."""
        self._replayer.check_turn()
        self._uuids += 1
        key = self._uuids.to_bytes(8, "big")
        return UUID(bytes=hashlib.blake2b(key, key=self._replayer.seed, digest_size=16).digest(),
                    version=4)  # fmt: skip

    def _ask(
        self, definition: Definition, args: Any, kwargs: Any, depth: int = 3
    ) -> Operation[Any]:
        """The frames from here: the verb of ctx, and whoever wrote `await ctx.verb(...)` above."""
        signature, name = definition.signature, definition.name
        payload, known = signature.record_call(args, kwargs)
        print_of_input = digest(payload)
        key, uses = print_of_input + definition.suffix, self._uses
        nth = uses[key] = uses.get(key, -1) + 1
        call = Call(definition, payload, nth, known)
        return self._replayer.ask(definition.kind, name, print_of_input, call, depth=depth)


class Options(Verbs):
    """The verbs of ``ctx`` that options suit, with these options; made by ``ctx.options(...)``."""

    __slots__ = ("_changes", "_ctx")

    def __init__(self, ctx: Context, changes: Given) -> None:
        self._ctx = ctx
        self._changes = changes

    def _ask(
        self, definition: Definition, args: Any, kwargs: Any, depth: int = 4
    ) -> Operation[Any]:
        return self._ctx._ask(with_options(definition, self._changes), args, kwargs, depth)


_current: ContextVar[Context] = ContextVar("durable_context")


def current() -> Context:
    """The context of the workflow that is running here, found from deep in its code.

    Raises:
        InvalidCall: not inside a workflow.
    """
    try:
        return _current.get()
    except LookupError:
        raise InvalidCall(
            "durable.current() was called outside of a workflow; in an activity use "
            "durable.attempt()."
        ) from None


async def run_workflow(
    ctx: Context, definition: Definition, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """The coroutine of a run: what the replayer starts."""
    _current.set(ctx)
    fn = cast("Callable[..., Coroutine[Any, Any, Any]]", definition.fn)
    try:
        return await fn(ctx, *args, **kwargs)
    except RuntimeError as error:
        if "attached to a different loop" in str(error):
            error.add_note(
                "The workflow awaited something that lives in the host's event loop (a "
                "connection, a client, a lock made outside). Do that in an activity, and "
                "call it by `await ctx.activity(...)`."
            )
        raise
