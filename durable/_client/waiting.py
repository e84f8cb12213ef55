"""Waiting for results, and for news of what runs show: many runs, few statements.

Runs that this process closes itself are told at once. All others are asked for together,
in one statement: when a worker hints that there is news, and without hints at a pace that
slows down from 20 ms to half a second. The more wait, the less often they are asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence, Set
from typing import Any, Generic, NamedTuple, TypeVar

from .._store.protocol import Answer, News, Outcome, Watched
from ..errors import StoreUnavailable

K = TypeVar("K", bound=Hashable)
A = TypeVar("A")

PAUSE_FIRST, PAUSE_MAX, GROWTH = 0.02, 0.5, 1.3

# Seconds from one statement to the next, per run that it asks for: 10,000 are asked for 2.5
# times a second, at about 15 ms each.
GAP_PER_WAITER = 40e-6


class Waiting(Generic[K, A]):
    def __init__(
        self,
        ask: Callable[[Sequence[K]], Awaitable[list[A]]],
        *,
        key: Callable[[A], K],
        listen: Callable[[Callable[..., None]], Awaitable[None]],
        live: Callable[[], Set[K]] = frozenset,
    ) -> None:
        """``ask`` gives those answers to many keys that are there; ``key`` tells to which one is
        one; ``listen`` takes what is to be called when some may have come; ``live`` tells the keys
        whose answer this process will ``tell``."""
        self._ask = ask
        self._key = key
        self._listen = listen
        self._live = live
        self._waiters: dict[K, list[asyncio.Future[A]]] = {}
        self._asking: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._comes = False  # the end of a pause after which those are asked for who have come

    async def answer(self, key: K) -> A:
        """The answer, as soon as it is known. Cancelling the caller stops its waiting and nothing
        else."""
        future = self.expect(key)
        try:
            answer: A = await future
            return answer
        finally:
            self.drop(key, future)

    def expect(self, key: K) -> asyncio.Future[Any]:
        """The same for who calls ``drop`` when it waits no more."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(key, []).append(future)
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._poll())
        elif not self._comes:  # with others that come meanwhile
            self._comes = True
            future.get_loop().call_later(PAUSE_FIRST, self._hint)
        return future

    def drop(self, key: K, future: asyncio.Future[Any]) -> None:
        waiters = self._waiters.get(key)
        if waiters is not None and future in waiters:
            waiters.remove(future)
            if not waiters:
                del self._waiters[key]

    def tell(self, answer: A) -> None:
        """Somebody knows."""
        for future in self._waiters.pop(self._key(answer), ()):
            if not future.done():
                future.set_result(answer)

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
        self._comes = False
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
            await asyncio.sleep(asked_at + GAP_PER_WAITER * len(self._waiters) - loop.time())
            self._news.clear()
            asked_at = loop.time()
            live = self._live()
            keys = [key for key in self._waiters if key not in live]  # in the order of asking
            if not keys:
                continue
            try:
                await self._listen(self._hint)
                answers = await self._ask(keys)
            except StoreUnavailable:
                continue  # a lost database costs time only
            except Exception as error:  # noqa: BLE001 - each waiter raises it
                self.fail(error)
                return
            for answer in answers:
                self.tell(answer)


class Waits(NamedTuple):
    """What a client waits for."""

    results: Waiting[int, Outcome]
    news: Waiting[Watched, News]  # of what runs show
    answers: Waiting[tuple[int, str], Answer]  # of updates
