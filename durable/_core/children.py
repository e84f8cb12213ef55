"""Child runs, as their parent's code sees them: begun with a turn, answered when they end.

The outcome of a child is always recorded, whether anybody waits for it or not: its op stays open
until then. Cancelling who waits asks the child to stop, and waits until it has, as a task does
that awaits another.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import InvalidCall
from . import commands, events
from .loop import OrderedFuture, ReplayLoop
from .operation import Operation
from .refusals import OUTSIDE
from .sites import call_site

if TYPE_CHECKING:
    from .replayer import Replayer

R = TypeVar("R")

# A turn is written whole: what one may start is bounded, in number and in bytes.
BIRTHS_MAX, BIRTHS_BYTES_MAX = 10_000, 32 * 1024 * 1024

# Each id of the caller's own is a lock of Postgres' shared table, until the turn is written.
NAMED_MAX = 500

TOO_MANY = (
    "One turn of this run starts more children than can be written at once ({0}). Begin fewer at a "
    "time, as with an asyncio.Semaphore around `await ctx.child(...)`."
)


class Continued(BaseException):
    """Raised by ``ctx.continue_as_new``: the run goes on as another, with other arguments. No
    failure, and no cancellation: nothing but ``finally`` is to take note of it."""

    def __init__(self, call: Any) -> None:
        super().__init__("the run goes on as a new one")
        self.call = call


def continued(error: BaseException) -> commands.Continue | None:
    """What ends the run if it goes on as another; task groups raise that in a group."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return commands.Continue(error.call, ()) if isinstance(error, Continued) else None


class Ending(Operation[R]):
    """The end of a child. Cancelled, it asks the child to stop and is over when that is; cancelled
    once more, it waits no longer."""

    __slots__ = ("is_kept", "is_stopping", "stop")

    is_kept: bool  # the code has a handle, and may look or not
    is_stopping: bool
    stop: Callable[[int], None]

    def cancel(self, msg: Any | None = None) -> bool:
        loop = self.get_loop()
        assert isinstance(loop, ReplayLoop)
        if not loop.in_turn and not loop.dead:
            raise InvalidCall(OUTSIDE)
        if self.done() or self.is_stopping or loop.dead:
            return self.give_up(msg)
        self.is_stopping = True
        self.stop(self.op)
        return True

    def give_up(self, msg: Any | None = None) -> bool:
        """Wait no longer; the child is not told."""
        return OrderedFuture.cancel(self, msg=msg)

    def set_result(self, result: R, /) -> None:
        if self.is_stopping:
            self.give_up()
        elif not self.done():
            OrderedFuture.set_result(self, result)

    def set_exception(self, exception: type | BaseException, /) -> None:
        if self.is_stopping:
            self.give_up()
        elif not self.done():
            OrderedFuture.set_exception(self, exception)


class Children:
    """The children of one run, in its replayer."""

    def __init__(self, replayer: Replayer) -> None:
        # Weakly: what refers to itself waits for the garbage collector.
        self._replayer: Replayer = weakref.proxy(replayer)
        self._turn: list[commands.Command] = []  # whose births are counted
        self._births = self._named = self._bytes = 0

    def spawn(
        self, name: str, to: str, digest: bytes, call: Any, size: int, *, is_kept: bool
    ) -> Ending[Any]:
        """Ask for a child; its end resolves what is returned.

        Raises:
            InvalidCall: the turn asks for too many.
        """
        replayer = self._replayer
        replayer.check_turn()
        self._count(to, size)
        ending: Ending[Any] = Ending(loop=replayer._loop)
        ending.op, ending.is_kept, ending.is_stopping = replayer._take_op(), is_kept, False
        ending.stop = self.stop
        spawn = commands.Spawn(ending.op, "child", name, to, digest, call_site(3), call, is_kept)
        ending.asked = spawn
        if not replayer._loop.dead:
            replayer.has_children = True
            replayer.open[ending.op] = spawn
            replayer._waiting[ending.op] = ending
            replayer._ask(spawn)
        return ending

    def stop(self, op: int) -> None:
        """Ask a child to stop, with this turn; nothing if it is over."""
        spawn = self._replayer.open.get(op)
        if isinstance(spawn, commands.Spawn):
            self.send(spawn, "cancel", "", b"", None)

    def send(self, spawn: commands.Spawn, kind: str, name: str, digest: bytes, load: Any) -> None:
        replayer = self._replayer
        op = replayer._take_op()
        if not replayer._loop.dead:
            to, site = spawn.to, spawn.site
            replayer._ask(commands.Send(op, to, kind, name, digest, site, load, spawn.op))

    def refuse(self, event: events.Refused) -> None:
        """Something was not done; a child fails by that."""
        replayer = self._replayer
        ending = replayer._waiting.pop(event.op, None) if event.error is not None else None
        if ending is None:
            told = event.op, event.reason
            replayer.say(30, "what was asked for by op %d was refused: %s", told)
            return
        del replayer.open[event.op]
        assert event.error is not None
        replayer.note_failure(ending, event.error, event.position)

    def _count(self, to: str, size: int) -> None:
        turn = self._replayer._asked
        if turn is not self._turn:
            self._turn, self._births, self._named, self._bytes = turn, 0, 0, 0
        self._births += 1
        self._named += bool(to)
        self._bytes += size
        if self._births > BIRTHS_MAX or self._bytes > BIRTHS_BYTES_MAX:
            raise InvalidCall(TOO_MANY.format(f"{BIRTHS_MAX:,}, or {BIRTHS_BYTES_MAX:,} bytes"))
        if self._named > NAMED_MAX:
            raise InvalidCall(TOO_MANY.format(f"{NAMED_MAX} with ids of your own"))
