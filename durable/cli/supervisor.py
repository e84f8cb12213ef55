"""Several worker processes kept by one: ``durable worker --processes 4``.

The supervisor imports no code of the user's and opens no connection, so there is little in it that
could fail. Each process is an ordinary ``durable worker`` with a line to it (``supervised.py``), is
known to the database by itself, and loses nothing when it dies. So this file decides only when one
begins and when it is told to leave:

    begins alone   the first of all: what keeps it from working would keep the others, and is told
                   once, by its exit code
    begins again   one that has ended by itself, after a pause that doubles
    is replaced    at SIGHUP, one after the other: the old one leaves when the new one works
    leaves         at SIGTERM or SIGINT; a second signal ends all at once
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from .output import EXIT_FAILED

log = logging.getLogger("durable.supervisor")

# What a process says on its line when it works.
WORKS = b"+"

# A new one that takes longer to begin does not replace an old one.
BEGIN_SECONDS = 60.0

# The command of a new process: its end of the line, and the build that its generation shares.
Command = Callable[[int, str], list[str]]


@dataclass(frozen=True, slots=True)
class Restarts:
    """How often a process that ends by itself begins again, and after which pauses (seconds).

    ``tries`` is above the number of workers that a run may kill before it is set aside as
    *stuck* (``_runtime.doubtful.CRASHES_MAX``): such a run is no reason to give up.
    """

    first: float = 0.1
    most: float = 30.0
    tries: int = 8
    steady: float = 60.0  # who has worked that long begins to count anew

    def pause(self, failures: int) -> float:
        return min(self.first * 2.0 ** (failures - 1), self.most)


class Child:
    """One worker process, as its supervisor sees it."""

    def __init__(self, command: Command, build: str) -> None:
        loop = asyncio.get_running_loop()
        self._works: asyncio.Future[None] = loop.create_future()
        self._gone: asyncio.Future[int] = loop.create_future()
        self._line, theirs = socket.socketpair()
        self._line.setblocking(False)
        with theirs:
            end = theirs.fileno()
            self._process = subprocess.Popen(command(end, build), pass_fds=(end,))
        self.pid = self._process.pid
        self._since, self._until = time.monotonic(), float("inf")
        loop.add_reader(self._line, self._hear)

    @property
    def lived(self) -> float:
        """Seconds."""
        return min(time.monotonic(), self._until) - self._since

    async def works(self, within: float | None = None) -> bool:
        """Wait until it works; False if it ends before, or is late."""
        either: set[asyncio.Future[Any]] = {self._works, self._gone}
        await asyncio.wait(either, timeout=within, return_when=asyncio.FIRST_COMPLETED)
        return self._works.done()

    async def ends(self, within: float | None = None) -> bool:
        """Wait until it has ended; False if it is late."""
        await asyncio.wait({self._gone}, timeout=within)
        return self._gone.done()

    @property
    def code(self) -> int | None:
        """Its exit code, or the negative number of the signal that ended it."""
        return self._gone.result() if self._gone.done() else None

    @property
    def told(self) -> str:
        """What became of it, in words."""
        if self.code is None:
            return f"has not begun to work for {self.lived:.0f} s"
        if self.code < 0:
            return f"was ended by {signal.Signals(-self.code).name}"
        return f"ended with code {self.code}"

    def tell(self, number: signal.Signals) -> None:
        self._process.send_signal(number)  # not if it was reaped: its number may be another's now

    def reap(self) -> bool:
        """Whether it has ended. Its line would not tell: processes of its own may hold it."""
        code = self._process.poll()
        if code is None:
            return False
        self._until = time.monotonic()
        asyncio.get_running_loop().remove_reader(self._line)
        self._line.close()
        self._gone.set_result(code)
        return True

    def _hear(self) -> None:
        asyncio.get_running_loop().remove_reader(self._line)
        with suppress(OSError):
            if self._line.recv(len(WORKS)):
                self._works.set_result(None)


class Slot:
    """The place of one process: which one has it, and how many it has lost in succession."""

    def __init__(self, number: int, child: Child) -> None:
        self.number = number
        self.child = child
        self.failures = 0

    def is_hopeless(self, restarts: Restarts) -> bool:
        return self.failures >= restarts.tries and self.child.lived < restarts.steady


class Hopeless(Exception):
    """No process lives for long."""


class Supervisor:
    """Keeps ``processes`` worker processes until it is told to stop.

    Args:
        command: makes the command line of one.
        processes: how many.
        patience: seconds that one may take to leave before it is killed.
        new_build: names a generation: all that begin between two SIGHUPs.
    """

    def __init__(
        self,
        command: Command,
        processes: int,
        *,
        patience: float,
        new_build: Callable[[], str],
        restarts: Restarts | None = None,
    ) -> None:
        self._command = command
        self._processes = processes
        self._patience = patience
        self._new_build, self._build = new_build, new_build()
        self._restarts = restarts or Restarts()
        self._children: set[Child] = set()
        self._slots: list[Slot] = []
        self._replace = asyncio.Event()
        self._is_stopping = False
        self._code = 0
        self._had_terminal = has_terminal()
        self._stays = False  # when its terminal is closed

    async def run(self) -> int:
        """Until it is told to stop, or gives up. Returns the exit code."""
        loop = asyncio.get_running_loop()
        self._keeping = asyncio.ensure_future(self._keep_all())
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        self._stays = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN  # as `nohup` has it
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        try:
            self._code = await self._keeping
        except asyncio.CancelledError:
            pass  # it was told to stop
        finally:
            await self._leave()
        return self._code

    # Signals

    def _reap(self) -> None:
        self._children = {each for each in self._children if not each.reap()}

    def _stop(self, number: signal.Signals) -> None:
        if self._is_stopping:
            log.warning("%s again: all processes are killed", number.name)
            self._code = 128 + number
            for each in self._children:
                each.tell(signal.SIGKILL)
            return
        self._is_stopping = True
        log.info("%s: all processes drain", number.name)
        self._keeping.cancel()

    def _hang_up(self) -> None:
        if self._had_terminal and not has_terminal():  # it was closed: nobody asks for new code
            self._had_terminal = False
            if not self._is_stopping and not self._stays:
                self._stop(signal.SIGHUP)
        else:
            self._replace.set()

    # Keeping

    def _begin(self) -> Child:
        child = Child(self._command, self._build)
        self._children.add(child)
        return child

    async def _keep_all(self) -> int:
        first = self._begin()
        if not await first.works():
            log.error("the first process %s before it worked", first.told)
            return first.code if first.code and first.code > 0 else EXIT_FAILED
        others = (self._begin() for _ in range(1, self._processes))
        self._slots = [Slot(number, child) for number, child in enumerate((first, *others), 1)]
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._replace_when_told())
                for slot in self._slots:
                    group.create_task(self._keep(slot))
        except* Hopeless:
            log.error(
                "giving up: each process has ended by itself %d times in succession, and none has "
                "worked for %.0f s. Why stands above",
                self._restarts.tries,
                self._restarts.steady,
            )
        return EXIT_FAILED

    async def _keep(self, slot: Slot) -> None:
        while True:
            child = slot.child
            await child.ends()
            told = child.told
            while slot.child is child:  # it was not replaced
                pause = self._lost(slot)
                log.error(
                    "process %d (pid %d) %s; another begins in %.1f s",
                    slot.number, child.pid, told, pause,
                )  # fmt: skip
                await asyncio.sleep(pause)
                try:
                    if slot.child is child:
                        slot.child = self._begin()
                except OSError as error:
                    told = f"cannot begin again: {error}"

    def _lost(self, slot: Slot) -> float:
        """Seconds until the next one begins."""
        if slot.child.lived >= self._restarts.steady:
            slot.failures = 0
        slot.failures += 1
        if all(each.is_hopeless(self._restarts) for each in self._slots):
            raise Hopeless
        return self._restarts.pause(slot.failures)

    # Replacing

    async def _replace_when_told(self) -> None:
        while True:
            await self._replace.wait()
            self._replace.clear()
            log.info("SIGHUP: processes are replaced, one by one")
            self._build = self._new_build()
            for slot in self._slots:
                if not await self._was_replaced(slot):
                    break
            else:
                log.info("all processes are replaced")

    async def _was_replaced(self, slot: Slot) -> bool:
        try:
            new = self._begin()
        except OSError as error:
            log.error("no new process can begin: %s; the old ones stay", error)
            return False
        if not await new.works(within=BEGIN_SECONDS):
            log.error(
                "the new process (pid %d) %s; the old ones that are left stay. Mend what it says "
                "and send SIGHUP again",
                new.pid, new.told,
            )  # fmt: skip
            new.tell(signal.SIGKILL)
            await new.ends()
            return False
        old, slot.child, slot.failures = slot.child, new, 0
        log.info("process %d: pid %d replaces pid %d", slot.number, new.pid, old.pid)
        await self._end({old})
        return True

    # Leaving

    async def _leave(self) -> None:
        if not await self._end(set(self._children)):
            self._code = self._code or EXIT_FAILED

    async def _end(self, children: set[Child]) -> bool:
        """Let them drain; whether all did within their time."""
        for each in children:
            each.tell(signal.SIGTERM)
        ended = await asyncio.gather(*(each.ends(within=self._patience) for each in children))
        late = [each for each, has_ended in zip(children, ended, strict=True) if not has_ended]
        for each in late:
            log.error("pid %d has not left within %.0f s: it is killed", each.pid, self._patience)
            each.tell(signal.SIGKILL)
            await each.ends()
        return not late


def has_terminal() -> bool:
    """Whether this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
