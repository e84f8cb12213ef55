"""Durable: client and worker in one process, with its public names alone."""

from __future__ import annotations

import asyncio

from durable import Context, Durable, Handle, Signal, activity, workflow

from ..adapter import Adapter, main

go = Signal[int]("go")


@activity
async def add_one(x: int) -> int:
    return x + 1


@workflow
async def steps(ctx: Context, n: int) -> int:
    x = 0
    for _ in range(n):
        x = await ctx.activity(add_one, x)
    return x


@workflow
async def gather(ctx: Context, n: int) -> int:
    return len(await asyncio.gather(*(ctx.activity(add_one, x) for x in range(n))))


@workflow
async def wait(ctx: Context, _: int) -> int:
    return await ctx.receive(go)


@workflow
async def steps_then_wait(ctx: Context, n: int) -> int:
    x = 0
    for _ in range(n):
        x = await ctx.activity(add_one, x)
    here.blocked += 1
    await ctx.receive(go)
    return await ctx.activity(add_one, x)


WORKFLOWS = {each.__name__: each for each in (steps, gather, wait, steps_then_wait)}


class Ours(Adapter):
    name = "ours"
    runs_are_calls = True
    calls_at_once = 1_000

    async def open(self, concurrency: int) -> None:
        global here
        here = self
        self.app = Durable(self.dsn, serve=WORKFLOWS.values(), runs_max=1_000, activities_max=1_000)
        await self.app.__aenter__()

    async def close(self) -> None:
        await self.app.__aexit__(None, None, None)

    async def start(self, workflow: str, argument: int, id: str) -> Handle[int]:
        return await self.app.start(WORKFLOWS[workflow], argument, id=id)

    async def result(self, handle: Handle[int]) -> int:
        return await handle.result()

    async def run(self, workflow: str, argument: int) -> int:
        return await self.app.run(WORKFLOWS[workflow], argument)

    async def handle(self, id: str) -> Handle[int]:
        return self.app.handle(id, steps_then_wait)

    async def signal(self, id: str, value: int) -> None:
        await self.app.handle(id).signal(go, value)


here: Ours


if __name__ == "__main__":
    main(Ours)
