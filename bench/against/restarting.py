"""The workload that kills its process: how long does a new one take to finish the work of the old?

Many runs take their steps and wait for a signal. Then their process is killed (SIGKILL), and
another is begun, which sends each its signal and waits for all results: it has to find the runs,
to read what they have recorded, and to go on. ``seconds`` counts from the start of the new
process, its imports included; ``ready_s`` of them are over when its worker has begun.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from .processes import child, kill

if TYPE_CHECKING:
    from .adapter import Adapter

PARTS = ("restart", "restart-begin", "restart-finish")
SETTLE_SECONDS = 1.0  # what is recorded a moment later than it is done
BLOCKED = "blocked"


def measure(adapter: Adapter, options: argparse.Namespace) -> dict[str, float]:
    adapter.prepare()
    try:
        begun = time.monotonic()
        first = _process("restart-begin", options)
        assert first.stdout is not None
        said = first.stdout.readline().strip()
        blocked_s = time.monotonic() - begun
        kill(first)
        if said != BLOCKED:
            raise RuntimeError(f"the runs did not come to their signal: {said!r}")
        begun = time.monotonic()
        second = _process("restart-finish", options)
        assert second.stdout is not None
        line = second.stdout.readline()
        seconds = time.monotonic() - begun
        kill(second)
    finally:
        adapter.end()
    return {"seconds": seconds, "blocked_s": blocked_s, "ready_s": json.loads(line)["ready_s"]}


async def begin(adapter: Adapter, options: argparse.Namespace, say: Callable[[str], None]) -> None:
    """Until all wait for their signal; then this waits to be killed."""
    await adapter.open(options.amount)
    await adapter.start_many("steps_then_wait", options.steps, _ids(options))
    while await adapter.blocked_now() < options.amount:
        await asyncio.sleep(0.05)
    await asyncio.sleep(SETTLE_SECONDS)
    say(BLOCKED)
    await asyncio.Event().wait()


async def finish(adapter: Adapter, options: argparse.Namespace) -> dict[str, float]:
    await adapter.open(options.amount)
    ready_s = time.time() - float(os.environ["BENCH_BEGUN"])
    ids = _ids(options)
    await asyncio.gather(*(adapter.signal(id, 1) for id in ids))
    handles = [await adapter.handle(id) for id in ids]
    found = await asyncio.gather(*(adapter.result(handle) for handle in handles))
    assert found == [options.steps + 1] * options.amount, found[:3]
    return {"ready_s": ready_s}


def _ids(options: argparse.Namespace) -> list[str]:
    return [f"{options.tag}-{number}" for number in range(options.amount)]


def _process(part: str, options: argparse.Namespace) -> subprocess.Popen[str]:
    module = sys.modules["__main__"].__spec__
    assert module is not None
    return child(
        [
            sys.executable, "-m", module.name, part, "--dsn", options.dsn, "--tag", options.tag,
            "--amount", str(options.amount), "--steps", str(options.steps),
        ],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "BENCH_BEGUN": str(time.time())},
    )  # fmt: skip
