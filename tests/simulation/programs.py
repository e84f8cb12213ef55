"""Random programs whose result does not depend on who is quicker: trees of what workflows do.

The same code runs one under the real ``Context`` in the simulated world and, for comparison, under
``Plain`` in nothing but asyncio. ``fold`` says what must come out without running anything.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import anyio

from durable import Context, Retry, Signal, Stream, Update, activity, workflow

Node = list[Any]  # [kind, number, children]

told = Signal[int]("simulation.told")
never = Signal[int]("simulation.never")
said = Stream[str]("simulation.said")
asked = Update[int, str]("simulation.asked")

MANY = Retry(attempts=1_000, delay=0.05, delay_max=1.0)


class Refused(Exception):
    """A business error."""


@activity(name="simulation.step", retry=MANY)
async def step(number: int) -> str:
    await asyncio.sleep(number % 7 / 10)
    return f"step {number}"


@activity(name="simulation.quick", retry=MANY)
async def quick(number: int) -> str:
    return f"quick {number}"


@activity(name="simulation.shaky", retry=MANY, timeout=20)
async def shaky(number: int, mishaps: int) -> str:
    """Fails so often, in whatever processes: the world counts (``story.py``)."""
    raise NotImplementedError


@activity(name="simulation.refuses", retry=MANY, raises=(Refused,))
async def refuses(number: int) -> str:
    raise Refused(f"not {number}")


@activity(name="simulation.hands_on", retry=MANY)
async def hands_on(token: str) -> None:
    """Somebody outside gets the token, and answers."""


class Kept(str):
    """A promise of plain asyncio, which was kept beforehand."""

    __slots__ = ()

    @property
    def token(self) -> str:
        return ""

    def __await__(self) -> Generator[Any, Any, str]:
        yield from asyncio.sleep(0).__await__()
        return str(self)


class Plain:
    """What these programs need of a context, in plain asyncio."""

    def __init__(self, letters: list[int]) -> None:
        self._letters = deque(letters)

    async def activity(self, fn: Callable[..., Any], *args: Any) -> Any:
        if fn is shaky:
            return f"shaky {args[0]}"
        return await fn(*args)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def receive(self, signal: Signal[int]) -> int:
        if signal is never:
            await asyncio.get_running_loop().create_future()
        return self._letters.popleft()

    async def child(self, _: object, node: Node) -> Any:
        return await do(self, node)

    def promise(self, _: object) -> Kept:
        return Kept("kept")

    def publish(self, *_: object) -> None:
        """Nobody reads it."""


Kind = Callable[[Any, int, list[Node]], Awaitable[Any]]
LEAVES: dict[str, Kind] = {}
BRANCHES: dict[str, Kind] = {}


def leaf(kind: Kind) -> Kind:
    LEAVES[kind.__name__] = kind
    return kind


def branch(kind: Kind) -> Kind:
    BRANCHES[kind.__name__] = kind
    return kind


async def do(ctx: Any, node: Node) -> Any:
    kind, number, children = node
    return await (LEAVES.get(kind) or BRANCHES[kind])(ctx, number, children)


def grow(chance: random.Random, depth: int = 0, *, letters: bool = True) -> Node:
    """A random tree. Letters are received in one place after another, never side by side."""
    number = chance.randrange(40)
    if depth > 2 or (depth and chance.random() < 0.4):
        if letters and chance.random() < 0.4:
            return ["receives", number, []]
        return [chance.choice(sorted(LEAVES.keys() - {"receives"})), number, []]
    kind = chance.choice(sorted(BRANCHES))
    letters = letters and kind in ("sequence", "cleans_up", "queues", "hurries")
    children = [grow(chance, depth + 1, letters=letters) for _ in range(chance.randint(2, 3))]
    return [kind, number, children]


def fold(node: Node, letters: deque[int]) -> Any:
    """What comes out; takes letters in the order in which they are received."""
    kind, n, children = node
    match kind:
        case "steps":
            return f"step {n}"
        case "is_quick":
            return f"quick {n}"
        case "trembles":
            return f"shaky {n}"
        case "is_refused":
            return f"Refused: not {n}"
        case "sleeps":
            return n
        case "receives":
            return letters.popleft()
        case "says":
            return [f"{n} {i}" for i in range(n % 3)]
        case "is_promised":
            return "kept"
        case "waits_in_vain":
            return f"vain {n}"
        case "fails":
            return f"Refused: not {n}"
        case "hurries":
            return fold(children[0], letters)
        case "cleans_up":
            return [fold(each, letters) for each in children[:2]]
        case _:
            return [fold(each, letters) for each in children]


def letters_in(node: Node) -> int:
    """How many letters a program receives."""
    kind, _, children = node
    if kind in ("hurries", "cleans_up"):
        children = children[: 1 if kind == "hurries" else 2]
    return int(kind == "receives") + sum(letters_in(each) for each in children)


def sayings(node: Node) -> Counter[str]:
    """What it publishes, in whatever order: each exactly once."""
    kind, n, children = node
    if kind in ("hurries", "cleans_up"):
        children = children[: 1 if kind == "hurries" else 2]
    if kind in ("lets_a_child", "lets_children"):  # in streams of their own
        return Counter()
    mine = Counter(f"{n} {i}" for i in range(n % 3)) if kind == "says" else Counter[str]()
    return sum((sayings(each) for each in children), mine)


# Leaves


@leaf
async def steps(ctx: Any, n: int, _: list[Node]) -> Any:
    return await ctx.activity(step, n)


@leaf
async def is_quick(ctx: Any, n: int, _: list[Node]) -> Any:
    return await ctx.activity(quick, n)


@leaf
async def trembles(ctx: Any, n: int, _: list[Node]) -> Any:
    return await ctx.activity(shaky, n, n % 4)


@leaf
async def is_refused(ctx: Any, n: int, _: list[Node]) -> Any:
    try:
        return await ctx.activity(refuses, n)
    except Refused as error:
        return f"Refused: {error}"


@leaf
async def sleeps(ctx: Any, n: int, _: list[Node]) -> Any:
    await ctx.sleep(n / 3)
    return n


@leaf
async def receives(ctx: Any, _n: int, _: list[Node]) -> Any:
    return await ctx.receive(told)


@leaf
async def says(ctx: Any, n: int, _: list[Node]) -> Any:
    words = [f"{n} {i}" for i in range(n % 3)]
    for each in words:
        ctx.publish(said, each)
    return words


@leaf
async def is_promised(ctx: Any, _n: int, _: list[Node]) -> Any:
    promise = ctx.promise(str)
    await ctx.activity(hands_on, promise.token)
    return await promise


@leaf
async def waits_in_vain(ctx: Any, n: int, _: list[Node]) -> Any:
    try:
        async with asyncio.timeout(n / 4):
            await ctx.receive(never)
    except TimeoutError:
        return f"vain {n}"
    return "never"


@leaf
async def fails(ctx: Any, n: int, _: list[Node]) -> Any:
    """One of a group fails, and takes the others along."""
    result = "never"
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(ctx.sleep(5_000))
            tasks.create_task(ctx.activity(refuses, n))
    except* Refused as caught:
        result = f"Refused: {caught.exceptions[0]}"
    return result


# Branches


@branch
async def sequence(ctx: Any, _n: int, children: list[Node]) -> Any:
    return [await do(ctx, each) for each in children]


@branch
async def gathers(ctx: Any, _n: int, children: list[Node]) -> Any:
    return await asyncio.gather(*(do(ctx, each) for each in children))


@branch
async def group(ctx: Any, _n: int, children: list[Node]) -> Any:
    async with asyncio.TaskGroup() as tasks:
        begun = [tasks.create_task(do(ctx, each)) for each in children]
    return [each.result() for each in begun]


@branch
async def nursery(ctx: Any, _n: int, children: list[Node]) -> Any:
    results: dict[int, Any] = {}

    async def one(i: int, each: Node) -> None:
        results[i] = await do(ctx, each)

    async with anyio.create_task_group() as tasks:
        for i, each in enumerate(children):
            tasks.start_soon(one, i, each)
    return [results[i] for i in range(len(children))]


@branch
async def takes_turns(ctx: Any, n: int, children: list[Node]) -> Any:
    lock = asyncio.Semaphore(1 + n % 2)

    async def one(each: Node) -> Any:
        async with lock:
            return await do(ctx, each)

    return await asyncio.gather(*map(one, children))


@branch
async def queues(ctx: Any, n: int, children: list[Node]) -> Any:
    queue: asyncio.Queue[Any] = asyncio.Queue(n % 2)

    async def produce() -> None:
        for each in children:
            await queue.put(await do(ctx, each))

    producing = asyncio.create_task(produce())
    results = [await queue.get() for _ in children]
    await producing
    return results


@branch
async def hurries(ctx: Any, _n: int, children: list[Node]) -> Any:
    """The first child against a time that is far off."""
    racers = [asyncio.ensure_future(do(ctx, children[0])), asyncio.ensure_future(ctx.sleep(50_000))]
    done, late = await asyncio.wait(racers, return_when=asyncio.FIRST_COMPLETED)
    for each in late:
        each.cancel()
    return done.pop().result()


@branch
async def cleans_up(ctx: Any, _n: int, children: list[Node]) -> Any:
    results = []
    try:
        results.append(await do(ctx, children[0]))
        await ctx.activity(refuses, 0)
    except Refused:
        pass
    finally:
        results.append(await do(ctx, children[1]))
    return results


@branch
async def lets_a_child(ctx: Any, _n: int, children: list[Node]) -> Any:
    return [await ctx.child(tree, each) for each in children]


@branch
async def lets_children(ctx: Any, _n: int, children: list[Node]) -> Any:
    return await asyncio.gather(*(ctx.child(tree, each) for each in children))


def _answers(ctx: Context) -> None:
    async def answer(number: int) -> str:
        return await ctx.activity(quick, number)

    ctx.on(asked, answer)


@workflow(name="simulation.tree")
async def tree(ctx: Context, node: Any) -> Any:
    _answers(ctx)
    return await do(ctx, node)


@workflow(name="simulation.rounds")
async def rounds(ctx: Context, node: Any, left: int, results: Any) -> Any:
    """Several runs under one id; what was sent reaches whichever there is."""
    _answers(ctx)
    results = [*results, await do(ctx, node)]
    if left > 1:
        ctx.continue_as_new(node, left - 1, results)
    return results


async def tree_changed(ctx: Context, node: Any) -> Any:
    """Code that came later: runs that the old one began go the old way."""
    _answers(ctx)
    if ctx.patched("simulation.later"):
        await ctx.activity(quick, 99)
    return await do(ctx, node)
