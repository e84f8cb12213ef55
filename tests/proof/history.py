"""The history of a trial: one line of JSON for each thing that a client, a worker, an activity
or the injector of faults has seen. Many processes append to one file; a line is one write."""

from __future__ import annotations

import json
import os
import time
from contextvars import ContextVar
from pathlib import Path
from typing import Any

_path: Path | None = None
_own: ContextVar[Path | None] = ContextVar("history", default=None)

# This machine's clock as of the start, carried on by the monotonic one, which no process can have
# set or skewed: whoever begins others hands it on by this name.
CLOCK = "DURABLE_PROOF_CLOCK"
_clock = float(os.environ.get(CLOCK) or time.time() - time.monotonic())


def write_to(path: Path | None) -> None:
    """From here on this process notes what it sees in that file."""
    global _path
    _path = path


def now() -> float:
    return _clock + time.monotonic()


def write_own_to(path: Path) -> None:
    """The same, for this task and those that it begins: one of many trials of this process."""
    _own.set(path)


def note(kind: str, **facts: Any) -> None:
    """Times are this machine's clock: of one trial all processes run on one machine."""
    path = _own.get() or _path
    if path is None:
        return
    line = json.dumps({"at": now(), "pid": os.getpid(), "kind": kind, **facts}, default=str)
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line.encode() + b"\n")
    finally:
        os.close(file)


def read(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
