"""DBOS Transact: workflows and steps in this process, its system tables in Postgres.

The process is pinned to one core: its threads fight for the interpreter's lock, and on two cores it
takes 1.7 times as long. Runs are started in the process (``start_workflow_async``); its queues,
which poll once a second, are slower.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from dbos import DBOS, SetWorkflowID

from ..adapter import Adapter, main

POLL_SECONDS = 0.02  # of a result that another process has begun


@DBOS.step()
async def add_one(x: int) -> int:
    return x + 1


@DBOS.workflow()
async def steps(n: int) -> int:
    x = 0
    for _ in range(n):
        x = await add_one(x)
    return x


@DBOS.workflow()
async def gather(n: int) -> int:
    return len(await asyncio.gather(*(add_one(x) for x in range(n))))


@DBOS.workflow()
async def wait(_: int) -> Any:
    return await DBOS.recv_async(timeout_seconds=3_600)


@DBOS.workflow()
async def steps_then_wait(n: int) -> int:
    x = 0
    for _ in range(n):
        x = await add_one(x)
    here.blocked += 1
    await DBOS.recv_async(timeout_seconds=3_600)
    return await add_one(x)


WORKFLOWS = {each.__name__: each for each in (steps, gather, wait, steps_then_wait)}


class Dbos(Adapter):
    name = "dbos"

    async def open(self, concurrency: int) -> None:
        global here
        here = self
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        # One version for both processes of a restart: it takes up the runs of its own alone.
        DBOS(
            config={
                "name": "bench",
                "system_database_url": self.dsn,
                "application_version": "1",
                "log_level": "WARNING",
            }
        )
        DBOS.launch()

    async def close(self) -> None:
        await asyncio.to_thread(DBOS.destroy)

    async def start(self, workflow: str, argument: int, id: str) -> Any:
        with SetWorkflowID(id):
            return await DBOS.start_workflow_async(WORKFLOWS[workflow], argument)

    async def result(self, handle: Any) -> Any:
        if self.workload == "restart-finish":  # the run is another task's here, or another's
            return await handle.get_result(polling_interval_sec=POLL_SECONDS)
        return await handle.get_result()

    async def handle(self, id: str) -> Any:
        return await DBOS.retrieve_workflow_async(id)

    async def signal(self, id: str, value: int) -> None:
        await DBOS.send_async(id, value)


here: Dbos


if __name__ == "__main__":
    main(Dbos)
