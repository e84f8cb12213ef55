"""Threads for activities that are plain functions.

As many as there are calls at once; the slots of the attempts bound them. Idle ones are used
again. They are daemons: one that never ends must not keep its process from ending. A call
cannot be interrupted, so what is returned for it tells when it has really ended.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import FrameType
from typing import Any, TypeAlias

# What a call came to: its value, or what it raised.
Ended: TypeAlias = tuple[Any, BaseException | None]


class Call:
    """One call in a thread. ``ended`` never fails; cancel it and nothing stops."""

    def __init__(self, fn: Callable[[], Any], host: asyncio.AbstractEventLoop) -> None:
        self.ended: asyncio.Future[Ended] = host.create_future()
        self._fn = fn
        self._context = contextvars.copy_context()
        self._thread = 0

    def run(self) -> Ended:
        self._thread = threading.get_ident()
        try:
            return self._context.run(self._fn), None
        except BaseException as error:  # noqa: BLE001 - it is the attempt's, not this thread's
            return None, error

    def frame(self) -> FrameType | None:
        """Where it stands now; None if it has not begun."""
        return sys._current_frames().get(self._thread)


class Threads:
    def __init__(self) -> None:
        self._host = asyncio.get_running_loop()
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        self._idle = 0

    def start(self, fn: Callable[[], Any]) -> Call:
        """Call ``fn`` in a thread, with a copy of the context that stands here."""
        call = Call(fn, self._host)
        if self._idle:
            self._idle -= 1
        else:
            threading.Thread(target=self._live, name="durable activity", daemon=True).start()
        self._calls.put(call)
        return call

    def close(self) -> None:
        """Let the idle ones end."""
        while self._idle:
            self._idle -= 1
            self._calls.put(None)

    def _live(self) -> None:
        while (call := self._calls.get()) is not None:
            ended = call.run()
            try:
                self._host.call_soon_threadsafe(self._end, call, ended)
            except RuntimeError:
                return  # the host's loop is closed: nobody is left to tell
            del call, ended  # not to be held until the next

    def _end(self, call: Call, ended: Ended) -> None:
        self._idle += 1
        if not call.ended.done():
            call.ended.set_result(ended)
