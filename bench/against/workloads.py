"""The work, and what is measured of it: the same for every peer.

    steps    many runs at once, each of some sequential steps: steps a second
    starts   runs of one step, as fast as the client can: first start to last result
    latency  nothing else to do: begin a run of one step, wait for its result, again; then the
             milliseconds that a step takes in a run of a hundred
    gather   one run with many steps at once
    signal   a run waits: from before the signal is sent to the result

Each is measured after ``warm``, in a database that nobody has used before.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .adapter import Adapter

ONE_AFTER_THE_OTHER = 100  # steps
TRIES = 3
SETTLE_SECONDS = 0.02  # until a run surely waits

Measured = dict[str, float]


async def warm(adapter: Adapter) -> None:
    """Connect, prepare, import: what is done once is not what is asked about."""
    for _ in range(3):
        assert await adapter.run("steps", 1) == 1
    await results(adapter, await adapter.start_many("steps", 1, _ids(20)))
    await adapter.settled()


async def steps(adapter: Adapter, options: argparse.Namespace) -> Measured:
    amount, each = options.amount, options.steps
    with Stopwatch() as watch:
        if adapter.results_are_polled:
            found = await results(adapter, await adapter.start_many("steps", each, _ids(amount)))
        else:
            found = await _in_turn(adapter, each, amount, min(amount, options.concurrency))
    assert found == [each] * amount, found[:3]
    return {"steps_per_s": amount * each / watch.seconds}


async def starts(adapter: Adapter, options: argparse.Namespace) -> Measured:
    amount = options.amount
    with Stopwatch() as watch:
        if adapter.runs_are_calls:
            found = await _in_turn(adapter, 1, amount, min(amount, adapter.calls_at_once))
        else:
            found = await results(adapter, await adapter.start_many("steps", 1, _ids(amount)))
            await adapter.settled()
    assert found == [1] * amount, found[:3]
    return {"runs_per_s": amount / watch.seconds}


async def latency(adapter: Adapter, options: argparse.Namespace) -> Measured:
    took = []
    for _ in range(options.amount):
        with Stopwatch() as watch:
            assert await adapter.run("steps", 1) == 1
        took.append(watch.seconds * 1e3)
    measured = quantiles(took)
    if options.steps > 1:  # a queue has no second step
        measured["step_ms"] = await _step_ms(adapter)
    return measured


async def _step_ms(adapter: Adapter) -> float:
    took = []
    for _ in range(TRIES):
        with Stopwatch() as watch:
            assert await adapter.run("steps", ONE_AFTER_THE_OTHER) == ONE_AFTER_THE_OTHER
        took.append(watch.seconds * 1e3 / ONE_AFTER_THE_OTHER)
    return statistics.median(took)


async def gather(adapter: Adapter, options: argparse.Namespace) -> Measured:
    took = []
    for _ in range(TRIES):
        with Stopwatch() as watch:
            assert await adapter.run("gather", options.amount) == options.amount
        took.append(watch.seconds)
    return {"seconds": statistics.median(took)}


async def signal(adapter: Adapter, options: argparse.Namespace) -> Measured:
    took = []
    for number, id in enumerate(_ids(options.amount)):
        handle = await adapter.start("wait", 0, id)
        await asyncio.sleep(SETTLE_SECONDS)
        with Stopwatch() as watch:
            await adapter.signal(id, number)
            assert await adapter.result(handle) == number
        took.append(watch.seconds * 1e3)
    return quantiles(took)


WORKLOADS: dict[str, Callable[[Adapter, argparse.Namespace], Awaitable[Measured]]] = {
    "steps": steps,
    "starts": starts,
    "latency": latency,
    "gather": gather,
    "signal": signal,
}


async def results(adapter: Adapter, handles: Sequence[Any]) -> list[Any]:
    if adapter.results_are_polled:
        return [await adapter.result(handle) for handle in handles]
    return list(await asyncio.gather(*(adapter.result(handle) for handle in handles)))


async def _in_turn(adapter: Adapter, each: int, amount: int, at_once: int) -> list[Any]:
    found: list[Any] = []
    left = iter(range(amount))

    async def run_in_turn() -> None:
        found.extend([await adapter.run("steps", each) for _ in left])

    await asyncio.gather(*(run_in_turn() for _ in range(at_once)))
    return found


def _ids(amount: int) -> list[str]:
    from .adapter import new_id  # which imports this module

    return [new_id() for _ in range(amount)]


def quantiles(took: Sequence[float]) -> Measured:
    ordered = sorted(took)
    return {
        "p50_ms": statistics.median(ordered),
        "p99_ms": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
    }


class Stopwatch:
    """Seconds by the clock."""

    def __enter__(self) -> Stopwatch:
        self._begun = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._begun
