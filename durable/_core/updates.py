"""Updates and queries: what is asked of a run, and answered by its code.

One that comes before its handler waits for it. A handler's check decides first, in the same turn
and without touching anything: who is rejected has changed nothing. The others run as tasks of the
run; each answer is an effect of the turn in which it is given. A run that ends cancels those under
way, which its callers learn from its end.

Values, answers and errors are opaque here: the handler reads and writes them.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ..errors import InvalidCall
from . import events
from .refusals import OUTSIDE

if TYPE_CHECKING:
    from .replayer import Replayer

T = TypeVar("T")

STILL = (
    "A check of an update, or an answer to a query, asked for something. It may only look and "
    "decide: what changes the run, or asks the world, belongs into the update's handler."
)


class Handler(NamedTuple):
    read: Callable[[Any], Any]  # value -> argument, or raises
    check: Callable[[Any], None]  # of the argument; raises if it is refused
    run: Callable[[Any], Awaitable[tuple[bytes, Any]]]  # argument -> digest and payload
    tell: Callable[[BaseException], Any]  # error -> payload


class Updates:
    def __init__(self, replayer: Replayer) -> None:
        # Weakly: what refers to itself waits for the garbage collector.
        self._replayer: Replayer = weakref.proxy(replayer)
        self._loop = replayer._loop
        self._handlers: dict[str, tuple[Handler, Context]] = {}
        self._early: defaultdict[str, list[events.Asked]] = defaultdict(list)
        self._queries: dict[str, tuple[Callable[[], Any], Context]] = {}

    def on(self, name: str, handler: Handler) -> None:
        """
        Raises:
            InvalidCall: it has a handler already.
        """
        self._replayer.check_turn()
        if name in self._handlers:
            raise InvalidCall(f"Update {name!r} has a handler already, and needs no other.")
        self._handlers[name] = handler, copy_context()
        for asked in self._early.pop(name, ()):
            self.put(asked)

    def put(self, asked: events.Asked) -> None:
        """An update has come. It is looked at within the turn, after those before it."""
        if asked.name not in self._handlers:
            self._early[asked.name].append(asked._replace(accepted=None))
            return
        handler, context = self._handlers[asked.name]
        self._loop.call_soon(self._decide, asked, handler, context=context.copy())

    def answer(self, name: str, fn: Callable[[], Any]) -> None:
        """
        Raises:
            InvalidCall: it is answered already.
        """
        self._replayer.check_turn()
        if name in self._queries:
            raise InvalidCall(f"Query {name!r} is answered already.")
        self._queries[name] = fn, copy_context()

    def ask(self, name: str) -> Any:
        """The answer to a query, between turns.

        Raises:
            InvalidCall: the code answers no such query, or not yet; or it tried to do something.
        """
        if name not in self._queries:
            known = ", ".join(map(repr, self._queries)) or "none"
            raise InvalidCall(f"The run answers no query {name!r} at this point; it has {known}.")
        fn, context = self._queries[name]
        return context.run(self.look, fn)

    def unread(self) -> list[int]:
        """Positions of those for which no handler has come."""
        return sorted(each.position for asked in self._early.values() for each in asked)

    def _decide(self, asked: events.Asked, handler: Handler) -> None:
        if asked.accepted is False:
            self._replayer.reply(asked, "rejected", b"", None)
            return
        try:
            argument = handler.read(asked.value)
            if asked.accepted is None:
                self.look(handler.check, argument)
        except Exception as error:  # noqa: BLE001 - a check may raise anything
            if asked.accepted:  # it could be read when it was accepted
                self._replayer.set_unfit(error)
            else:
                self._replayer.reply(asked, "rejected", b"", handler.tell(error))
        else:
            running = self._run(asked, handler, argument)
            self._loop.create_task(running, name=f"update {asked.name!r}")

    def look(self, fn: Callable[..., T], *args: Any) -> T:
        """Call what may only look: whatever it asks for, or touches, is refused.

        Raises:
            InvalidCall: it has tried to.
        """
        before, self._loop.in_turn = self._loop.in_turn, False
        try:
            return fn(*args)
        except InvalidCall as error:
            raise InvalidCall(STILL) if str(error) == OUTSIDE else error from None
        finally:
            self._loop.in_turn = before

    async def _run(self, asked: events.Asked, handler: Handler, argument: Any) -> None:
        reply = self._replayer.reply
        try:
            digest, answer = await handler.run(argument)
        except asyncio.CancelledError as error:
            if self._replayer.is_ending:
                told = "the run has ended before it had answered update %r, whose caller is told so"
                self._replayer.say(30, told, (asked.name,))
                raise
            reply(asked, "failed", b"", handler.tell(error))
        except Exception as error:  # noqa: BLE001 - it is the caller's
            reply(asked, "failed", b"", handler.tell(error))
        else:
            reply(asked, "completed", digest, answer)
