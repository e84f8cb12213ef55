"""The ``inbox`` table: messages to runs, and answers that come with the token of a promise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from .. import verbs
from ..protocol import Answer, Answered, Delivered, Letter, Message, Unavailable
from .libraries import join
from .statements import Noun


class Inbox(Noun):
    async def deliver(
        self, id: str, letter: Letter, *, meant: int | None = None, connection: Any = None
    ) -> Delivered:
        """Send a message to the run that the id names now, or to the run ``meant``, which the id
        may not name any more; then it is closed. It is accepted once per ``key``.

        Raises:
            StoreUnavailable: another transaction holds the run and does not end.
        """
        sent = self._sql["deliver"], id, *letter, meant
        return Delivered(*await self._send(f"run {id!r}", connection, *sent))

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

    async def _send(self, what: str, connection: Any, *sent: Any) -> Any:
        """The last argument: this may have arrived, and the id may name another run by now."""
        if connection is not None:
            return (await join(connection, *sent, False))[0]
        try:
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
