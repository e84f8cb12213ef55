"""What stands beside the journal, in memory: notes of attempts, outcomes of transactions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, NoReturn

from ...errors import InvalidCall
from ..protocol import Note, Recorded
from .tables import Tables, verb


class Attempts:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    @verb
    def read(self, runs: Sequence[int]) -> dict[int, list[Note]]:
        notes: defaultdict[int, list[Note]] = defaultdict(list)
        for (run, _), (_, note) in self._tables.attempt.items():
            if run in runs:
                notes[run].append(note)
        return notes


class Outcomes:
    """There is no connection for a transaction to run on."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    @verb
    def read(self, run: int, op: int) -> Recorded | None:
        return self._tables.outcome.get((run, op))

    def connection(self, name: str = "asyncpg") -> AbstractAsyncContextManager[Any]:
        _refuse()

    async def record(self, connection: Any, **_: Any) -> None:
        _refuse()

    def transaction(
        self, connection: Any, isolation: str | None = None
    ) -> AbstractAsyncContextManager[None]:
        _refuse()

    def handed(self, connection: Any) -> AbstractAsyncContextManager[Any]:
        _refuse()

    def is_in_transaction(self, connection: Any) -> bool:
        _refuse()

    async def settle(self, backend: Any) -> bool:
        return True

    def backend(self, connection: Any) -> Any:
        _refuse()


NO_CONNECTION = (
    "ctx.transaction() runs on a connection to Postgres, and this test runs on the store in "
    "memory. Give it a stand-in (durable.stand_in(reserve, returns=...)), or give the test a "
    "Postgres: the fixture durable_database_url, or Environment(url)."
)


def _refuse() -> NoReturn:
    raise InvalidCall(NO_CONNECTION)
