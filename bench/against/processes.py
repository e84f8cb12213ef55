"""Processes that adapters begin, and how to be rid of them. Only the standard library.

Some servers leave workers behind when they are stopped, so a process is killed with all that it
has begun. That reads /proc: elsewhere only the process itself is.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

START_SECONDS = 60.0  # for a server to listen


def child(command: Sequence[str], **around: Any) -> subprocess.Popen[Any]:
    """A process that ends with this one, however that ends, and says nothing on our stdout."""
    around = {"stdout": sys.stderr, "stdin": subprocess.DEVNULL, **around}
    # Nothing here has threads when it begins a process.
    return subprocess.Popen(command, preexec_fn=_die_with_parent, **around)  # noqa: PLW1509


def _die_with_parent() -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def kill(process: subprocess.Popen[Any]) -> None:
    """SIGKILL, also for whatever it has begun."""
    for pid in [process.pid, *_descendants(process.pid)]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue  # its parent was quicker
    process.wait()


def _descendants(pid: int) -> Iterator[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it is gone, or this is no Linux
        return
    for each in map(int, children):
        yield each
        yield from _descendants(each)


def beside_python(program: str) -> str:
    """A program of the peer's own environment."""
    return str(Path(sys.executable).with_name(program))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(port: int) -> None:
    """
    Raises:
        TimeoutError: nobody listens.
    """
    end = time.monotonic() + START_SECONDS
    while not _listens(port):
        if time.monotonic() > end:
            raise TimeoutError(f"nobody listens at port {port}")
        time.sleep(0.02)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
    except OSError:
        return False
    return True
