"""The ``inbox`` table: messages to runs, and answers that come with the token of a promise."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

import asyncpg

from .. import verbs
from ..protocol import Answer, Answered, Claimed, Delivered, Letter, Message, Taker, Unavailable
from .connecting import Do
from .libraries import join
from .runs import twice
from .statements import Noun


class Inbox(Noun):
    async def deliver(
        self, id: str, letter: Letter, *, meant: int | None = None, connection: Any = None,
        taker: Taker | None = None,
    ) -> Delivered:  # fmt: skip
        """Send a message to the run that the id names now, or to the run ``meant``, which the id
        may not name any more; then it is closed. It is accepted once per ``key``. A run
        that waits for a message goes to ``taker`` with it.

        Raises:
            StoreUnavailable: another transaction holds the run and does not end.
        """
        sent = id, *letter, meant
        hand = taker and functools.partial(self._hand, sent, taker)
        deliver = self._sql["deliver"], *sent
        return Delivered(*await self._send(f"run {id!r}", connection, *deliver, first=hand))

    async def deliver_many(self, sent: Sequence[verbs.Sent]) -> list[Delivered | None]:
        """As many messages in one statement. None for what is to be sent alone: somebody holds its
        run, nobody has its id, or the database refuses one of them."""
        query, again = self._sql["deliver_many"], iter((False, True))
        columns = [*zip(*((id, *letter, meant) for id, letter, meant in sent), strict=True)]
        try:
            rows = await twice(lambda: self._line.fetch(query, *columns, next(again)))
        except asyncpg.PostgresError as error:
            if not next(again, False):  # what was sent before may have arrived
                raise Unavailable(str(error)) from error
            return [None] * len(sent)
        return [None if row["run"] is None else Delivered(*row) for row in rows]

    async def _hand(self, sent: tuple[Any, ...], taker: Taker, to: Any) -> tuple[Any, ...]:
        """Nothing that its sender is cancelled by reaches this: who is claimed is given."""
        query, by = self._sql["deliver_and_claim"], (taker.worker, taker.versions)
        run, state, status, seq, at, *claim = await to.fetchrow(query, *sent, False, *by)
        if is_taken := claim[0] is not None:
            _, kind, name, _, payload, _ = sent
            message = Message(run, seq, kind, name, payload, at)
            taker.give(Claimed._make((run, *claim, (message,))))
        return run, state, status, is_taken

    async def answer(
        self, token: str, answer: bytes, kind: str | None, *, connection: Any = None
    ) -> Answered:
        """Answer the promise that the token stands for, once. ``kind`` is that of the value, as
        tokens name it; None rejects the promise.

        Raises:
            StoreUnavailable: another transaction holds the run and does not end.
        """
        sent = self._sql["answer"], token, answer, kind, kind is None
        return Answered(*await self._send("the promise's run", connection, *sent))

    async def _send(self, what: str, connection: Any, *sent: Any, first: Do | None = None) -> Any:
        """The last argument: this may have arrived, and the id may name another run by now.
        ``first``: how it is tried before, where nobody holds a lock that it needs."""
        if connection is not None:
            return (await join(connection, *sent, False))[0]
        try:
            if first is not None:
                with suppress(asyncpg.LockNotAvailableError):
                    return await self._line.call(first)
            return await self._line.patiently(what, *sent, False)
        except Unavailable:
            return await self._line.patiently(what, *sent, True)

    async def read(self, wanted: Iterable[tuple[int, int]]) -> list[Message]:
        """Messages: of each (run, seen) those after ``seen``, in order, ``MESSAGES_MAX`` at most;
        where that is below zero, those that the journal has not."""
        pairs = list(wanted)
        if not pairs:
            return []
        rows = await self._line.fetch(
            self._sql["read"], *zip(*pairs, strict=True), verbs.MESSAGES_MAX
        )
        return [Message(*row) for row in rows]

    async def answers(self, wanted: Sequence[tuple[int, str]]) -> list[Answer]:
        """Of these updates, each by (run, key), those that are answered or will not be."""
        rows = await self._line.fetch(self._sql["answers"], *zip(*wanted, strict=True))
        return [Answer(*row) for row in rows]

    async def mail(self, worker: UUID) -> dict[int, bool]:
        """Runs of this worker that somebody has sent something; True: or has asked to hold."""
        rows = await self._line.fetch(self._sql["mail"], worker)
        return {row["run"]: row["paused"] for row in rows}

    async def clear_due(self, worker: UUID, seen: Sequence[tuple[int, int]]) -> None:
        """These (run, seen) are read; unless more has come, they are no news any more."""
        if seen:
            await self._line.fetch(self._sql["clear_due"], worker, *zip(*seen, strict=True))
