"""The ``outcome`` table, and the connections on which ``ctx.transaction`` runs user code, in the
library that it speaks.

A transaction's outcome is written last of all in the user's own transaction, so it is there
if and only if the transaction happened.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any
from uuid import UUID

import asyncpg

from ...errors import LeaseLost, StoreError
from ..protocol import Recorded, Unavailable
from .connecting import Seat, Sessions
from .libraries import Library, library, tells_the_end
from .line import Line
from .statements import Noun

CONNECTIONS_MAX = 4


class Backend:
    """Who runs a transaction on the server: the session, and, once its outcome is recorded, the
    transaction itself. Only after that can it commit."""

    def __init__(self, session: Seat, spoken: Library, sql: Mapping[str, str]) -> None:
        self.session = session
        self.connection = session.connection
        self.xact: str | None = None
        self._library = spoken
        self._sql = sql
        self._isolation = "read_committed"

    @asynccontextmanager
    async def transaction(self, isolation: str | None = None) -> AsyncGenerator[None, None]:
        """A transaction, set as all of ours are."""
        self._isolation = isolation or self._isolation
        async with self._library.transaction(self.connection, self._isolation):
            if self.session.pooled:
                for each in self.session.local.split(";"):
                    await self._library.fetch(self.connection, f"/* durable: begin */ {each}")
            yield

    def handed(self) -> AbstractAsyncContextManager[Any]:
        """What user code gets of the connection, in a transaction."""
        return self._library.handed(self.connection, self._isolation)

    def is_in_transaction(self) -> bool:
        return self._library.is_in_transaction(self.connection)

    def is_at_rest(self) -> bool:
        return not self._library.is_closed(self.connection) and not self.is_in_transaction()

    async def record(
        self, worker: UUID, *, run: int, claim: int, op: int, outcome: Recorded
    ) -> None:
        """The last act of the transaction: the fence, then the outcome. Both rows that it locks
        stay as they are until the commit, so the transaction counts or is nothing.

        Raises:
            LeaseLost: the worker was declared dead, or the run is not its own any more.
            Exception: the library's own, of SQLSTATE 23505: it has happened already.
        """
        fetch, sql = self._library.fetch, self._sql
        ((alive, owns),) = await fetch(self.connection, sql["fence"], worker, run, claim)
        if not alive:
            raise LeaseLost(f"worker {worker} was declared dead")
        if not owns:
            raise LeaseLost(f"run {run} is not this worker's any more")
        ((self.xact,),) = await fetch(self.connection, sql["record"], run, op, *outcome)


class Outcomes(Noun):
    def __init__(
        self, line: Line, schema: str, *, sessions: Sessions, connections_max: int
    ) -> None:
        super().__init__(line, schema)
        self._sessions = sessions
        self._slots = asyncio.Semaphore(connections_max)
        self._idle: defaultdict[str, list[Seat]] = defaultdict(list)  # by library

    async def read(self, run: int, op: int) -> Recorded | None:
        """The outcome of an op, if its transaction has happened."""
        row = await self._line.fetchrow(self._sql["read"], run, op)
        return None if row is None else Recorded(*row)

    @asynccontextmanager
    async def backend(self, name: str = "asyncpg") -> AsyncGenerator[Backend, None]:
        """A connection to run user code on, of the library ``name``. One that was interrupted, or
        is not at rest when it comes back, is never used again.

        Raises:
            Unavailable: it cannot be had now, or it was lost on the way: see whether the
                outcome stands.
            InvalidCall: there is no such library here.
        """
        spoken = library(name)
        async with self._slots:
            session = await self._take(name, spoken)
            backend, at_rest = Backend(session, spoken, self._sql), False
            try:
                yield backend
                at_rest = backend.is_at_rest()
            except Exception as error:
                if tells_the_end(error, closed=spoken.is_closed(session.connection)):
                    raise Unavailable(f"the connection was lost: {error}") from error
                at_rest = backend.is_at_rest()
                raise
            finally:
                if at_rest:
                    self._idle[name].append(session)
                else:
                    self._drop(session, spoken)

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

    async def close(self) -> None:
        for seats in self._idle.values():
            while seats:
                session = seats.pop()
                await session.close()
                self._sessions.closed(session)

    async def _take(self, name: str, spoken: Library) -> Seat:
        idle = self._idle[name]
        while idle:
            session = idle.pop()
            if not spoken.is_closed(session.connection):
                return session
            self._drop(session, spoken)
        try:
            session = await spoken.open(self._sessions.dsn, self._sessions.name)
        except StoreError as error:
            raise Unavailable(str(error)) from error
        self._sessions.opened(session)
        return session

    def _drop(self, session: Seat, spoken: Library) -> None:
        spoken.terminate(session.connection)
        self._sessions.closed(session)
