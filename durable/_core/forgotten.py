"""What is left of a run that has ended, or is forgotten here: nobody, whom code that outlived it
asks; and words about what it left undone."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import datetime
from typing import Any

from .. import errors
from .loop import Timer
from .operation import Operation

OVER = (
    "A workflow's context was used after its run had ended. `ctx` is good only while the workflow "
    "function runs: do not keep it."
)

UNASKED = "signal %r was sent to this run, whose code never asked for it"


class Nobody:
    """The keeper of a loop that was thrown away: code that outlived it is heard by nobody."""

    def __init__(self, now: datetime, *, over: bool) -> None:
        self.now = now
        self._over = over

    def timer_asked(self, timer: Timer) -> None:
        if self._over:
            raise errors.InvalidCall(OVER)

    def timer_dropped(self, timer: Timer) -> None: ...
    def callback_raised(self, error: BaseException) -> None: ...
    def task_failed(self, task: asyncio.Task[Any]) -> None: ...
    def taken_back(self, operation: Any) -> None: ...


def gone() -> Coroutine[Any, Any, Any]:
    raise errors.InternalError("a run was begun that is forgotten")


def told(future: asyncio.Future[Any]) -> str:
    """What an operation or a task is, in words."""
    if isinstance(future, Operation):
        return f"{future.asked.kind} {future.asked.name!r}, asked for at {future.asked.site},"
    assert isinstance(future, asyncio.Task)
    return f"the task {future.get_name()!r}"
