"""Whether a server lives: asked on its socket. A pid file may name anybody."""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import Literal

_STARTUP = struct.pack("!i", 196608) + b"user\0postgres\0database\0postgres\0\0"

# SQLSTATE cannot_connect_now: starting, recovering or shutting down. Any other refusal ("too
# many clients") comes from a server that works.
_NOT_NOW = b"C57P03\0"


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
    if _NOT_NOW in answer:
        return "starting"
    return "ready" if answer[:1] in (b"R", b"E") else "down"


def has_process(data: Path) -> bool:
    """Whether some process works in the data directory, as a server and all its children do.
    Told from /proc; where there is none, the answer is no."""
    data = data.resolve()
    return any(_works_in(process, data) for process in Path("/proc").glob("[0-9]*"))


def _works_in(process: Path, data: Path) -> bool:
    try:
        return (process / "cwd").readlink() == data
    except OSError:  # it has ended, or is somebody else's
        return False


def clear_stale(data: Path, sockets: Path) -> None:
    """Remove what a killed server has left. Its pid may be another process's by now, which
    Postgres would take for a live server. Call it only when no process of a server is left."""
    if Path("/proc/self").exists():  # without /proc a server started by hand would go unseen
        (data / "postmaster.pid").unlink(missing_ok=True)
    for left in sockets.glob(".s.PGSQL.*"):
        left.unlink(missing_ok=True)
