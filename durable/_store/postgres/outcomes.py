"""The ``outcome`` table, and the connections on which ``ctx.transaction`` runs user code.

A transaction's outcome is written last of all in the user's own transaction, so it is there
if and only if the transaction happened.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID

import asyncpg

from ...errors import LeaseLost, StoreError
from ..protocol import Recorded, Unavailable
from . import statements
from .connecting import Session, connect
from .line import Line, is_lost

CONNECTIONS_MAX = 4

# User code may compute between two statements for this long before Postgres ends its session;
# a worker that hangs must not hold rows for ever.
IDLE_SECONDS = 60.0


class Backend:
    """Who runs a transaction on the server: the session, and, once its outcome is recorded, the
    transaction itself. Only after that can it commit."""

    __slots__ = ("session", "xact")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.xact: str | None = None


class Outcomes:
    """``on_open`` is called with each new session, ``on_close`` when it is gone."""

    def __init__(
        self,
        line: Line,
        schema: str,
        *,
        dsn: str,
        application: str,
        on_open: Callable[[Session], None],
        on_close: Callable[[Session], None],
        connections_max: int,
    ) -> None:
        self._line = line
        self._sql = statements.load("outcomes", schema)
        self._dsn = dsn
        self._application = application
        self._on_open = on_open
        self._on_close = on_close
        self._slots = asyncio.Semaphore(connections_max)
        self._idle: list[Session] = []
        self._busy: dict[asyncpg.Connection[Any], Backend] = {}

    async def read(self, run: int, op: int) -> Recorded | None:
        """The outcome of an op, if its transaction has happened."""
        row = await self._line.fetchrow(self._sql["read"], run, op)
        return None if row is None else Recorded(*row)

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[asyncpg.Connection[Any], None]:
        """A connection to run user code on. One that was interrupted, or is not at rest when
        it comes back, is never used again.

        Raises:
            Unavailable: it cannot be had now, or it was lost on the way: see whether the
                outcome stands.
        """
        async with self._slots:
            session = await self._take()
            connection = session.connection
            at_rest = False
            self._busy[connection] = Backend(session)
            try:
                yield connection
                at_rest = not connection.is_closed() and not connection.is_in_transaction()
            except asyncpg.PostgresError as error:
                if is_lost(error):
                    raise Unavailable(f"the connection was lost: {error}") from error
                at_rest = not connection.is_closed() and not connection.is_in_transaction()
                raise
            except (ConnectionError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
                if connection.is_closed() or isinstance(error, asyncpg.InternalClientError):
                    raise Unavailable(f"the connection was lost: {error}") from error
                raise
            finally:
                del self._busy[connection]
                if at_rest:
                    self._idle.append(session)
                else:
                    self._drop(session)

    @asynccontextmanager
    async def transaction(self, connection: asyncpg.Connection[Any]) -> AsyncGenerator[None, None]:
        """A transaction on a connection in use, set as all of ours are."""
        session = self._busy[connection].session
        async with connection.transaction(isolation="read_committed" if session.pooled else None):
            if session.pooled:
                await connection.execute(f"/* durable: begin */ {session.local}")
            yield

    async def record(
        self,
        connection: asyncpg.Connection[Any],
        *,
        worker: UUID,
        run: int,
        claim: int,
        op: int,
        name: str,
        digest: bytes | None,
        result: bytes | None,
    ) -> None:
        """The last act of the transaction: the fence, then the outcome. Both rows that it locks
        stay as they are until the commit, so the transaction counts or is nothing.

        Raises:
            LeaseLost: the worker was declared dead, or the run is not its own any more.
            asyncpg.UniqueViolationError: it has happened already.
        """
        fence = await connection.fetchrow(self._sql["fence"], worker, run, claim)
        assert fence is not None
        if not fence["alive"]:
            raise LeaseLost(f"worker {worker} was declared dead")
        if not fence["owns"]:
            raise LeaseLost(f"run {run} is not this worker's any more")
        self._busy[connection].xact = await connection.fetchval(
            self._sql["record"], run, op, name, digest, result
        )

    async def settle(self, backend: Backend) -> bool:
        """End a transaction whose commit is unknown. True once it is over for sure: then the
        outcome row tells."""
        session = backend.session
        # Behind a pooler the session is somebody else's by now; and one that this role may not
        # end ends when its own timeouts do.
        if not session.pooled:
            with suppress(asyncpg.InsufficientPrivilegeError):
                await self._line.fetch(self._sql["end_backend"], session.pid, session.started)
        if backend.xact is None:
            return True
        try:
            over: bool = await self._line.fetchval(self._sql["is_over"], backend.xact)
        except asyncpg.InvalidParameterValueError:
            return True  # a number that this server, restored or failed over, has not come to
        return over

    def backend(self, connection: asyncpg.Connection[Any]) -> Backend:
        """Who a connection in use is on the server, for ``settle``."""
        return self._busy[connection]

    async def close(self) -> None:
        while self._idle:
            session = self._idle.pop()
            await session.close()
            self._on_close(session)

    async def _take(self) -> Session:
        while self._idle:
            session = self._idle.pop()
            if not session.connection.is_closed():
                return session
            self._drop(session)
        try:
            session = await connect(
                self._dsn,
                application=self._application,
                lock_timeout=0,
                idle_in_transaction=IDLE_SECONDS,
            )
        except StoreError as error:
            raise Unavailable(str(error)) from error
        self._on_open(session)
        return session

    def _drop(self, session: Session) -> None:
        session.connection.terminate()
        self._on_close(session)
