"""Histories made by hand: what a run would have recorded, told event by event.

So it can hold what the code at hand does not do any more, or never did. What the code at hand does,
an ``Environment`` records with less to say: ``History.of``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, TypeVarTuple, overload

import asyncpg
import msgspec

from .._authoring.channels import Exact, Signal, expect
from .._authoring.context import Context
from .._authoring.definitions import Definition, activity_of, transaction_of, workflow_of
from .._authoring.streams import State, Stream
from .._codec import sameness
from .._codec.failures import encode_failure
from .._core import commands, divergence
from .._core.retries import Duration, seconds
from .._histories import History
from .._runtime.versions import versions
from .._runtime.work import is_answer
from .._store.protocol import JournalRow
from ..errors import InvalidCall
from .crashing import seed_of

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

BEGIN = datetime(2030, 1, 1, tzinfo=UTC)


class Recording:
    """A history in the making: each method adds one event, and returns the recording.

    Operations are counted as the code counts them: each activity, transaction, timer and receive
    is one, in the order in which they are asked for. Where several are asked for at once, or where
    something was asked for that left no event, ``op`` says which comes next.

    Children, updates, promises and messages to other runs are not told by hand: let an
    ``Environment`` record them.

    Args:
        workflow, args: as in ``start``. The workflow need not be able to do what is recorded.
        id: of the run.
        at: when it began; ``later`` lets time pass, and so do timers.

    Example:
        history = (
            Recording(order, "visa", 999)
            .activity(charge, "visa", 999).returns("tx-1")
            .timer(days=1)
            .signal(shipped, "P1")
            .history
        )
        replay(history)
    """

    def __init__(
        self,
        workflow: Callable[[Context, *Ts], Coroutine[Any, Any, Any]],
        /,
        *args: *Ts,
        id: str = "by-hand",
        at: datetime = BEGIN,
    ) -> None:
        self._definition = workflow_of(workflow)
        self._input, known = self._definition.signature.record_call(args, {})
        self._digest = sameness.digest(self._input, known)
        self._id = id
        self._began = self._now = at
        self._op = 1
        self._seq = 0
        self._rows: list[JournalRow] = []
        self._sent: list[commands.Effect] = []  # in the turn of the latest
        self._add("started")

    @property
    def history(self) -> History:
        """What is recorded so far: the history of an open run."""
        return self._history(status="waiting")

    def completed(self, result: object = None) -> History:
        """The history of a run that ended now, and has returned that."""
        payload, _ = self._definition.signature.record_result(result)
        return self._history(status="completed", closed_at=self._now, result=payload)

    def failed(self, error: BaseException) -> History:
        """The history of a run that ended now, and has raised that."""
        failure = encode_failure(error)
        return self._history(status="failed", closed_at=self._now, failure=failure)

    def cancelled(self) -> History:
        """The history of a run that has stopped, as it was asked to."""
        return self._history(status="cancelled", closed_at=self._now)

    def _history(self, **end: Any) -> History:
        return History(
            id=self._id,
            run=1,
            workflow=self._definition.name,
            seed=seed_of(self._id),
            input=self._input,
            input_digest=self._digest,
            created_at=self._began,
            started_at=self._began,
            versions=versions(),
            events=tuple(self._rows),
            **end,
        )

    def op(self, number: int) -> Self:
        """The next event answers the operation of this number, from 1."""
        if type(number) is not int or number < 1:
            raise InvalidCall(f"op({number!r}): operations are counted from 1.")
        self._op = number
        return self

    def later(self, length: Duration = 0, /, *, days: float = 0, hours: float = 0) -> Self:
        """Let time pass before the next event: seconds, or a timedelta; the keywords are added."""
        self._now += timedelta(seconds=seconds(length, what="the time to pass"), days=days,
                               hours=hours)  # fmt: skip
        return self

    @overload
    def activity(
        self, fn: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Asked[R]: ...
    @overload
    def activity(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Asked[R]: ...
    def activity(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Asked[Any]:
        """An activity that was run: ``.returns(value)`` or ``.raises(error)`` says how it ended.

        Raises:
            NotRegistered: it is none.
            InvalidCall, EncodeError: these arguments cannot have been recorded.
        """
        return Asked(self, activity_of(fn), args, kwargs)

    def transaction(
        self,
        fn: Callable[Concatenate[asyncpg.Connection, P], Coroutine[Any, Any, R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Asked[R]:
        """A transaction that was committed, or failed; the arguments without the connection."""
        return Asked(self, transaction_of(fn), args, kwargs)

    def timer(
        self,
        length: Duration = 0,
        /,
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
    ) -> Self:
        """A timer that was set when the event before came, and has fired: a sleep, or a timeout."""
        begun = self._rows[-1].at
        self.later(length, days=days, hours=hours).later(minutes * 60 + seconds)
        due = max(begun, self._now)
        wait = commands.Wait(self._op, due, "?")
        return self._add("timer", op=self._take_op(), digest=wait.digest)

    @overload
    def signal(self, channel: Signal[None], /, *, is_received: bool = True) -> Self: ...
    @overload
    def signal(self, channel: Exact[T, None], value: T, /, *, is_received: bool = True) -> Self: ...
    def signal(self, channel: Any, value: Any = None, /, *, is_received: bool = True) -> Self:
        """A signal that came. ``is_received``: ``ctx.receive`` had asked for it, or asks next,
        which is an operation; False where it only came.

        Raises:
            InvalidCall: the value is not of the channel's type.
        """
        expect(channel, Signal)
        payload = channel.encode(value)
        if is_received:
            self._take_op()
        self._seq += 1
        return self._add("signal", name=channel.name, result=payload, seq=self._seq)

    def cancel(self, reason: str | None = None) -> Self:
        """Somebody asked the run to stop."""
        self._seq += 1
        return self._add("cancel", name=reason, seq=self._seq)

    def patched(self, id: str) -> Self:
        """The code has asked for ``ctx.patched(id)``, and went the new way, in the turn of the
        latest event."""
        last = self._rows[-1]
        self._rows[-1] = msgspec.structs.replace(last, patches=[*(last.patches or ()), id])
        return self

    def shows(self, channel: State[Any] | Stream[Any]) -> Self:
        """The code has shown a value (``ctx.set``, ``ctx.publish``), in the turn of the latest
        event. Which, is not compared.

        Raises:
            InvalidCall: it is neither a ``State`` nor a ``Stream``.
        """
        expect(channel, State if isinstance(channel, State) else Stream)
        self._sent.append(commands.Publish(self._take_op(), channel.kind, channel.name, "?", None))
        effects = divergence.digest_of(self._sent)
        self._rows[-1] = msgspec.structs.replace(self._rows[-1], effects=effects)
        return self

    def _take_op(self) -> int:
        op, self._op = self._op, self._op + 1
        return op

    def _add(self, kind: str, **facts: Any) -> Self:
        position = len(self._rows)
        self._sent = []
        self._rows.append(JournalRow(1, position, kind, self._now, os.urandom(16), **facts))
        return self


class Asked(Generic[R]):
    """An activity of a recording, or a transaction: how it ended is to be said."""

    def __init__(
        self,
        recording: Recording,
        definition: Definition,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self._recording = recording
        self._definition = definition
        self._input = definition.signature.encode_call(args, kwargs)

    def returns(self, value: R) -> Recording:
        """
        Raises:
            EncodeError, DecodeError: the value cannot be recorded, or does not fit its annotation.
        """
        payload, _ = self._definition.signature.record_result(value)
        return self._ended(result=payload)

    def raises(self, error: BaseException, *, attempts: int = 1) -> Recording:
        """It failed for good, after so many attempts: with a business error (``raises=``), or with
        any other."""
        raises = self._definition.options.raises
        kind = "answer" if is_answer(error, raises) else "raised"
        return self._ended(failure=encode_failure(error, attempts=attempts, kind=kind))

    def _ended(self, **facts: Any) -> Recording:
        recording, definition = self._recording, self._definition
        op = recording._take_op()
        kind, name = definition.kind, definition.name
        return recording._add(kind, op=op, name=name, input=self._input, **facts)
