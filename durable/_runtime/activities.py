"""Attempts of ``ctx.activity``: a coroutine on the host's loop, or a call in a thread."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

from .._authoring import attempts as authoring
from .clock import Clock
from .limits import within
from .threads import Call
from .work import Work, arguments, encoded


async def run_activity(clock: Clock, work: Work) -> tuple[bytes, Any]:
    """One attempt of one activity: a ``Runner``."""
    definition = work.call.definition
    args, kwargs = arguments(work.call)
    authoring.enter(work)
    fn = functools.partial(definition.fn, *args, **kwargs)
    call = fn if definition.is_async else functools.partial(_in_thread, work, fn)
    return encoded(definition.signature, await within(work, clock, call))


async def _in_thread(work: Work, fn: Callable[[], Any]) -> Any:
    """The attempt may be cancelled, the thread cannot: ``work.thread`` stays there for it."""
    work.thread = Call(fn)
    value, error = await asyncio.shield(work.thread.ended)
    work.thread = None
    if error is not None:
        raise error
    return value
