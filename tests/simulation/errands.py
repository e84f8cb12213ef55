"""What people want of the world of a seed: runs that are started, told things, and waited for.

An errand sends again what was not answered, under the same ids and keys, as a client should. It
knows what must come out, or where replay alone can know, how the run must have ended.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from durable import Client, Context, Handle, workflow
from durable._authoring import registry
from durable._codec.values import decode
from durable._core.statuses import CLOSED
from durable.errors import RetryRefused, RunClosed, RunStuck, StoreUnavailable
from tests.core.fuzz import campaign
from tests.core.fuzz import programs as fuzz
from tests.core.fuzz.messages import SIGNALS
from tests.proof import canon, visitors

from . import programs
from .programs import Node

T = TypeVar("T")

assert campaign  # it knows what all nodes of a tree mean

# What people do again, they do after so many seconds.
PAUSE = 0.25


async def again(ask: Callable[[], Awaitable[T]]) -> T:
    """Until it is answered. In a roll-out a run may be stuck for a while, beside code that can go
    on with it."""
    while True:
        try:
            return await ask()
        except (StoreUnavailable, RunStuck):
            await asyncio.sleep(PAUSE)


class Errand:
    """One run, under ``id``. ``status``: as which it must end; None where that may differ."""

    status: str | None = "completed"
    options: dict[str, Any] = {}

    def __init__(self, id: str, fn: Callable[..., Any], *args: Any) -> None:
        self.id = id
        self.fn = fn
        self.args = args
        self.result: Any = None
        self.is_done = False

    async def run(self, client: Client, chance: random.Random, heals: asyncio.Event) -> None:
        await asyncio.sleep(chance.uniform(0.0, 15.0))
        start: Any = client.start
        handle: Handle[Any] = await again(
            lambda: start(self.fn, *self.args, id=self.id, **self.options)
        )
        await self.meanwhile(client, handle, chance, heals)
        if self.status == "completed":
            self.result = await again(handle.result)
        self.is_done = True

    async def meanwhile(
        self, client: Client, handle: Handle[Any], chance: random.Random, heals: asyncio.Event
    ) -> None:
        """What else is done about it."""

    def wrong(self) -> str | None:
        """What is wrong with the result, in words."""
        return None


class Tree(Errand):
    """A program whose result is known, in one run or in several under one id."""

    def __init__(self, id: str, node: Node, rounds: int) -> None:
        if rounds:
            super().__init__(id, programs.rounds, node, rounds, [])
        else:
            super().__init__(id, programs.tree, node)
        self.node, self.rounds = node, rounds
        self.options = {"compare": not rounds}
        self.letters = [1_000 + n for n in range(max(rounds, 1) * programs.letters_in(node))]

    async def meanwhile(
        self, client: Client, handle: Handle[Any], chance: random.Random, heals: asyncio.Event
    ) -> None:
        for letter in self.letters:
            await asyncio.sleep(chance.choice([0.0, chance.uniform(0.0, 8.0)]))
            await again(lambda at=letter: handle.signal(programs.told, at, key=f"letter {at}"))  # type: ignore[misc]
        for n in range(chance.choice([0, 0, 1, 2])):
            await asyncio.sleep(chance.uniform(0.0, 8.0))
            with suppress(RunClosed):
                answer = await self._ask(handle, n)
                assert answer == f"quick {n}", answer

    async def _ask(self, handle: Handle[Any], n: int) -> str:
        return await again(lambda: handle.update(programs.asked, n, key=f"update {n}"))

    def expected(self) -> Any:
        letters = deque(self.letters)
        done = [programs.fold(self.node, letters) for _ in range(max(self.rounds, 1))]
        return done if self.rounds else done[0]

    def wrong(self) -> str | None:
        expected = self.expected()
        return None if self.result == expected else f"it is {self.result}, not {expected}"


@workflow(name="simulation.fuzz")
async def chaotic(ctx: Context, node: Any) -> list[str]:
    return await fuzz.Program(ctx).root(node)


@workflow(name="fuzz.child")
async def fuzz_child(ctx: Context, number: int) -> str:
    await ctx.sleep(number / 5)
    return await ctx.activity(fuzz.act, "child", number)


class Chaotic(Errand):
    """A program in which everything races: only replay knows what it comes to. It is told things
    at random; when the storm is over it gets what it still waits for, and is stopped in the end."""

    status = None

    def __init__(self, id: str, node: Node) -> None:
        super().__init__(id, chaotic, node)

    async def meanwhile(
        self, client: Client, handle: Handle[Any], chance: random.Random, heals: asyncio.Event
    ) -> None:
        number = 0
        patience = 20
        while (await again(handle.status)) not in CLOSED:
            number += 1
            try:
                signal = chance.choice(SIGNALS)
                await again(lambda n=number, to=signal: handle.signal(to, n, key=f"{n}"))  # type: ignore[misc]
            except RunClosed:
                break
            await asyncio.sleep(chance.uniform(0.5, 6.0))
            patience -= heals.is_set()
            if patience == 10:
                await again(handle.cancel)
            elif patience < 0:
                await again(handle.terminate)


class Canonical(Errand):
    """A workflow of those on which every fault point is tried."""

    def __init__(self, id: str, case: canon.Case) -> None:
        super().__init__(id, case.workflow)
        self.case = case
        self.status = case.status
        self.options = {**dict(case.options)}

    async def meanwhile(
        self, client: Client, handle: Handle[Any], chance: random.Random, heals: asyncio.Event
    ) -> None:
        visit = VISITS.get(self.case.workflow) or self.case.meanwhile
        if visit is not None:
            await visit(client, handle)


async def _begun(client: Client, handle: Handle[Any]) -> Any:
    """The event that follows its start, once it is there."""
    while not (rows := await again(lambda: client.store.journal.read([(handle._run or 0, 1)]))):
        await asyncio.sleep(PAUSE)
    return rows[0]


async def _cancel(client: Client, handle: Handle[Any]) -> None:
    await _begun(client, handle)
    await again(handle.cancel)


async def _terminate(client: Client, handle: Handle[Any]) -> None:
    await _begun(client, handle)
    await again(handle.terminate)


async def _hold(client: Client, handle: Handle[Any]) -> None:
    await again(handle.pause)
    for _ in range(20):
        if (await again(handle.status)) in (*CLOSED, "paused"):
            break
        await asyncio.sleep(PAUSE)
    await again(handle.resume)


async def _answer(client: Client, handle: Handle[Any]) -> None:
    (token,) = decode((await _begun(client, handle)).input)
    await again(lambda: client.resolve(token, "yes"))


async def _retry(client: Client, handle: Handle[Any]) -> None:
    while (await again(handle.status)) != "failed":
        await asyncio.sleep(PAUSE)
    with suppress(RetryRefused):  # it was accepted unseen
        await again(handle.retry)


VISITS: dict[Any, visitors.Meanwhile] = {
    canon.cancelled: _cancel,
    canon.terminated: _terminate,
    canon.held: _hold,
    canon.promised: _answer,
    canon.reopened: _retry,
}

# The others need a thread, or a transaction on Postgres.
CANON = [
    each for each in canon.CASES
    if each.workflow not in (canon.booked, canon.booked_twice, canon.in_threads, canon.overdue)
]  # fmt: skip
SERVED: tuple[Callable[..., Any], ...] = (
    programs.tree,
    programs.rounds,
    chaotic,
    fuzz_child,
    *(each.fn for each in registry.workflows().values() if each.fn.__module__ == canon.__name__),
)


def some(chance: random.Random) -> list[Errand]:
    """What is wanted in one world."""
    errands: list[Errand] = []
    for n in range(chance.randint(3, 7)):
        kind = chance.random()
        if kind < 0.5:
            node = programs.grow(chance)
            if chance.random() < 0.6:
                node = ["sequence", 0, [["receives", 0, []], node, ["receives", 1, []]]]
            errands.append(Tree(f"tree {n}", node, chance.choice([0, 0, 3])))
        elif kind < 0.75:
            errands.append(Chaotic(f"fuzz {n}", fuzz.grow(chance)))
        else:
            errands.append(Canonical(f"canon {n}", chance.choice(CANON)))
    return errands
