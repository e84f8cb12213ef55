"""Who awaits what a run brings lets virtual time pass."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Set
from typing import TYPE_CHECKING, TypeVar

from .._authoring.attempts import attempt
from .._client.waiting import Waiting
from .._store.protocol import Answer, Hint, News, Outcome, Watched
from .._store.verbs import Store
from ..errors import InvalidCall

if TYPE_CHECKING:
    from .environment import Environment

K = TypeVar("K", bound=Hashable)
A = TypeVar("A")


class _Patient(Waiting[K, A]):
    """Who waits lets time pass."""

    env: Environment

    async def answer(self, key: K) -> A:
        passage = self.env._passage
        if passage is None or not self.env._passes:
            return await super().answer(key)
        if in_attempt():  # it waits as if it slept; the test's own wait lets time pass
            with self.env._clock.sleeping():
                return await super().answer(key)
        with passage.interest():
            return await super().answer(key)


class Awaited(_Patient[int, Outcome]):
    """Who awaits results or answers of updates, and who reads what runs show."""

    def __init__(self, store: Store, *, live: Callable[[], Set[int]], env: Environment) -> None:
        super().__init__(
            store.runs.settled,
            key=lambda outcome: outcome.run,
            listen=functools.partial(store.listen, Hint.ENDED),
            live=live,
        )
        published = functools.partial(store.listen, Hint.PUBLISHED)
        self.watching = _Patient[Watched, News](
            store.streams.news, key=lambda news: news.watched, listen=published
        )
        self.answering = _Patient[tuple[int, str], Answer](
            store.inbox.answers,
            key=lambda answer: (answer.run, answer.key),
            listen=published,
        )
        self.env = self.watching.env = self.answering.env = env
        self._store = store

    def awaited(self) -> list[int]:
        shown = (each.run for each in self.watching._waiters)
        return [*self._waiters, *shown, *(run for run, _ in self.answering._waiters)]

    async def tell_settled(self) -> bool:
        """Tell of runs that are over or stuck, by whoever, and of what they show; True if there
        was anything."""
        runs, read = list(self._waiters), list(self.watching._waiters)
        outcomes = await self._store.runs.settled(runs) if runs else []
        for outcome in outcomes:
            self.tell(outcome)
        shown = await self._store.streams.news(read) if read else []
        for news in shown:
            self.watching.tell(news)
        asked = list(self.answering._waiters)
        answers = await self._store.inbox.answers(asked) if asked else []
        for answer in answers:
            self.answering.tell(answer)
        return bool(outcomes or shown or answers)

    def fail(self, error: Exception) -> None:
        super().fail(error)
        self.watching.fail(error)
        self.answering.fail(error)


def in_attempt() -> bool:
    try:
        attempt()
    except InvalidCall:
        return False
    return True
