"""psycopg 3: ``ctx.transaction`` with ``async def fn(conn: psycopg.AsyncConnection, ...)``, and
starts and messages that join a transaction of yours. ``durably[psycopg]``.

Our statements are sent by raw cursors, which take ``$1`` as Postgres does.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from .._store.postgres import connecting
from .._store.postgres.libraries import IDLE_SECONDS
from ..errors import ConfigurationError, StoreUnavailable

_LEVELS = {
    None: None,
    "read_committed": psycopg.IsolationLevel.READ_COMMITTED,
    "repeatable_read": psycopg.IsolationLevel.REPEATABLE_READ,
    "serializable": psycopg.IsolationLevel.SERIALIZABLE,
}


@dataclass(frozen=True, slots=True, eq=False)
class Seat:
    connection: psycopg.AsyncConnection[Any]
    pid: int
    started: datetime
    pooled: bool
    local: str

    async def close(self) -> None:
        await self.connection.close()


class Psycopg:
    async def open(self, dsn: str, application: str) -> Seat:
        """
        Raises:
            StoreUnavailable, ConfigurationError: it cannot be had, and why.
        """
        try:
            connection = await psycopg.AsyncConnection.connect(
                dsn,
                autocommit=True,  # transactions are begun in words
                connect_timeout=round(connecting.CONNECT_SECONDS),
                application_name=connecting.application_name(application),
                prepare_threshold=None,  # behind a pooler a name would clash
            )
        except psycopg.OperationalError as error:
            raise StoreUnavailable(f"psycopg cannot connect: {error}") from error
        except psycopg.Error as error:
            raise ConfigurationError(f"psycopg cannot use the database URL: {error}") from error
        try:
            facts = connecting.settings(lock_timeout=0, idle=IDLE_SECONDS)
            pooled = (
                connection.info.backend_pid
                != (await self.fetch(connection, "/* durable: direct */ select pg_backend_pid()"))[
                    0
                ][0]
            )
            row = (await self.fetch(connection, facts.query, *facts.arguments, pooled))[0]
        except BaseException:
            self.terminate(connection)
            raise
        return Seat(connection, row[2], row[3], pooled, facts.local)

    def is_closed(self, connection: Any) -> bool:
        return bool(connection.closed)

    def is_in_transaction(self, connection: Any) -> bool:
        status = connection.info.transaction_status
        return status not in (TransactionStatus.IDLE, TransactionStatus.UNKNOWN)

    def joins(self, connection: Any) -> bool:
        """Without autocommit whatever is sent first begins a transaction."""
        if not isinstance(connection, psycopg.AsyncConnection) or connection.closed:
            return False
        return self.is_in_transaction(connection) or not connection.autocommit

    @asynccontextmanager
    async def transaction(
        self, connection: Any, isolation: str | None
    ) -> AsyncGenerator[None, None]:
        await connection.set_isolation_level(_LEVELS[isolation])
        connection.row_factory = tuple_row  # whoever had it before may have set another
        async with connection.transaction():
            yield

    def handed(self, connection: Any, isolation: str | None) -> Any:
        return nullcontext(connection)

    async def fetch(self, connection: Any, query: str, *args: Any) -> Sequence[Sequence[Any]]:
        async with psycopg.AsyncRawCursor(connection, row_factory=tuple_row) as cursor:
            # A tuple would be a row to psycopg; to us it is an array.
            plain = [list(each) if isinstance(each, tuple) else each for each in args]
            await cursor.execute(query.encode(), plain)
            return await cursor.fetchall() if cursor.description else []

    def terminate(self, connection: Any) -> None:
        with suppress(psycopg.Error):
            connection.pgconn.finish()


_psycopg = Psycopg()


def library(_: str) -> Psycopg:
    return _psycopg
