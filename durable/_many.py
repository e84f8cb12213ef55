"""Many starts in few round trips, each with an answer of its own: those of ``client.start_many``,
and what many callers start, or send, at once."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, TypeVar

import asyncpg

from ._client import client
from ._client.handle import Handle
from ._client.starting import Asked, Start, Started, asked, begin, unhurried
from ._gathering import Gathering
from ._store.family import NewRun
from ._store.protocol import Delivered, Letter, Taker, Unwritable
from ._store.protocol import Started as Answer
from ._store.verbs import Sent, Store
from .errors import DurableError, InvalidCall, StoreUnavailable

R = TypeVar("R")

# Of a run that has the id already these read alone, and so wait for nobody who holds its row.
READING = frozenset({"use", "reject"})

# Messages in one statement, which locks their runs for as long as it takes; larger ones go alone.
LETTERS_MAX, LETTER_BYTES_MAX = 100, 64 * 1024


class Client(client.Client):
    async def _attach(self, store: Store) -> None:
        await super()._attach(store)
        together = functools.partial(store.runs.start_many, waits=False)
        self._gathering: Gathering[NewRun, Answer | None] = Gathering(together)
        self._letters: Gathering[Sent, Delivered | None] = Gathering(
            store.inbox.deliver_many, most=LETTERS_MAX
        )

    async def _deliver(
        self, id: str, letter: Letter, meant: int | None, connection: Any, by: Taker | None = None
    ) -> Delivered:
        """With all that is sent meanwhile, if it is small, unless its run goes on at once."""
        if by is None and connection is None and len(letter.payload or b"") <= LETTER_BYTES_MAX:
            answer = await self._letters.call((id, letter, meant))
            if answer is not None:
                if answer.state == "accepted":
                    await self._news_for(answer.run)
                return answer
        return await super()._deliver(id, letter, meant, connection, by)

    async def _begin(self, start: Asked, connection: Any) -> Answer:
        """With all starts that are asked for meanwhile, where that keeps none of them waiting."""
        new = start.new
        if connection is None and start.message is None and new.if_exists in READING:
            answer = await self._gathering.call(new)
            if answer is not None:
                return start.check(answer)
        return await super()._begin(start, connection)

    async def start_many(
        self, starts: Iterable[Start[R]], /, *, connection: Any = None
    ) -> list[Started[R]]:
        """Start many runs in few round trips: 625 of them are one; each that brings a message
        along is one of its own.

        One that is refused costs the others nothing: each has its own answer, in the order
        given. Only if the database is lost does the call raise, and some may have been
        started; with ids of yours it can be repeated.

        Args:
            starts: :class:`Start` for each; it takes what ``start`` takes.
            connection: of yours (asyncpg, psycopg, SQLAlchemy); all of them join its transaction.

        Raises:
            InvalidCall: one of them is no ``Start``; nothing was written.

        Example:
            starts = [Start(order, each, id=each.id) for each in orders]
            for each in await client.start_many(starts):
                if each.error is not None:
                    print(each.id, each.error)
        """
        results: list[Started[R]] = []
        wanted: list[tuple[int, Asked]] = []
        async for each in unhurried(starts):
            _check(each)
            try:
                start = asked(each)
                start.check_fits()
                wanted.append((len(results), start))
                results.append(Started(start.new.id, False, None, None))
            except DurableError as error:
                results.append(Started(str(each.options.get("id")), False, error, None))
        answers = await self._answers([start for _, start in wanted], connection)
        async for (n, start), answer in unhurried(zip(wanted, answers, strict=True)):
            id = start.new.id
            try:
                stands = start.check(answer)
            except DurableError as error:
                results[n] = Started(id, False, error, None)
            else:
                handle = Handle[R](self, id, run=stands.run, definition=start.definition)
                results[n] = Started(id, stands.created, None, handle)
        if connection is None and any(each.created for each in results):
            await self._started_elsewhere()
        return results

    async def _answers(self, starts: list[Asked], connection: Any) -> list[Answer | DurableError]:
        """What became of each, in their order."""
        plain = [each.new for each in starts if each.message is None]
        told = iter(await self.store.runs.start_many(plain, connection=connection) if plain else ())
        answers: list[Answer | DurableError] = []
        for each in starts:
            answer = next(told) if each.message is None else None
            answers.append(answer or await self._answer_alone(each, connection))
        return answers

    async def _answer_alone(self, start: Asked, connection: Any) -> Answer | DurableError:
        try:
            return await begin(self, start, connection)
        except asyncpg.PostgresError as error:
            return Unwritable(f"The database refuses run {start.new.id!r}: {error}")
        except DurableError as error:
            if start.message is not None and isinstance(error, StoreUnavailable):
                raise
            return error


def _check(each: object) -> None:
    """Not all callers are typed."""
    if not isinstance(each, Start):
        raise InvalidCall(
            f"start_many() was given {each!r:.100}, which is no Start, so it does not say "
            "what to start with which arguments. Write start_many([Start(order, 4200), "
            "...]). Nothing was written."
        )
