"""How a workflow answers: handlers of updates, answers to queries, and signals one by one.

A part of ``ctx``: what goes through a channel is read and written here, so that the core sees
opaque values.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Generic, Self, TypeVar, overload

from .._codec.failures import encode_failure
from .._codec.values import digest
from .._core.operation import Operation
from .._core.replayer import Replayer
from .._core.updates import Handler
from ..errors import InvalidCall
from .channels import Exact, Query, Signal, Update, expect

A = TypeVar("A")
R = TypeVar("R")
T = TypeVar("T")


class Answering:
    _replayer: Replayer

    def messages(self, signal: Signal[T], /) -> Messages[T]:
        """The messages of a signal, one after the other, for as long as the run likes.

        Example:
            async for parcel in ctx.messages(shipped):
                await ctx.activity(book, parcel)
        """
        expect(signal, Signal)
        return Messages(self._replayer, signal)

    @overload
    def on(
        self, update: Exact[A, R], fn: Callable[[A], Coroutine[Any, Any, R]], /, *,
        check: Callable[[A], object] | None = None,
    ) -> None: ...  # fmt: skip
    @overload
    def on(
        self, update: Exact[A, R], fn: Callable[[A], R], /, *,
        check: Callable[[A], object] | None = None,
    ) -> None: ...  # fmt: skip
    def on(
        self, update: Any, fn: Callable[[Any], Any], /, *,
        check: Callable[[Any], object] | None = None,
    ) -> None:  # fmt: skip
        """Answer an update from now on, those that have come already first.

        ``fn(value)`` runs as a task of the run: it may await whatever the workflow may, several
        at a time, and what it returns is the answer. If it raises, the caller gets that as
        ``UpdateFailed``, and the run goes on. A run that ends answers no more: its callers get
        ``RunClosed``.

        Args:
            update: the channel. A run has one handler for each.
            fn: ``def`` or ``async def``; a plain one is done within its turn.
            check: called with the value before. If it raises, or returns False, the update is
                rejected and nothing has happened (``UpdateRejected``). It may only look. What it
                decided is recorded: a replay does not ask it again.

        Raises:
            InvalidCall: it has a handler already.

        Example:
            ctx.on(add, put_in, check=is_sold_here)
        """
        expect(update, Update)

        async def run(argument: Any) -> tuple[bytes, bytes]:
            answer = fn(argument)
            payload = update.encode(await answer if inspect.isawaitable(answer) else answer, 1)
            return digest(payload), payload

        def checked(argument: Any) -> None:
            if check is not None and _known(check(argument), update, "checked") is False:
                raise InvalidCall(f"the check of {update!r} has returned False.")

        self._replayer.updates.on(update.name, Handler(update.decode, checked, run, encode_failure))

    def answer(self, query: Exact[None, R], fn: Callable[[], R], /) -> None:
        """Answer a query from now on by what ``fn()`` returns then. It may only look, at what
        the workflow has recorded so far: no turn, no row, no trace.

        Raises:
            InvalidCall: it is answered already.

        Example:
            ctx.answer(content, lambda: items)
        """
        expect(query, Query)

        self._replayer.updates.answer(
            query.name, lambda: query.encode(_known(fn(), query, "answered"))
        )


def _known(value: T, channel: object, done: str) -> T:
    """
    Raises:
        InvalidCall: it is still to be awaited.
    """
    if inspect.iscoroutine(value):
        value.close()
        raise InvalidCall(
            f"{channel!r} is {done} by an `async def`, which may wait. Give a plain function, "
            "which returns what is known."
        )
    return value


class Messages(Generic[T]):
    """The messages of one signal, for ``async for``."""

    __slots__ = ("_replayer", "_signal")

    def __init__(self, replayer: Replayer, signal: Signal[T]) -> None:
        self._replayer = replayer
        self._signal = signal

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Operation[T]:
        return self._replayer.ask_receive(self._signal.name, self._signal.decode)
