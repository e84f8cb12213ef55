"""Whose loop runs in this thread: the host's, which a run's takes the place of while it is fed.

Python 3.11 asks the system for the process's id each time that a loop is set or looked for, and
that took a tenth of a worker's time (`python -m bench steps`). So a thread can be *lent* to many
runs: each becomes the running loop by one call, and the host's is put back once, at the end.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from asyncio import _get_running_loop, _set_running_loop
from typing import Any, TypeAlias

Host: TypeAlias = "tuple[asyncio.AbstractEventLoop | None, Any, Any]"

# From 3.14 on the current task is kept by thread, no longer by loop.
_TASK_BY_THREAD = sys.version_info >= (3, 14)


class _Thread(threading.local):
    lent = False


thread = _Thread()


def left() -> Host:
    """What the host leaves here: its loop, its hooks and its task."""
    loop, task = _get_running_loop(), None
    if _TASK_BY_THREAD and loop is not None:
        task = asyncio.tasks._swap_current_task(loop, None)  # type: ignore[attr-defined]
    return loop, sys.get_asyncgen_hooks(), task


def put_back(loop: asyncio.AbstractEventLoop | None, hooks: Any, task: Any) -> None:
    _set_running_loop(loop)
    sys.set_asyncgen_hooks(*hooks)
    if task is not None:
        asyncio.tasks._swap_current_task(loop, task)  # type: ignore[attr-defined]


class lent:  # noqa: N801 - `with lent():` is what it is for
    """Many runs are fed in here. Nothing else in here may ask which loop is running."""

    def __enter__(self) -> None:
        self._before, self._was, thread.lent = left(), thread.lent, True

    def __exit__(self, *_: object) -> None:
        thread.lent = self._was
        put_back(*self._before)
