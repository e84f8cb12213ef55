"""What ``ctx.activity`` and its like return: a future that may also be used as a coroutine.

As a future it can be awaited, gathered, waited for and shielded; as a ``Coroutine`` it is
taken by ``TaskGroup.create_task`` and by anyio's ``start_soon``.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

from ..errors import InvalidCall
from .commands import Promise, Run, Spawn
from .loop import OrderedFuture, ReplayLoop
from .refusals import OUTSIDE

R = TypeVar("R")


class Operation(OrderedFuture[R], Coroutine[Any, Any, R]):
    """One thing asked of the world by a workflow, not yet answered.

    Cancelling it (or the task that awaits it) takes the request back.
    """

    # Set once by whoever makes it: there is no __init__, since one is made per step and the
    # future's own is in C.
    __slots__ = ("_steps", "asked", "op")

    op: int
    asked: Run | Promise | Spawn  # of what an event answers; a sleep has none
    _steps: Generator[Any, None, R]

    def cancel(self, msg: Any | None = None) -> bool:
        loop = self.get_loop()
        assert isinstance(loop, ReplayLoop)
        if not loop.in_turn and not loop.dead:
            raise InvalidCall(OUTSIDE)
        cancelled = super().cancel(msg=msg)
        if cancelled:
            loop.keeper.taken_back(self)
        return cancelled

    @property
    def was_used(self) -> bool:
        """Whether anything was ever done with it: a future that is awaited has callbacks, one
        in a group has been hashed."""
        return bool(self._callbacks) or hasattr(self, "_birth")

    def __repr__(self) -> str:  # stands in asyncio's error when somebody else awaits it
        return f"<Operation {self.op} of a workflow, which only the workflow's own code can await>"

    # The coroutine's half, for those who drive it by hand as a task does.

    def send(self, value: Any) -> Any:
        return self._driven().send(value)

    def throw(self, *error: Any) -> Any:
        return self._driven().throw(*error)

    def close(self) -> None:
        self._driven().close()

    def _driven(self) -> Generator[Any, None, R]:
        try:
            return self._steps
        except AttributeError:
            self._steps = self.__await__()
            return self._steps
