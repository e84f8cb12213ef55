"""Attempts of ``ctx.activity``: a coroutine on the host's loop, or a call in a thread."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable
from typing import Any

from .._authoring import attempts as authoring
from .clock import Clock
from .limits import within
from .threads import Threads
from .work import Work, arguments, encoded


class Activities:
    """Runs one attempt of one activity: a ``Runner``."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._threads = Threads()

    async def __call__(self, work: Work) -> tuple[bytes, Any]:
        definition = work.call.definition
        args, kwargs = arguments(work.call)
        authoring.enter(work.attempt)
        fn = functools.partial(definition.fn, *args, **kwargs)

        def call() -> Awaitable[Any]:
            return fn() if definition.is_async else self._in_thread(work, fn)

        timed = definition.options.is_timed
        value = await (within(work, self._clock, call) if timed else call())
        return encoded(definition.signature, value)

    async def _in_thread(self, work: Work, fn: functools.partial[Any]) -> Any:
        """The attempt may be cancelled, the thread cannot: ``work.thread`` is there until the
        call has ended."""
        work.thread = self._threads.start(fn)
        value, error = await asyncio.shield(work.thread.ended)
        work.thread = None
        if error is not None:
            raise error
        return value

    def close(self) -> None:
        self._threads.close()
