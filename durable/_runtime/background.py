"""What a worker does in the background: tasks that it owns, and parts that go round for ever.

A part that fails is told about, and begun again; it never takes the host along.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

log = logging.getLogger("durable.worker")

PAUSE_FIRST, PAUSE_MAX = 0.1, 5.0


class Background:
    """``failures``: what each part has failed with, until it goes well again."""

    def __init__(self) -> None:
        self.failures: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def own(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def keep(self, *rounds: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Go each of these rounds again and again, side by side."""
        for once in rounds:
            self.own(self._forever(once))

    async def stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _forever(self, once: Callable[[], Coroutine[Any, Any, None]]) -> None:
        name = once.__qualname__.partition(".")[0].lower()
        pause = PAUSE_FIRST
        while True:
            try:
                await once()
            except Exception as error:
                self.failures[name] = f"{type(error).__name__}: {error}"
                log.exception("the %s failed; it begins again in %.1f s", name, pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, PAUSE_MAX)
            else:
                self.failures.pop(name, None)
                pause = PAUSE_FIRST
