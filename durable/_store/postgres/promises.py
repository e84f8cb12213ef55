"""Promises: answers that come with a token."""

from __future__ import annotations

from typing import Any

from ..protocol import Answered, Unavailable
from . import statements
from .libraries import join
from .patience import Patience


class Promises:
    def __init__(self, patience: Patience, schema: str) -> None:
        self._patience = patience
        self._sql = statements.load("promises", schema)

    async def answer(
        self, token: str, answer: bytes, kind: str | None, *, connection: Any = None
    ) -> Answered:
        """Answer the promise that the token stands for, once. ``kind`` is that of the value, as
        tokens name it; None rejects the promise.

        Raises:
            StoreUnavailable: another transaction holds the run and does not end.
        """
        sent = self._sql["answer"], token, answer, kind, kind is None
        if connection is not None:
            return Answered(*(await join(connection, *sent, False))[0])
        try:
            row = await self._patience.fetchrow("the promise's run", *sent, False)
        except Unavailable:  # it may have arrived
            row = await self._patience.fetchrow("the promise's run", *sent, True)
        return Answered(*row)
