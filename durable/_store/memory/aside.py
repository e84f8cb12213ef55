"""The ``outcome`` table in memory: nothing makes one here."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

from ...errors import InvalidCall
from ..protocol import Recorded
from ..verbs import Backend
from .tables import Tables, verb


class Outcomes:
    """There is no connection for a transaction to run on."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    @verb
    def read(self, run: int, op: int) -> Recorded | None:
        return self._tables.outcome.get((run, op))

    def backend(self, name: str = "asyncpg") -> AbstractAsyncContextManager[Backend]:
        raise InvalidCall(NO_CONNECTION)

    async def settle(self, backend: Any) -> bool:
        return True


NO_CONNECTION = (
    "ctx.transaction() runs on a connection to Postgres, and this test runs on the store in "
    "memory. Give it a stand-in (durable.stand_in(reserve, returns=...)), or give the test a "
    "Postgres: the fixture durable_database_url, or Environment(url)."
)
