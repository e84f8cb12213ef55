"""Temporal: the development server of its command line, with an SQLite file. Not a cluster.

Steps are local activities, its own word for short ones: three times as fast here as activities.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

from ..adapter import Adapter, main
from ..processes import beside_python, child, free_port, kill, wait_for_port
from .temporal_flows import WORKFLOWS, add_one

PORT = "BENCH_TEMPORAL"  # for the processes of a restart
QUEUE = "bench"
RESULTS_AT_ONCE = 500  # the server allows 1,200 long polls in a namespace
SECONDS_TO_END = 5.0


@activity.defn(name="blocked")
async def blocked(x: int) -> int:
    here.blocked += 1
    return x


class Temporal(Adapter):
    name = "temporal"

    def prepare(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="bench-temporal-"))
        os.environ[PORT] = str(free_port())
        self.server = child(
            [
                beside_python("temporal"), "server", "start-dev", "--headless",
                "--ip", "127.0.0.1", "--port", os.environ[PORT], "--log-level", "error",
                "--db-filename", str(self.directory / "temporal.db"),
            ],
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        wait_for_port(int(os.environ[PORT]))

    def end(self) -> None:
        kill(self.server)
        shutil.rmtree(self.directory, ignore_errors=True)

    async def open(self, concurrency: int) -> None:
        global here
        here = self
        self.at_once = asyncio.Semaphore(RESULTS_AT_ONCE)
        self.client = await self._connected()
        self.worker = Worker(
            self.client,
            task_queue=QUEUE,
            workflows=list(WORKFLOWS.values()),
            activities=[add_one, blocked],
        )
        self.task = asyncio.ensure_future(self.worker.run())

    async def _connected(self) -> Client:
        """The server listens a moment before it is ready."""
        for _ in range(100):
            try:
                return await Client.connect(f"127.0.0.1:{os.environ[PORT]}")
            except RuntimeError:
                await asyncio.sleep(0.1)
        raise TimeoutError("Temporal's server does not answer")

    async def close(self) -> None:
        await asyncio.wait([asyncio.ensure_future(self.worker.shutdown())], timeout=SECONDS_TO_END)

    async def start(self, workflow: str, argument: int, id: str) -> Any:
        code: Any = WORKFLOWS[workflow]
        return await self.client.start_workflow(code.run, argument, id=id, task_queue=QUEUE)

    async def result(self, handle: Any) -> Any:
        async with self.at_once:
            return await handle.result()

    async def handle(self, id: str) -> Any:
        return self.client.get_workflow_handle(id, result_type=int)

    async def signal(self, id: str, value: int) -> None:
        await self.client.get_workflow_handle(id).signal("go", value)


here: Temporal


if __name__ == "__main__":
    main(Temporal)
