"""The branches of random programs that are anyio's."""

from __future__ import annotations

import math
from typing import Any

import anyio

from .programs import Node, Program, act, branch, sequence


@branch
async def moves_on(p: Program, n: int, children: list[Node]) -> None:
    with anyio.move_on_after(n / 3) as scope:
        await sequence(p, n, children)
    p.note("moved on", scope.cancelled_caught)


@branch
async def fails_after(p: Program, n: int, children: list[Node]) -> None:
    try:
        with anyio.fail_after(n / 3, shield=n % 2 == 0):
            await sequence(p, n, children)
    except TimeoutError:
        p.note("failed after")


@branch
async def nursery(p: Program, n: int, children: list[Node]) -> None:
    async def start(*, task_status: Any = anyio.TASK_STATUS_IGNORED) -> None:
        await p.ctx.activity(act, "starting", n)
        task_status.started(n)
        await p.ctx.activity(act, "started", n)

    try:
        async with anyio.create_task_group() as tasks:
            for i, each in enumerate(children):
                tasks.start_soon(*((p.safely, each, i) if n % 2 else (p.do, each)))
            if n % 3 == 0:
                tasks.start_soon(p.ctx.activity, act, "soon", n)
            if n % 5 == 0:
                p.note(await tasks.start(start))
    except BaseExceptionGroup as caught:
        left = caught.split(lambda error: type(error).__name__ == "Mishap")[1]
        p.note("nursery", len(caught.exceptions))
        if left is not None:
            raise left from None


@branch
async def cancels(p: Program, n: int, children: list[Node]) -> None:
    async def protected(i: int, each: Node) -> None:
        try:
            await p.safely(each, i)
        finally:
            with anyio.CancelScope(shield=True):
                p.note(await p.ctx.activity(act, "undo", i))

    async with anyio.create_task_group() as tasks:
        for i, each in enumerate(children):
            tasks.start_soon(protected, i, each)
        if n % 4 == 0:
            tasks.start_soon(anyio.sleep, math.inf)
        if n % 3:
            await p.ctx.activity(act, "go", n)
        tasks.cancel_scope.cancel()


@branch
async def nests(p: Program, n: int, children: list[Node]) -> None:
    async def inner(i: int, each: Node) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(p.safely, each, i)
            with anyio.CancelScope(shield=i % 2 == 0) as scope:
                await p.ctx.activity(act, "inner", i)
                scope.shield = False
                await p.ctx.activity(act, "open", i)

    with anyio.move_on_after(n / 2):
        async with anyio.create_task_group() as tasks:
            for i, each in enumerate(children):
                tasks.start_soon(inner, i, each)
    await anyio.lowlevel.checkpoint()


@branch
async def streams(p: Program, n: int, children: list[Node]) -> None:
    send, receive = anyio.create_memory_object_stream[str](n % 3)

    async def produce(i: int, stream: Any) -> None:
        async with stream:
            for each in children:
                await stream.send(await p.safely(each, i))

    async def consume(stream: Any) -> None:
        async with stream:
            async for each in stream:
                p.note("received", each)

    async with anyio.create_task_group() as tasks, send, receive:
        tasks.start_soon(produce, 0, send.clone())
        tasks.start_soon(produce, 1, send.clone())
        tasks.start_soon(consume, receive.clone())
        tasks.start_soon(consume, receive.clone())
        await p.ctx.activity(act, "stream", n)


@branch
async def primitives(p: Program, n: int, children: list[Node]) -> None:
    ready, condition = anyio.Event(), anyio.Condition()
    kinds: tuple[Any, ...] = (
        anyio.Lock,
        lambda: anyio.Semaphore(2),
        lambda: anyio.CapacityLimiter(1),
    )
    lock = kinds[n % 3]()

    async def enter(i: int, each: Node) -> None:
        await ready.wait()
        async with lock:
            await p.safely(each, i)
        async with condition:
            condition.notify()

    async def watch() -> None:
        async with condition:
            await condition.wait()
        p.note("notified")

    with anyio.move_on_after(n) as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            for i, each in enumerate(children):
                tasks.start_soon(enter, i, each)
            await p.ctx.activity(act, "ready", n)
            ready.set()
    p.note("primitives", scope.cancelled_caught)
