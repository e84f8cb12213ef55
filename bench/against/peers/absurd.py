"""Absurd: a Postgres schema and a thin SDK; results are asked for again and again.

Four workers in this process, a connection each, since one worker does one thing at a time on its
own; for the idle latency one is enough. All ask for work each 5 ms instead of each 250, and so
does the client for results.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

from absurd_sdk import AsyncAbsurd

from ..adapter import Adapter, main
from ..processes import beside_python

WORKERS = 4
POLL_SECONDS = 0.005


async def add_one(x: int) -> int:
    return x + 1


async def steps(argument: dict[str, Any], ctx: Any) -> int:
    x = 0
    for _ in range(argument["n"]):
        x = await step(ctx, "add_one", x)
    return x


async def gather(argument: dict[str, Any], ctx: Any) -> int:
    some = (step(ctx, f"add_one {x}", x) for x in range(argument["n"]))
    return len(await asyncio.gather(*some))


async def wait(argument: dict[str, Any], ctx: Any) -> Any:
    return await ctx.await_event(f"go:{argument['id']}")


async def steps_then_wait(argument: dict[str, Any], ctx: Any) -> int:
    x = await steps(argument, ctx)
    here.blocked += 1
    await ctx.await_event(f"go:{argument['id']}")
    return await step(ctx, "last", x)


async def step(ctx: Any, name: str, x: int) -> int:
    done: int = await ctx.step(name, lambda: add_one(x))
    return done


class Absurd(Adapter):
    name = "absurd"
    results_are_polled = True

    def prepare(self) -> None:
        for command in (["init", "-d", self.dsn], ["create-queue", "-d", self.dsn, "default"]):
            subprocess.run([beside_python("absurdctl"), *command], check=True, stdout=sys.stderr)

    async def open(self, concurrency: int) -> None:
        global here
        here = self
        workers = min(WORKERS, concurrency)
        self.workers = [self._new() for _ in range(workers)]
        self.tasks = [
            asyncio.ensure_future(
                each.start_worker(
                    concurrency=max(1, concurrency // workers), poll_interval=POLL_SECONDS
                )
            )
            for each in self.workers
        ]
        self.client = self._new()
        await self.client.list_queues()  # connect: first calls at once would open one each

    def _new(self) -> Any:
        app = AsyncAbsurd(self.dsn)
        for each in (steps, gather, wait, steps_then_wait):
            app.register_task(each.__name__)(each)
        return app

    async def close(self) -> None:
        for each in self.workers:
            each.stop_worker()
        await asyncio.gather(*self.tasks)
        for each in (*self.workers, self.client):
            await each.close()

    async def start(self, workflow: str, argument: int, id: str) -> str:
        task = await self.client.spawn(workflow, {"n": argument, "id": id}, idempotency_key=id)
        found: str = task["task_id"]
        return found

    async def result(self, handle: str) -> Any:
        while True:
            found = await self.client.fetch_task_result(handle)
            if found.state == "completed":
                return found.result
            if found.state in ("failed", "cancelled"):
                raise RuntimeError(str(found))
            await asyncio.sleep(POLL_SECONDS)

    async def handle(self, id: str) -> str:
        # The key finds the task that is there.
        return await self.start("steps_then_wait", self.steps, id)

    async def signal(self, id: str, value: int) -> None:
        await self.client.emit_event(f"go:{id}", value)


here: Absurd


if __name__ == "__main__":
    main(Absurd)
