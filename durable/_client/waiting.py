"""Waiting for results: many runs, few statements.

Runs that this process closes itself are told at once. All others are asked for together,
in one statement: when a worker hints that runs have closed, and without hints at a pace that
slows down from 20 ms to half a second. The more wait, the less often they are asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from .._store.protocol import Outcome
from ..errors import StoreUnavailable

PAUSE_FIRST, PAUSE_MAX, GROWTH = 0.02, 0.5, 1.3

# Seconds from one statement to the next, per run that it asks for: 10,000 are asked for 2.5
# times a second, at about 15 ms each.
GAP_PER_WAITER = 40e-6


class Waiting:
    def __init__(
        self,
        ask: Callable[[Sequence[int]], Awaitable[list[Outcome]]],
        *,
        listen: Callable[[Callable[..., None]], Awaitable[None]],
        is_live: Callable[[int], bool] = lambda _: False,
    ) -> None:
        """``ask`` tells which of many runs are over or stuck; ``listen`` takes what is to be
        called when some may be; ``is_live`` tells runs that this process works on: it will
        ``tell`` of them."""
        self._ask = ask
        self._listen = listen
        self._is_live = is_live
        self._waiters: dict[int, list[asyncio.Future[Outcome]]] = {}
        self._asking: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    async def outcome(self, run: int) -> Outcome:
        """How the run ended, or that it is stuck, as soon as that is known.

        Cancelling the caller stops its waiting and nothing else."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(run, []).append(future)
        self._news.set()
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._poll())
        try:
            return await future
        finally:
            waiters = self._waiters.get(run)
            if waiters is not None and future in waiters:
                waiters.remove(future)
                if not waiters:
                    del self._waiters[run]

    def tell(self, outcome: Outcome) -> None:
        """Somebody knows."""
        for future in self._waiters.pop(outcome.run, ()):
            if not future.done():
                future.set_result(outcome)

    def fail(self, error: Exception) -> None:
        """The database cannot be asked any more."""
        waiters, self._waiters = self._waiters, {}
        for futures in waiters.values():
            for future in futures:
                if not future.done():
                    future.set_exception(error)

    async def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    def _hint(self, *_: object) -> None:
        self._news.set()

    async def _poll(self) -> None:
        pause, asked_at = 0.0, 0.0
        loop = asyncio.get_running_loop()
        while self._waiters:
            try:
                async with asyncio.timeout(pause):
                    await self._news.wait()
                pause = PAUSE_FIRST
            except TimeoutError:
                pause = min(max(pause * GROWTH, PAUSE_FIRST), PAUSE_MAX)
            self._news.clear()
            gap = max(PAUSE_FIRST, GAP_PER_WAITER * len(self._waiters))
            await asyncio.sleep(asked_at + gap - loop.time())
            asked_at = loop.time()
            runs = [run for run in self._waiters if not self._is_live(run)]
            if not runs:
                continue
            try:
                await self._listen(self._hint)
                outcomes = await self._ask(runs)
            except StoreUnavailable:
                continue  # a lost database costs time only
            except Exception as error:  # noqa: BLE001 - each waiter raises it
                self.fail(error)
                return
            for outcome in outcomes:
                self.tell(outcome)
