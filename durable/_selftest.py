"""What replay rests on, tried out once at start: a Python or an anyio that does something
else is refused in words, before it can touch a run.

One small program goes through all of it in about a millisecond: tasks begin in the order they
were made; sets of tasks, of gathers and of anyio's scopes are walked in that order; a timer
fires when its time has come; a scope that is cancelled beside a shielded wait lets its turn
end. The fuzz (tests/core/fuzz) proves the rest, on the versions named here.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from ._core import commands, events
from ._core.anyio_shims import backend
from ._core.replayer import Replayer
from .errors import ConfigurationError

PROVED = ((3, 11), (3, 12), (3, 13))

# What the program asks for, turn by turn, on every Python that may replay.
EXPECTED = (
    "a0 a1 a2 a3 a4 a5 a6 a7 a8",
    "-1 -2 -3 -5 -6 -7 -8 -9 0.5",
    "5.5 b0 b1 -13",
    "-11 c0 c1",
    "",
    "Complete(value=None)",
)


def check_python() -> str | None:
    """A warning, where the test passes on a Python that nobody has proved replay on.

    Raises:
        ConfigurationError: replay would differ here from what other versions recorded.
    """
    try:
        seen = tuple(_perform())
    except Exception as error:  # noqa: BLE001 - whatever it is, it did not go as it must
        seen = (repr(error),)
    version = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    if seen != EXPECTED:
        raise ConfigurationError(
            f"The self-test of replay failed on {version}: it should ask {EXPECTED} and asked "
            f"{seen}. Workflows would not replay as they ran. Durable is proved on Python 3.11 to "
            "3.13; if this is one of them, another package may have changed asyncio or anyio."
        )
    if sys.version_info[:2] in PROVED:
        return None
    return f"{version} is newer than what replay has been proved on; its self-test passed"


def _perform() -> Iterator[str]:
    replayer = Replayer(lambda: _program(replayer), bytes(16))
    event: events.Event = events.Started(0, commands.EPOCH + timedelta(days=20_000))
    try:
        for position, op in enumerate((4, 10, 12, 14, 15, 0), start=1):
            yield " ".join(map(_told, replayer.feed(event)))
            asked = replayer.open.get(op)
            if isinstance(asked, commands.Run):
                event = events.Answered(
                    position, replayer.now, op, asked.kind, asked.name, asked.digest, None
                )
            elif isinstance(asked, commands.Wait):
                event = events.TimerFired(position, asked.due, op, asked.digest)
    finally:
        replayer.close()


def _told(asked: commands.Command) -> str:
    if isinstance(asked, commands.Run):
        return asked.name
    if isinstance(asked, commands.Wait):
        return f"{asked.due.timestamp() % 86_400:g}"
    return f"-{asked.op}" if isinstance(asked, commands.Drop) else repr(asked)


async def _program(replayer: Replayer) -> None:
    def ask(name: str) -> Any:
        return replayer.ask("activity", name, b"", None)

    async def step(name: str) -> None:
        await ask(name)

    # A set of tasks, from which some are missing, is walked in the order of their births.
    tasks = {asyncio.create_task(step(f"a{i}")) for i in range(9)}
    _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0.5)
    # A timer that would be late is taken back; a group leaves in order.
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(ask("b0"))
        group.create_task(ask("b1")).cancel()
    async with backend.TaskGroup() as scoped:
        for i in range(2):
            scoped.create_task(_shielded(ask, f"c{i}"))
        await asyncio.sleep(0)
        scoped.cancel_scope.cancel()


async def _shielded(ask: Any, name: str) -> None:
    with backend.CancelScope(shield=True):
        await ask(name)
