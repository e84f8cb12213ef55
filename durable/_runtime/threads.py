"""Threads for activities that are plain functions: one for each call, so that the slots of the
attempts bound them. They are daemons: one that never ends must not keep its process from
ending. A call cannot be interrupted; ``ended`` tells when it really has ended.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any


class Call:
    """``fn()``, begun in a thread with a copy of the context that stands here."""

    def __init__(self, fn: Callable[[], Any]) -> None:
        self._host = asyncio.get_running_loop()
        # What it came to: its value, or what it raised. Cancel this and nothing stops.
        self.ended: asyncio.Future[tuple[Any, BaseException | None]] = self._host.create_future()
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=self._run, args=(context, fn), name="durable activity", daemon=True
        )
        self._thread.start()

    def _run(self, context: contextvars.Context, fn: Callable[[], Any]) -> None:
        ended: tuple[Any, BaseException | None]
        try:
            ended = context.run(fn), None
        except BaseException as error:  # noqa: BLE001 - it is the attempt's, not this thread's
            ended = None, error
        if not self._host.is_closed():  # else nobody is left to tell
            self._host.call_soon_threadsafe(self._end, ended)

    def _end(self, ended: tuple[Any, BaseException | None]) -> None:
        if not self.ended.done():
            self.ended.set_result(ended)

    def line(self, file: str) -> str:
        """Where it stands: the innermost line in ``file``, if it is in there."""
        frame = sys._current_frames().get(self._thread.ident or 0)
        stack = traceback.extract_stack(frame)[::-1] if frame else []
        at = next((each for each in stack if each.filename == file), stack[0] if stack else None)
        return f"{at.filename}:{at.lineno}" if at else file
