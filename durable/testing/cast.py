"""Who plays which activity: stand-ins, and what was called with what.

An activity is known by its function. Each attempt asks anew who plays it, so a stand-in may
come and go while a run retries.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, TypeAlias

from msgspec.structs import replace as changed

from .._authoring.attempts import attempt
from .._authoring.definitions import Definition, activity_of, transaction_of
from .._core import commands
from .._runtime.instance import Instance
from .._runtime.work import Runner, Unrecordable, Work
from .._store.memory.aside import NO_CONNECTION
from ..errors import InvalidCall, NotRegistered
from .clock import VirtualClock

NOTHING: Any = object()  # nothing was given

When: TypeAlias = Literal["before", "after"]  # an attempt acts

# By which an attempt sleeps: that of its own environment, whichever the test means by it.
CLOCK: ContextVar[VirtualClock] = ContextVar("durable clock")


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt of an activity or a transaction, as the outside world saw it.

    Attributes:
        args, kwargs: what it was called with; of a transaction, without the connection.
        id: of the run that called.
        attempt: its number, from 1.
        at: when it began, in the environment's time.
        key: its idempotency key (``durable.attempt().idempotency_key``).
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    id: str
    attempt: int
    at: datetime
    key: str


class StandIn:
    """Plays an activity: raises what it was told to, then returns."""

    def __init__(
        self,
        by: Callable[..., Any] | None,
        raises: BaseException | type[BaseException] | Iterable[BaseException | type[BaseException]],
        returns: Any,
        hang: Callable[[], Any] | None,
    ) -> None:
        always = isinstance(raises, BaseException | type)
        self._always = raises if always else None
        self._raises = deque(() if isinstance(raises, BaseException | type) else raises)
        self.part = by, tuple(self._raises) or self._always or (), returns, hang is not None
        self._by = by
        self._returns = returns
        self._hang = hang

    async def play(self, *args: Any, **kwargs: Any) -> Any:
        error: Any = self._raises.popleft() if self._raises else self._always
        if error is not None:
            raise error.with_traceback(None) if isinstance(error, BaseException) else error
        if self._hang is not None:
            await self._hang()
        if self._by is None:
            return None if self._returns is NOTHING else self._returns
        value = self._by(*args, **kwargs)
        return await value if inspect.isawaitable(value) else value


class NoConnection(Unrecordable):
    """A transaction that nobody plays, in memory. Another attempt would end the same way."""


class Cast:
    """The stand-ins of one environment, and the calls in it. ``connects``: transactions may run
    for real. ``die`` kills the worker."""

    def __init__(self, clock: VirtualClock, *, connects: bool, die: Callable[[], None]) -> None:
        self._clock = clock
        self._connects = connects
        self._die = die
        self._doomed: defaultdict[Callable[..., Any], list[When]] = defaultdict(list)
        self._stand_ins: dict[Callable[..., Any], StandIn] = {}
        self._calls: defaultdict[Callable[..., Any], list[Call]] = defaultdict(list)
        self._names: dict[Callable[..., Any], str] = {}

    def put(
        self, fn: Callable[..., Any], by: Any, *, raises: Any, returns: Any, hangs: bool
    ) -> None:
        given = [by is not None, returns is not NOTHING, hangs]
        if sum(given) > 1:
            raise InvalidCall(
                "A stand-in plays one part: give it a function, or returns=..., or hangs=True."
            )
        hang = self._clock.hang if hangs else None
        self._stand_ins[_function_of(fn)] = StandIn(by, raises, returns, hang)

    def repeat(self, other: Cast) -> None:
        """The stand-ins of another, as they were when they were put there."""
        for fn, stand_in in other._stand_ins.items():
            by, raises, returns, hangs = stand_in.part
            self.put(fn, by, raises=raises, returns=returns, hangs=hangs)

    def doom(self, fn: Callable[..., Any], when: When) -> None:
        """The worker dies in the next attempt of it that comes so far."""
        self._doomed[_function_of(fn)].append(when)

    def known(self) -> Iterable[tuple[str, Call]]:
        """All calls, each with the name of what was called."""
        for fn, calls in self._calls.items():
            name = self._names[fn]
            yield from ((name, call) for call in calls)

    def calls(self, fn: Callable[..., Any]) -> list[Call]:
        return list(self._calls[_function_of(fn)])

    def begin(self, begin: Callable[..., None]) -> Callable[..., None]:
        """How ops begin, for ``Attempts``: coroutines are played from the first attempt on."""

        def played(instance: Instance, command: commands.Run, **resumed: Any) -> None:
            definition: Definition = command.call.definition
            if definition.kind == "activity" and definition.is_async:
                call = changed(command.call, definition=self._played(definition))
                command = changed(command, call=call)
            begin(instance, command, **resumed)

        return played

    def runner(self, kind: str, runners: Mapping[str, Runner]) -> Runner:
        """How one attempt is run: what needs a thread or a connection, if nobody plays it."""
        inner, play = runners[kind], runners["activity"]

        async def run(work: Work) -> tuple[bytes, Any]:
            asked = work.call
            definition = asked.definition
            if kind == "activity" and definition.is_async:
                return await inner(work)
            self._dies(definition, "before")
            is_played = definition.fn in self._stand_ins
            if kind == "transaction" and not is_played and not self._connects:
                raise NoConnection(NO_CONNECTION)
            other = self._played(definition) if is_played else self._watched(definition)
            work.call = changed(asked, definition=other)
            try:
                ended = await (play if is_played else inner)(work)
            finally:
                work.call = asked
            self._dies(definition, "after")
            return ended

        return run

    def _played(self, definition: Definition) -> Definition:
        """A stand-in needs neither thread nor connection."""
        is_coroutine = definition.kind == "activity" and definition.is_async  # else: see `runner`

        async def play(*args: Any, **kwargs: Any) -> Any:
            if is_coroutine:
                self._dies(definition, "before")
            self._note(definition, args, kwargs)
            stand_in = self._stand_ins.get(definition.fn)
            token = CLOCK.set(self._clock)
            try:
                value = await (stand_in.play if stand_in else definition.fn)(*args, **kwargs)
            finally:
                CLOCK.reset(token)
            if is_coroutine:
                self._dies(definition, "after")
            return value

        return replace(definition, fn=play, is_async=True)

    def _watched(self, definition: Definition) -> Definition:
        def call(*args: Any, **kwargs: Any) -> Any:
            visible = args[1:] if definition.kind == "transaction" else args
            self._note(definition, visible, kwargs)
            return definition.fn(*args, **kwargs)

        return replace(definition, fn=call)

    def _dies(self, definition: Definition, when: When) -> None:
        doomed = self._doomed[definition.fn]
        if when in doomed:
            doomed.remove(when)
            self._die()
            raise asyncio.CancelledError  # this attempt dies with its process

    def _note(self, definition: Definition, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        current = attempt()
        key = current.idempotency_key
        call = Call(args, kwargs, current.id, current.number, self._clock.now(), key)
        self._names[definition.fn] = current.activity
        self._calls[definition.fn].append(call)


def _function_of(fn: Callable[..., Any]) -> Callable[..., Any]:
    """What an activity or a transaction is known by.

    Raises:
        NotRegistered, DefinitionError: it is neither.
    """
    try:
        return activity_of(fn).fn
    except NotRegistered:
        if not inspect.iscoroutinefunction(fn):
            raise
        return transaction_of(fn).fn
