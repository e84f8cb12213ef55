"""Whoever replays a run whose code never comes to an await is told which one, and where it is.

Replay itself cannot tell: it stands inside that code. So a thread looks on, one for the process.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

PATIENCE = 10.0  # seconds, after which it is told once
LOOKS_EVERY = 1.0

_under_way: dict[int, tuple[float, str]] = {}  # by thread: since when, and what
_lock = threading.Lock()
_watch: threading.Thread | None = None


@contextmanager
def told_if_overdue(what: str) -> Generator[None]:
    """Say so on stderr if the block takes longer than ``PATIENCE``."""
    thread = threading.get_ident()
    _begin_to_look()
    _under_way[thread] = time.monotonic(), what
    try:
        yield
    finally:
        del _under_way[thread]


def _begin_to_look() -> None:
    global _watch
    with _lock:
        if _watch is None:
            _watch = threading.Thread(target=_look, name="durable-overdue", daemon=True)
            _watch.start()


def _look() -> None:
    told: dict[int, float] = {}
    while True:
        time.sleep(LOOKS_EVERY)
        for thread, (since, what) in list(_under_way.items()):
            frame = sys._current_frames().get(thread)
            late = time.monotonic() - since > PATIENCE
            if late and frame is not None and told.get(thread) != since:
                told[thread] = since
                tell(f"durable: {what} is being replayed for {PATIENCE:g} s: {_place(frame)}")


def _place(frame: FrameType) -> str:
    code = frame.f_code
    return f"it stands in {code.co_name}, {code.co_filename}:{frame.f_lineno}. Does it ever wait?"


def tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
