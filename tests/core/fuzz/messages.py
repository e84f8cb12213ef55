"""Leaves of random programs that receive, send and answer."""

from __future__ import annotations

import asyncio
import contextlib

from durable import Signal, Update
from durable.errors import InvalidCall

from .programs import Node, Program, act, leaf

SIGNALS = [Signal[int](f"fuzz.{n}") for n in range(3)]
UPDATES = [Update[int, str](f"fuzz.{n}") for n in range(3)]


@leaf
async def receives(p: Program, n: int, _: list[Node]) -> None:
    p.note("got", await p.ctx.receive(SIGNALS[n % 3]))


@leaf
async def receives_for_a_while(p: Program, n: int, _: list[Node]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(n / 7):
            async for number in p.ctx.messages(SIGNALS[n % 3]):
                p.note("one of many", number)


@leaf
async def lets_go_of_a_message(p: Program, n: int, _: list[Node]) -> None:
    receipts = [p.ctx.receive(SIGNALS[n % 3]) for _i in range(2)]
    await asyncio.wait(receipts, return_when=asyncio.FIRST_COMPLETED)
    for each in receipts[:: 1 if n % 2 else -1]:
        each.cancel()
    p.note([each.result() for each in receipts if not each.cancelled()])


@leaf
async def sends(p: Program, n: int, _: list[Node]) -> None:
    p.ctx.send(f"run {n}", SIGNALS[n % 3], n)


@leaf
async def answers(p: Program, n: int, _: list[Node]) -> None:
    async def handle(number: int) -> str:
        p.note("asked", number)
        if number % 4 == 1:
            raise ValueError(f"{number}")
        return await p.ctx.activity(act, "asked", number)

    with contextlib.suppress(InvalidCall):  # another leaf was here before
        p.ctx.on(UPDATES[n % 3], handle, check=lambda number: number % 4 > 0)
