"""Who this process is, in a way that tells whether another one on this machine still lives.

Linux only: elsewhere ``host`` is empty, and death is judged by heartbeats alone.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

from .._store.protocol import Registration
from .options import WorkerOptions


def name() -> str:
    """``host:pid``, for people."""
    return f"{socket.gethostname()}:{os.getpid()}"


def registration(workflows: Iterable[str], options: WorkerOptions) -> Registration:
    """This process as a worker, under a key that nobody has had."""
    worker, pid = uuid4(), os.getpid()
    return Registration(
        worker=worker,
        name=name(),
        host=_host(),
        pid=pid,
        pid_started=_started(pid) or 0,
        workflows=tuple(sorted(workflows)),
        queues=options.queues,
        build=options.build or str(worker),
        lease_seconds=options.lease,
    )


def is_gone(host: str, pid: int, pid_started: int) -> bool:
    """Whether that process provably does not exist any more: same boot, same pid namespace,
    and no process, or a younger one, under its pid. False whenever in doubt."""
    if not host or not pid_started or host != _host():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # it lives, under another user
    started = _started(pid)
    return (started is not None and started != pid_started) or _is_zombie(pid)


def _host() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


def _started(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def _is_zombie(pid: int) -> bool:
    """Dead, and not yet reaped. With threads left, only its first thread has ended."""
    fields = _stat(pid)
    try:
        return (
            bool(fields)
            and fields[0] == "Z"
            and len(list(Path(f"/proc/{pid}/task").iterdir())) == 1
        )
    except OSError:
        return False


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, which may hold anything; state is first."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
