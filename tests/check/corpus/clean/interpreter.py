"""A workflow that interprets a small language: recursion, classes, dispatch, plain algorithms."""

from __future__ import annotations

import asyncio
import copy
import heapq
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar

from durable import Context, activity, workflow


@activity
async def run_step(name: str, arguments: list[Any]) -> Any: ...


@dataclass
class Step:
    name: str
    arguments: list[str] = field(default_factory=list)
    result: str | None = None


@dataclass
class Sequence:
    elements: list[Statement]


@dataclass
class Parallel:
    branches: list[Statement]


Statement = Step | Sequence | Parallel


class Interpreter:
    kinds: ClassVar[tuple[type, ...]] = (Step, Sequence, Parallel)

    def __init__(self, ctx: Context, variables: dict[str, Any]) -> None:
        self.ctx = ctx
        self.variables = variables
        self.count = 0
        self._cache: dict[str, Any] = {}

    def __hash__(self) -> int:
        return hash(tuple(self.variables))

    async def run(self, statement: Statement) -> None:
        self.count += 1
        match statement:
            case Step(name, arguments, result):
                values = [self.variables.get(each, each) for each in arguments]
                answer = await self.ctx.activity(run_step, name, values)
                if result is not None:
                    self.variables[result] = answer
                    self._cache[result] = copy.deepcopy(answer)
            case Sequence(elements):
                for each in elements:
                    await self.run(each)
            case Parallel(branches):
                await asyncio.gather(*[self.run(each) for each in branches])


@dataclass(order=True)
class Due:
    at: int
    what: str = field(compare=False)


@dataclass
class Graph:
    edges: dict[str, set[str]]

    def ordered(self) -> list[str]:
        """Topologically; what is free at the same time goes by name."""
        waiting = {node: len(targets) for node, targets in self.edges.items()}
        free = sorted(node for node, count in waiting.items() if not count)
        done: list[str] = []
        while free:
            node = heapq.heappop(free)
            done.append(node)
            for other, targets in self.edges.items():
                if node in targets:
                    waiting[other] -= 1
                    if not waiting[other]:
                        heapq.heappush(free, other)
        return done

    def reaches(self, start: str, end: str) -> bool:
        seen = {start}
        pending = [start]
        while pending:
            node = pending.pop()
            if node == end:
                return True
            for other in sorted(self.edges[node] - seen):
                seen.add(other)
                pending.append(other)
        return False


@workflow
async def interpret(ctx: Context, program: Sequence, variables: dict[str, Any]) -> dict[str, Any]:
    interpreter = Interpreter(ctx, variables)
    await interpreter.run(program)
    return interpreter.variables


@workflow
async def run_graph(ctx: Context, graph: Graph) -> Decimal:
    queue: list[Due] = []
    for position, node in enumerate(graph.ordered()):
        heapq.heappush(queue, Due(position, node))
    objects = {id(each): each for each in queue}
    total = Decimal(0)
    while queue:
        due = heapq.heappop(queue)
        assert id(due) in objects
        total += Decimal(len(await ctx.activity(run_step, due.what, [])))
    graph.edges.update(end=set())
    return total
