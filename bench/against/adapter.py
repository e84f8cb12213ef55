"""What the program of a peer gives, and the program around it.

    python -m bench.against.peers.dbos steps --dsn postgresql://... --amount 200 --steps 10

runs one workload and prints one JSON line; whatever else a library says goes to stderr. An
``Adapter`` knows how to start, await and signal four workflows, written as that library wants
them:

    steps(n)            n steps, one after the other, each of which adds one: returns n
    gather(n)           n of these steps at once: returns n
    wait()              waits for a signal, returns its value
    steps_then_wait(n)  n steps, waits for a signal, another step: returns n + 1

Nothing but the standard library is imported here.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from . import restarting, workloads

CALLS_AT_ONCE = 100  # that a client has under way, where there is no call for many


class Adapter:
    """One library: how it is set up, and its words for what the workloads do."""

    name: ClassVar[str]
    # A call for the result asks again and again: all are started first, and asked one by one.
    results_are_polled: ClassVar[bool] = False
    # One call begins a run and waits for its result, and is quicker than two.
    runs_are_calls: ClassVar[bool] = False
    calls_at_once: ClassVar[int] = CALLS_AT_ONCE

    def __init__(self, options: argparse.Namespace) -> None:
        self.dsn: str = options.dsn
        self.workload: str = options.workload
        self.steps: int = options.steps
        self.blocked = 0  # runs of `steps_then_wait` in this process that have come to the signal

    # Before and after, in the process that is not killed

    def prepare(self) -> None:
        """Create tables, begin a server."""

    def end(self) -> None:
        """Stop that server."""

    # In the process that works

    async def open(self, concurrency: int) -> None:
        """Begin a worker and a client, for so many runs at once."""
        raise NotImplementedError

    async def close(self) -> None:
        """End them."""

    async def start(self, workflow: str, argument: int, id: str) -> Any:
        """Begin a run; returns what ``result`` takes."""
        raise NotImplementedError

    async def start_many(self, workflow: str, argument: int, ids: Sequence[str]) -> list[Any]:
        """Begin runs as fast as a client can."""
        handles: list[Any] = [None] * len(ids)
        numbers = iter(range(len(ids)))

        async def start_in_turn() -> None:
            for number in numbers:
                handles[number] = await self.start(workflow, argument, ids[number])

        await asyncio.gather(*(start_in_turn() for _ in range(self.calls_at_once)))
        return handles

    async def result(self, handle: Any) -> Any:
        raise NotImplementedError

    async def run(self, workflow: str, argument: int) -> Any:
        """Begin one and wait for its result."""
        return await self.result(await self.start(workflow, argument, new_id()))

    async def settled(self) -> None:
        """A queue without results: wait until the last acknowledgement is in the database."""

    async def handle(self, id: str) -> Any:
        """What ``result`` takes, of a ``steps_then_wait`` that another process began."""
        raise NotImplementedError

    async def signal(self, id: str, value: int) -> None:
        raise NotImplementedError

    async def blocked_now(self) -> int:
        """Runs that wait for their signal."""
        return self.blocked


def new_id() -> str:
    return str(uuid.uuid4())


# The program


def main(make: Callable[[argparse.Namespace], Adapter]) -> None:
    """Run what the command line asks for, and print one line about it."""
    # What `durable worker` does for itself is done for everybody.
    gc.set_threshold(10_000, 20, 50)
    options = _options()
    adapter = make(options)
    with _stdout_for_one_line() as say:
        match options.workload:
            case "restart":
                measured = restarting.measure(adapter, options)
            case "restart-begin":
                asyncio.run(restarting.begin(adapter, options, say))
                measured = {}
            case "restart-finish":
                measured = asyncio.run(restarting.finish(adapter, options))
            case _:
                measured = _measure(adapter, options)
        say(json.dumps({"peer": adapter.name, "workload": options.workload, **measured}))
    os._exit(0)  # some libraries leave threads that nothing ends


def _measure(adapter: Adapter, options: argparse.Namespace) -> dict[str, float]:
    async def work() -> dict[str, float]:
        many = options.amount if options.workload in ("steps", "starts") else 1
        await adapter.open(min(many, options.concurrency))
        await workloads.warm(adapter)
        measured = await workloads.WORKLOADS[options.workload](adapter, options)
        await adapter.close()
        return measured

    adapter.prepare()
    try:
        return asyncio.run(work())
    finally:
        adapter.end()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("workload", choices=[*workloads.WORKLOADS, *restarting.PARTS])
    parser.add_argument("--dsn", default="", help="an empty database")
    parser.add_argument("--amount", type=int, required=True, help="runs; of gather: steps")
    parser.add_argument("--steps", type=int, default=10, help="of each run")
    parser.add_argument("--concurrency", type=int, default=1_000, help="runs at once")
    parser.add_argument("--tag", default="", help="begins the ids of the runs to restart")
    return parser.parse_args()


@contextmanager
def _stdout_for_one_line() -> Iterator[Callable[[str], None]]:
    """What libraries print goes to stderr; what is handed to `say` to the real stdout."""
    real = os.dup(1)
    os.dup2(2, 1)

    def say(line: str) -> None:
        os.write(real, f"{line}\n".encode())

    yield say
