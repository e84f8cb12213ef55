"""Random programs, as trees: what a node means is a small coroutine each."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio

from durable import Context, Signal, State, Stream, activity

Node = list[Any]  # [kind, number, children]


class Mishap(Exception):
    """An activity of a random program has failed."""


heard = Signal[int]("fuzz.heard")
told, where = Stream[str]("fuzz.told"), State[int]("fuzz.where")


@activity(name="fuzz", raises=(Mishap,))
async def act(tag: str, number: int) -> str:
    raise NotImplementedError


class Program:
    """One run of a tree. ``seen`` is what the code has noticed, in order."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        self.seen: list[str] = []

    def note(self, *what: object) -> None:
        self.seen.append(" ".join(map(str, what)))

    async def do(self, node: Node) -> str:
        kind, number, children = node
        await KINDS[kind](self, number, children)
        return f"{kind}{number}"

    async def safely(self, node: Node, tag: object = "") -> str:
        """What a failure does not get past, and a cancellation not unnoticed."""
        try:
            return await self.do(node)
        except Mishap:
            self.note("mishap", tag)
            return "mishap"
        except asyncio.CancelledError:
            self.note("cancelled", tag)
            self.ctx.log.info("compensate %s", tag)
            raise

    async def root(self, node: Node) -> list[str]:
        try:
            await self.do(node)
        except (Mishap, TimeoutError, ExceptionGroup) as error:
            self.note("ends with", type(error).__name__)
        return self.seen


Kind = Callable[[Program, int, list[Node]], Awaitable[None]]
LEAVES: dict[str, Kind] = {}
BRANCHES: dict[str, Kind] = {}


def leaf(kind: Kind) -> Kind:
    LEAVES[kind.__name__] = kind
    return kind


def branch(kind: Kind) -> Kind:
    BRANCHES[kind.__name__] = kind
    return kind


def grow(chance: random.Random, depth: int = 0) -> Node:
    """A random tree."""
    number = chance.randrange(40)
    if depth > 3 or (depth and chance.random() < 0.35):
        return [chance.choice(sorted(LEAVES)), number, []]
    children = [grow(chance, depth + 1) for _ in range(chance.randint(2, 3))]
    return [chance.choice(sorted(BRANCHES)), number, children]


# Leaves


@leaf
async def one(p: Program, n: int, _: list[Node]) -> None:
    p.note(await p.ctx.activity(act, "a", n))


@leaf
async def another(p: Program, n: int, _: list[Node]) -> None:
    p.note(await p.ctx.activity(act, "b", number=n))


@leaf
async def two(p: Program, n: int, _: list[Node]) -> None:
    first = p.ctx.activity(act, "c", n)
    await p.ctx.activity(act, "d", n)
    p.note(await first)


@leaf
async def forgotten(p: Program, n: int, _: list[Node]) -> None:
    p.ctx.activity(act, "forgotten", n)


@leaf
async def child(p: Program, n: int, _: list[Node]) -> None:
    p.note(await p.ctx.child("fuzz.child", n, id=f"named {n}" if n % 4 == 0 else None))


@leaf
async def kept_child(p: Program, n: int, _: list[Node]) -> None:
    kept = await p.ctx.start_child("fuzz.child", n)
    if n % 3:
        kept.signal(heard, n)
    if n % 4 == 0:
        kept.cancel()
    if n % 5:
        p.note(await kept.result(), kept.id)


@leaf
async def hurried_child(p: Program, n: int, _: list[Node]) -> None:
    try:
        async with asyncio.timeout(n / 5):
            p.note(await p.ctx.child("fuzz.child", n))
    except TimeoutError:
        p.note("too late for", n)


@leaf
async def sleeps(p: Program, n: int, _: list[Node]) -> None:
    await (p.ctx.sleep, asyncio.sleep, anyio.sleep)[n % 3](n / 7)


@leaf
async def yields(p: Program, n: int, _: list[Node]) -> None:
    for _i in range(n % 4):
        await (asyncio.sleep(0) if n % 2 else anyio.lowlevel.checkpoint())


@leaf
async def clock(p: Program, n: int, _: list[Node]) -> None:
    p.note(p.ctx.now().timestamp(), asyncio.get_running_loop().time(), anyio.current_time())


@leaf
async def chance(p: Program, n: int, _: list[Node]) -> None:
    p.note(p.ctx.random.random(), p.ctx.random.randrange(1 + n), p.ctx.uuid4())
    await p.ctx.activity(act, "chance", p.ctx.random.getrandbits(32))


@leaf
async def shows(p: Program, n: int, _: list[Node]) -> None:
    for i in range(n % 3):
        p.ctx.publish(told, f"{n} {i}")
        p.ctx.set(where, i)
    await p.ctx.activity(act, "shown", n)
    p.ctx.set(where, n)


@leaf
async def promised(p: Program, n: int, _: list[Node]) -> None:
    first, second = p.ctx.promise(str), p.ctx.promise(str, name=f"promise {n}")
    p.note(first.token, second.token)
    try:
        async with asyncio.timeout(n / 3 if n % 2 else None):
            p.note(await second, await first)
    except TimeoutError:
        p.note("nobody answers")


@leaf
async def census(p: Program, n: int, _: list[Node]) -> None:
    """Sets of tasks and futures, walked by hash."""
    tasks = {asyncio.ensure_future(p.ctx.activity(act, "set", i)) for i in range(n % 6)}
    groups: set[asyncio.Future[Any]] = {asyncio.gather(each) for each in tasks}
    await asyncio.sleep(0)
    p.note(len(asyncio.all_tasks()))
    for each in [*groups, *tasks]:
        each.cancel()
    for each in groups:
        with contextlib.suppress(asyncio.CancelledError):
            await each


# Branches: plain asyncio


@branch
async def sequence(p: Program, n: int, children: list[Node]) -> None:
    for each in children:
        await p.safely(each, n)


@branch
async def gathers(p: Program, n: int, children: list[Node]) -> None:
    todo = [p.safely(each, i) if n % 2 else p.do(each) for i, each in enumerate(children)]
    p.note(*await asyncio.gather(*todo, return_exceptions=n % 3 == 0))


@branch
async def group(p: Program, n: int, children: list[Node]) -> None:
    try:
        async with asyncio.TaskGroup() as tasks:
            for i, each in enumerate(children):
                tasks.create_task(p.safely(each, i) if n % 2 else p.do(each))
            if n % 3 == 0:
                tasks.create_task(p.ctx.activity(act, "direct", n))
            if n % 5 == 0:
                await p.ctx.activity(act, "body", n)
    except* Mishap as caught:
        p.note("group", len(caught.exceptions))


@branch
async def timeout(p: Program, n: int, children: list[Node]) -> None:
    try:
        when = asyncio.get_running_loop().time() + n / 3
        async with asyncio.timeout_at(when) if n % 2 else asyncio.timeout(n / 3):
            await sequence(p, n, children)
    except TimeoutError:
        p.note("timeout")


@branch
async def waits_for(p: Program, n: int, children: list[Node]) -> None:
    for each in children:
        try:
            p.note(await asyncio.wait_for(p.safely(each), n / 3))
        except TimeoutError:
            p.note("wait_for")


@branch
async def waits(p: Program, n: int, children: list[Node]) -> None:
    tasks: set[Any] = {asyncio.create_task(p.safely(each, i)) for i, each in enumerate(children)}
    if n % 4 == 0:
        tasks.add(p.ctx.activity(act, "bare", n))
    when = (asyncio.FIRST_COMPLETED, asyncio.FIRST_EXCEPTION, asyncio.ALL_COMPLETED)[n % 3]
    try:
        done, pending = await asyncio.wait(tasks, timeout=n / 2 or None, return_when=when)
    finally:
        for each in tasks:
            each.cancel()
    p.note(len(done), len(pending))
    for each in [*pending, *done]:
        try:
            p.note(await each)
        except (asyncio.CancelledError, Mishap) as error:
            p.note(type(error).__name__)


@branch
async def completes(p: Program, n: int, children: list[Node]) -> None:
    todo = [p.safely(each, i) for i, each in enumerate(children)]
    try:
        for each in asyncio.as_completed(todo, timeout=n / 2 if n % 2 else None):
            p.note(await each)
    except TimeoutError:
        p.note("as_completed")


@branch
async def shields(p: Program, n: int, children: list[Node]) -> None:
    inner = asyncio.ensure_future(p.safely(children[0], "shielded"))
    try:
        async with asyncio.timeout(n / 3):
            p.note(await asyncio.shield(inner))
    except TimeoutError:
        p.note("unshielded", inner.done())
    await p.safely(children[1])
    if n % 2:
        await inner


@branch
async def queues(p: Program, n: int, children: list[Node]) -> None:
    made: tuple[Any, ...] = (asyncio.Queue, asyncio.PriorityQueue, asyncio.LifoQueue)
    queue = made[n % 3](maxsize=n % 2)

    async def produce(i: int) -> None:
        for each in children:
            await queue.put((n - i, await p.safely(each, i)))

    async def consume() -> None:
        for _ in range(2 * len(children)):
            p.note(*await queue.get())
            queue.task_done()

    await asyncio.gather(produce(0), produce(1), consume(), queue.join())


@branch
async def locks(p: Program, n: int, children: list[Node]) -> None:
    kinds = (asyncio.Lock, lambda: asyncio.Semaphore(2), lambda: asyncio.BoundedSemaphore(1))
    lock: Any = kinds[n % 3]()

    async def enter(i: int, each: Node) -> None:
        async with lock:
            await p.safely(each, i)

    tasks = [asyncio.create_task(enter(i, each)) for i, each in enumerate(children)]
    await p.ctx.activity(act, "before", n)
    if n % 2:
        tasks[n % len(tasks)].cancel()
    p.note(len(await asyncio.gather(*tasks, return_exceptions=True)))


@branch
async def conditions(p: Program, n: int, children: list[Node]) -> None:
    condition, barrier, ready = asyncio.Condition(), asyncio.Barrier(2), asyncio.Event()
    count = 0

    async def wait(i: int) -> None:
        async with condition:
            await condition.wait_for(lambda: count > i)
        p.note("condition", i)
        await ready.wait()
        async with asyncio.timeout(n / 3):
            p.note("barrier", await barrier.wait())

    tasks = [asyncio.create_task(wait(i)) for i in range(3)]
    for each in children:
        await p.safely(each)
        async with condition:
            count += 1
            condition.notify(1 + n % 2)
    if n % 4 == 0:
        tasks[0].cancel()
    async with condition:
        count = 9
        condition.notify_all()
    ready.set()
    p.note(*[type(e).__name__ for e in await asyncio.gather(*tasks, return_exceptions=True)])


@branch
async def background(p: Program, n: int, children: list[Node]) -> None:
    task = asyncio.create_task(p.safely(children[0], "background"))
    await p.safely(children[1], "front")
    if n % 3 == 0:
        return  # left to the end of the run
    task.cancel()
    try:
        p.note(await task)
    except (asyncio.CancelledError, Mishap):
        p.note("stopped")


@branch
async def generators(p: Program, n: int, children: list[Node]) -> None:
    async def each() -> AsyncIterator[str]:
        try:
            for i, child in enumerate(children):
                yield await p.safely(child, i)
        finally:
            p.note("generator ends")
            await p.ctx.activity(act, "generator", n)

    if n % 3 == 0:  # dropped half way
        async for one in each():
            p.note(one)
            break
    elif n % 3 == 1:
        async with contextlib.aclosing(each()) as closing:  # type: ignore[type-var]
            async for one in closing:
                p.note(one)
                break
    else:
        async for one in each():
            p.note(one)
    await p.ctx.activity(act, "after", n)


@branch
async def cleans_up(p: Program, n: int, children: list[Node]) -> None:
    try:
        await p.do(children[0])
    except Mishap:
        await p.safely(children[1], "handler")
    finally:
        p.note("finally")
        if n % 2:
            await p.ctx.activity(act, "finally", n)


KINDS: dict[str, Kind] = {}
