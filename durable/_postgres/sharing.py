"""Who starts a server, who uses it, and whether a process of it is left: three file locks.

They lie beside the data directory. The kernel drops a lock when the last process that holds
its file has gone, however it went; so nothing here can be stale. The server itself holds one:
it inherits the open file, and hands it on to each of its processes. That holds in another
container too, whose processes cannot be seen from here.

Open the locks in the process that uses them: a fork inherits them.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Generator
from pathlib import Path
from typing import IO


class Locks:
    """The locks of one data directory."""

    def __init__(self, data: Path) -> None:
        self._starting = data.with_name(f".{data.name}.lock")
        self._users = data.with_name(f".{data.name}.clients")
        self._server = data.with_name(f".{data.name}.server")
        self._in_use: IO[str] | None = None

    @contextlib.contextmanager
    def alone(self) -> Generator[None, None, None]:
        """Nobody else starts or stops the server meanwhile."""
        with self._starting.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def join(self) -> None:
        """Count as a user of the server, until ``leave`` or our death."""
        self._in_use = self._users.open("a")
        fcntl.flock(self._in_use, fcntl.LOCK_SH)

    def leave(self) -> bool:
        """Stop counting; whether nobody is left. Call it ``alone``."""
        if self._in_use is None:
            return False
        with self._in_use as users:
            self._in_use = None
            fcntl.flock(users, fcntl.LOCK_UN)
            return _taken(users)

    @contextlib.contextmanager
    def for_server(self) -> Generator[int | None, None, None]:
        """The file that a new server inherits, locked; None: processes of a server hold it."""
        with self._server.open("a") as file:
            yield file.fileno() if _taken(file) else None

    def server_is_gone(self) -> bool:
        with self.for_server() as free:
            return free is not None


def _taken(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
