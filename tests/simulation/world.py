"""The world of one seed: the machine, the database, and the processes that come and go.

While it is ``entered``, what Durable would ask the operating system for (time, chance) comes from
here.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import random
import time
import warnings
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from durable._authoring import guards
from durable._runtime import instance, keys, work

from .loop import SimulatedLoop
from .process import Code, Plays, Process, SimulatedApp, SimulatedClient
from .server import Server
from .watch import Watch

# A worker that leaves has its grace, and a while to write what it knows.
GRACE = 2.0


class World:
    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.loop = SimulatedLoop(self.chance)
        self.server = Server(self.loop)
        self.watch = self.server.watch = Watch(self.server)
        self.plays: dict[str, Plays] = {}  # activities that the world plays, by name
        self.workers: dict[str, Process] = {}  # that are to live, by place
        self.clients: list[Process] = []
        self.graves: list[Process] = []
        self._births = itertools.count(1)
        self._instances: list[instance.Instance] = []  # whose code has begun

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Chance and time are this world's; nothing is logged, and warnings are not shown."""
        disabled, begins = logging.root.manager.disable, instance.Instance._begin_code

        def begin_code(run: instance.Instance, args: tuple[Any, ...] | None = None) -> None:
            self._instances.append(run)
            begins(run, args)

        with (
            mock.patch.object(os, "urandom", lambda size: self.chance.randbytes(size)),
            mock.patch.object(time, "monotonic", self.loop.time),
            mock.patch.object(keys, "_prefix", bytes(8)),
            mock.patch.object(keys, "_count", itertools.count()),
            mock.patch.object(work, "_nths", itertools.count(1)),
            mock.patch.object(instance.Instance, "_begin_code", begin_code),
            mock.patch.object(guards, "read", lambda _: None),  # each worker reads all code anew
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            logging.disable(logging.CRITICAL)
            try:
                yield
            finally:
                logging.disable(disabled)

    def run(self, story: Coroutine[Any, Any, None]) -> None:
        """Tell it to its end, and leave nothing behind."""
        with self.entered():
            try:
                self.loop.run_until_complete(story)
            finally:
                self._bury()
                self.loop.close()

    # Workers

    def begin_worker(self, place: str, code: Code, *, cached: int, lease: float) -> Process:
        process = Process(self, f"{place}.{next(self._births)}")
        self.workers[place] = process
        app = SimulatedApp(serve=code.serve, build=code.build, grace=GRACE, lease=lease)
        app.process, app.code, app.cached = process, code, cached
        process.app = app
        self.watch.tell(f"{process.name} begins with build {code.build}, cache {cached}")
        process.life = process.begin(self._live(process))
        return process

    async def _live(self, process: Process) -> None:
        """Enter, as often as it takes: the database may be away."""
        app = process.app
        while not process.is_dead:
            try:
                await app.__aenter__()
            except Exception as error:
                self.watch.tell(f"{process.name} could not begin: {error!r}")
                await asyncio.sleep(0.5)
            else:
                return

    def kill(self, place: str, *, host_is_gone: bool) -> None:
        process = self.workers.pop(place)
        self.watch.tell(f"{process.name} is killed")
        process.kill(host_is_gone=host_is_gone)
        self.graves.append(process)

    def leave(self, place: str) -> asyncio.Task[Any]:
        """In order: what it has goes back."""
        process = self.workers.pop(place)
        self.watch.tell(f"{process.name} leaves")
        self.graves.append(process)

        async def leave() -> None:
            assert process.life is not None
            if not process.life.done():
                process.life.cancel()
                await asyncio.wait([process.life])
            if process.app._store is not None:
                await process.app.__aexit__(None, None, None)
            process.road.leave()

        return process.begin(leave())

    def client(self, name: str) -> Process:
        process = Process(self, name)
        process.app = SimulatedClient()
        process.app.process = process
        self.clients.append(process)
        return process

    # The end

    def _bury(self) -> None:
        """Whatever is left in the processes that died ends now, and reaches nobody."""
        self.server.is_up = False
        self.server.watch = None
        for process in [*self.graves, *self.workers.values(), *self.clients]:
            process.road.is_dead = True
            for lane in process.host, process.beats:
                lane.held = 0
        self.loop.run_until_complete(self._unwind())

    async def _unwind(self) -> None:
        for run in self._instances:  # a process that is dead closes nothing
            run.replayer.close()
        me = asyncio.current_task()
        for _ in range(100):
            left = asyncio.all_tasks() - {me}
            if not left:
                return
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=1.0)
        raise AssertionError(f"tasks that never end: {left}")
