"""Quick activities: the first attempts of many, one after another in one task.

A task costs more than all the rest of a trivial step, and most activities that need one have
awaited something. So a task runs what is in the queue until one of them awaits: that one keeps the
task to itself from then on, and another task goes on with the queue. Each has its own context; none
can see that it was not alone, but by comparing ``asyncio.current_task()`` across activities.

The coroutine cannot be driven without a task: its own ``asyncio.timeout`` would cancel whatever
task runs then.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from typing import Any

from .committer import SLICE_SECONDS
from .work import Work

# What has awaited something gets a task of its own for so many times: to find that out anew each
# time costs a round of the loop. Then it is tried again whether it still does.
AWAITS_AGAIN = 100

OVER = object()


class Quick:
    """``run`` makes the coroutine of a work; ``skip`` takes one that nobody waits for any more, or
    that must not begin now."""

    def __init__(
        self,
        run: Callable[[Work], Coroutine[Any, Any, None]],
        *,
        may_begin: Callable[[], Any],
        skip: Callable[[Work], None],
    ) -> None:
        self._run = run
        self._may_begin = may_begin
        self._skip = skip
        self._queue: deque[Work] = deque()
        # Of activities that have awaited something: how many may still count on it.
        self._awaiting: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None  # that will see to the queue, or does
        self._host = asyncio.get_running_loop()

    def add(self, work: Work) -> None:
        name = work.command.name
        if left := self._awaiting.get(name):
            self._awaiting[name] = left - 1
            asyncio.Task(self._begin(work), loop=self._host)
            return
        self._queue.append(work)
        if self._task is None:
            self._task = asyncio.Task(self._work_off(), loop=self._host)

    async def begun(self) -> None:
        """Wait until all that was added has begun."""
        await asyncio.sleep(0)
        while self._queue:
            await asyncio.sleep(0)

    async def _begin(self, work: Work) -> None:
        if work.abandoned or self._may_begin() is not None:
            self._skip(work)
            return
        work.task = asyncio.current_task()
        await self._run(work)

    async def _work_off(self) -> None:
        queue, run, task = self._queue, self._run, asyncio.current_task()
        assert task is not None
        may_begin = self._may_begin() is None
        end = time.monotonic() + SLICE_SECONDS
        rest: _Rest | None = None
        try:
            while queue:
                work = queue.popleft()
                if work.abandoned or not may_begin:
                    self._skip(work)
                    continue
                coro, context = run(work), copy_context()
                # `next` makes no exception of an end: that would take a tenth of the step.
                awaited = context.run(next, coro.__await__(), OVER)
                if awaited is not OVER:
                    work.task, rest = task, _Rest(context, coro, awaited)
                    self._awaiting[work.command.name] = AWAITS_AGAIN
                    break
                if task.cancelling() or time.monotonic() > end:
                    break  # one has cancelled its own task; or others want the loop
        finally:
            self._task = asyncio.Task(self._work_off(), loop=self._host) if queue else None
        if rest is not None:
            await rest


class _Rest:
    """What is left of a coroutine that has awaited something, in its own context."""

    def __init__(self, context: Context, coro: Coroutine[Any, Any, None], awaited: Any) -> None:
        self._context = context
        self._coro = coro
        self._awaited = awaited

    def __await__(self) -> Generator[Any, Any, None]:
        run, coro, awaited = self._context.run, self._coro, self._awaited
        while True:
            error: BaseException | None = None
            try:
                yield awaited
            except BaseException as thrown:  # noqa: BLE001 - a cancellation, most often: its own
                error = thrown
            try:
                awaited = run(coro.send, None) if error is None else run(coro.throw, error)
            except StopIteration:
                return
