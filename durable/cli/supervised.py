"""A worker process that a supervisor keeps: how it says that it works, and how it ends.

Whatever ends the supervisor ends it, too: its end of their line is closed by the kernel. That is
watched by a thread, since user code may hold the loop, and is heard while modules are imported.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from contextlib import suppress

from .. import Worker
from .output import EXIT_FAILED
from .supervisor import WORKS

log = logging.getLogger("durable.supervisor")


class Line:
    """The line to the supervisor.

    Args:
        end: our end, a file descriptor.
        patience: seconds to drain in, once the supervisor is gone.
    """

    def __init__(self, end: int, *, patience: float) -> None:
        os.set_inheritable(end, False)
        self._socket = socket.socket(fileno=end)
        self._patience = patience
        # Not ours to decide by: a closed terminal reaches all its processes. No SIG_IGN, which
        # programs that activities start would inherit.
        signal.signal(signal.SIGHUP, lambda *_: None)
        threading.Thread(target=self._watch, name="durable-supervisor", daemon=True).start()

    def say_that_it_works(self) -> None:
        with suppress(OSError):  # the supervisor is gone: the thread sees to it
            self._socket.send(WORKS)

    def _watch(self) -> None:
        with suppress(OSError):
            self._socket.recv(1)  # it says nothing: this returns when it is gone
        log.warning("the supervisor is gone: draining")
        os.kill(os.getpid(), signal.SIGTERM)  # at once if nothing has begun, else it drains
        time.sleep(self._patience)
        os._exit(EXIT_FAILED)


class SupervisedWorker(Worker):
    """A worker that no second signal kills: a service manager, or a terminal, may send one to all
    processes, and the supervisor another. It has SIGKILL for those that are late."""

    def _stop(self) -> None:
        self._stopped.set()
        if self._awaits is not None:
            self._awaits.cancel()
