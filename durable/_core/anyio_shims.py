"""What makes anyio deterministic inside a workflow; inert outside.

- **Cancel scopes** stand in sets, which are walked to deliver a cancellation. Those made in a
  workflow hash by birth.
- **A cancelled scope looks again in each round** of the loop whether one of its tasks can be
  cancelled now, for as long as it has any: beside a shielded ``await ctx.activity()`` no turn
  would ever end. After some looks without progress of the run (nothing asked, no task begun
  or ended) it looks again in the next turn.
- **Worker threads** are refused at the call; theirs would be a hang.

The one file of the core that knows anyio: its private names, and no function of it.
"""

from __future__ import annotations

from typing import Any

import anyio._backends._asyncio

from .loop import ReplayLoop, running_loop
from .refusals import refusing

# A cancellation that is caught and awaited over takes a look each time; deeper nesting of
# that is not seen in one turn, and each look more is paid by every turn of such a run.
LOOKS_MAX = 16

backend = anyio._backends._asyncio

_new = backend.CancelScope.__new__
_start = backend.WorkerThread.start


class OrderedScope(backend.CancelScope):
    """A cancel scope of a workflow."""

    __slots__ = ("_birth", "_looks", "_loop", "_progress")

    _birth: int
    _loop: ReplayLoop
    _cancel_handle: Any
    _looks: int  # since the run's progress was this
    _progress: int

    def __hash__(self) -> int:
        return self._birth

    def _deliver_cancellation(self, origin: backend.CancelScope) -> bool:
        again = super()._deliver_cancellation(origin)
        if origin is self and again:
            progress = self._loop.progress
            self._looks = self._looks + 1 if progress == self._progress else 0
            self._progress = progress
            if self._looks > LOOKS_MAX:
                self._loop.put_off(self._cancel_handle)
        return again


def _new_scope(cls: type[backend.CancelScope], *args: Any, **kwargs: Any) -> backend.CancelScope:
    loop = running_loop()
    if loop is None or cls is not backend.CancelScope:
        return _new(cls, *args, **kwargs)
    scope = object.__new__(OrderedScope)
    scope._birth, scope._loop = loop.next_birth(), loop
    scope._looks = scope._progress = 0
    return scope


def _start_thread(self: backend.WorkerThread) -> None:
    if running_loop() is not None:
        refusing("run_in_executor")()
    _start(self)


backend.CancelScope.__new__ = _new_scope  # type: ignore[method-assign,assignment]
backend.WorkerThread.start = _start_thread  # type: ignore[method-assign,assignment]
