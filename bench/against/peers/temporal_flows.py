"""The workflows of the Temporal peer, in a module of their own: the SDK's sandbox imports it anew
for each run."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import activity, workflow

LIMIT = timedelta(seconds=30)


@activity.defn
async def add_one(x: int) -> int:
    return x + 1


async def step(x: int) -> int:
    return await workflow.execute_local_activity(add_one, x, start_to_close_timeout=LIMIT)


@workflow.defn
class Steps:
    @workflow.run
    async def run(self, n: int) -> int:
        x = 0
        for _ in range(n):
            x = await step(x)
        return x


@workflow.defn
class Gather:
    @workflow.run
    async def run(self, n: int) -> int:
        return len(await asyncio.gather(*(step(x) for x in range(n))))


@workflow.defn
class Wait:
    def __init__(self) -> None:
        self.got: int | None = None

    @workflow.run
    async def run(self, _: int) -> int | None:
        await workflow.wait_condition(lambda: self.got is not None)
        return self.got

    @workflow.signal
    def go(self, value: int) -> None:
        self.got = value


@workflow.defn
class StepsThenWait:
    def __init__(self) -> None:
        self.got: int | None = None
        self.blocked = False

    @workflow.run
    async def run(self, n: int) -> int:
        x = 0
        for _ in range(n):
            x = await step(x)
        await workflow.execute_activity("blocked", x, start_to_close_timeout=LIMIT)
        await workflow.wait_condition(lambda: self.got is not None)
        return await step(x)

    @workflow.signal
    def go(self, value: int) -> None:
        self.got = value


WORKFLOWS = {"steps": Steps, "gather": Gather, "wait": Wait, "steps_then_wait": StepsThenWait}
