"""Whether a server lives: asked on its socket. A pid file may name anybody."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

_STARTUP = struct.pack("!i", 196608) + b"user\0postgres\0database\0postgres\0\0"


def ping(path: str, timeout: float = 1.0) -> Literal["ready", "starting", "down"]:
    """Begin a session, and see how it is answered."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(timeout)
        try:
            link.connect(path)
            link.sendall(struct.pack("!i", len(_STARTUP) + 4) + _STARTUP)
            answer = link.recv(512)
        except OSError:
            return "down"
    if answer[:1] == b"R":
        return "ready"
    return "starting" if answer[:1] == b"E" else "down"


def has_process(directory: Path) -> bool:
    """Whether some process works in the data directory, as the server and all its children
    do. Where /proc does not tell, the pid file must do."""
    if Path("/proc/self").exists():
        return any(True for _ in _inside(directory))
    try:
        os.kill(int((directory / "postmaster.pid").read_text().split("\n", 1)[0]), 0)
    except (OSError, ValueError):
        return False
    return True


def _inside(directory: Path) -> Iterator[str]:
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                if (process / "cwd").readlink() == directory:
                    yield process.name
            except OSError:
                continue


def clear_stale(directory: Path, sockets: Path) -> None:
    """Something stands where the server wants to: a server that is still dying is waited for;
    a pid file that names somebody else is removed."""
    if not Path("/proc/self").exists() or has_process(directory):
        time.sleep(0.1)
        return
    (directory / "postmaster.pid").unlink(missing_ok=True)
    for left in sockets.glob(".s.PGSQL.*"):
        left.unlink(missing_ok=True)
