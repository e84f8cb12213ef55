"""A line: one actor that owns one connection.

A task of its own makes the calls, one after another; a caller awaits a future. So no caller's
cancellation ever reaches the driver in the middle of a statement, and no connection is ever
released half-used: one that was interrupted is terminated, and the next call opens another.

    caller --call--> queue --> task --> connection
           <-------- future ---'
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import deque
from typing import Any

import asyncpg

from ...errors import InvalidCall, StoreError, StoreUnavailable
from ..protocol import Unavailable
from .connecting import CLOSE_SECONDS, Do, Session, Sessions, connect

CALL_SECONDS = 30.0

# A stranger's lock is waited for so long, if it must be.
WAIT_SECONDS = 10.0

# A database that is away is asked again at this pace, with jitter, in seconds.
_PAUSE_FIRST, _PAUSE_MAX = 0.05, 3.0

# The server ended the session, or may not be written to any more (a failover).
LOST_STATES = frozenset({"57P01", "57P02", "57P03", "57P05", "25P03", "25006"})


class Line:
    """``aside`` is another one, on which a call may wait for a stranger's lock."""

    def __init__(
        self, sessions: Sessions, *, lock_timeout: float, aside: Line | None = None
    ) -> None:
        self.aside = aside or self
        self._sessions = sessions
        self._lock_timeout = lock_timeout
        self._calls: deque[tuple[Do, float, asyncio.Future[Any]]] = deque()
        self._more = asyncio.Event()
        self._session: Session | None = None
        self._using = asyncio.Lock()  # the session
        self._failures = 0
        self._not_before = 0.0
        self._closed = False
        self._pid = os.getpid()
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None

    @property
    def session(self) -> Session | None:
        """The session that stands now; another one after each loss."""
        return self._session

    async def open(self) -> None:
        """Connect now, and raise what is wrong in words. Calls connect by themselves.

        Raises:
            ConfigurationError, StoreUnavailable
        """
        await self._connect()

    async def fetch(self, query: str, *args: Any, within: float = CALL_SECONDS) -> list[Any]:
        rows: list[Any] = await self.call(lambda c: c.fetch(query, *args), within=within)
        return rows

    async def fetchrow(self, query: str, *args: Any, within: float = CALL_SECONDS) -> Any:
        return await self.call(lambda c: c.fetchrow(query, *args), within=within)

    async def fetchval(self, query: str, *args: Any, within: float = CALL_SECONDS) -> Any:
        return await self.call(lambda c: c.fetchval(query, *args), within=within)

    async def patiently(self, what: str, query: str, *args: Any) -> Any:
        """A row, of a call that may have to wait for a stranger's lock. It is tried here, where
        lock_timeout is short, so that one stranger's open transaction does not hold up everybody's
        calls. If it must wait it does so aside, and not for ever.

        Raises:
            StoreUnavailable: ``what`` stays locked.
        """
        until, line = time.monotonic() + WAIT_SECONDS, self
        while True:
            try:
                return await line.fetchrow(query, *args)
            except asyncpg.LockNotAvailableError:
                if time.monotonic() > until:
                    raise StoreUnavailable(
                        f"An open transaction has held {what} for {WAIT_SECONDS:g} s. Is it one "
                        "of yours (a start or a signal with connection=...)? Commit it first. "
                        "Nothing was written."
                    ) from None
                line = self.aside

    async def call(self, do: Do, *, within: float = CALL_SECONDS, mine: bool = False) -> Any:
        """Let ``do`` use the connection alone, for at most ``within`` seconds. With ``mine`` the
        caller's own task makes the call, if nothing else is under way: two rounds of the loop less,
        for one that is not cancelled before all ends. (It would cost the connection.)

        Raises:
            Unavailable: no answer: it may or may not have happened.
            asyncpg.PostgresError: the server's own, clean refusal.
        """
        self._check_place()
        if self._closed:
            raise Unavailable("the store is closed")
        if mine and not (self._calls or self._using.locked()):
            async with self._using:
                return await self._one(do, within)
        future: asyncio.Future[Any] = self._loop.create_future()
        self._calls.append((do, within, future))
        self._more.set()
        if self._task is None:
            self._task = self._loop.create_task(self._run())
        return await future

    async def close(self) -> None:
        """Let the call in flight finish for a moment; refuse the others."""
        self._closed = True
        refused, self._calls = self._calls, deque()
        for _, _, future in refused:
            _fail(future, Unavailable("the store is closed"))
        self._more.set()
        if self._task is not None:
            done, _ = await asyncio.wait([self._task], timeout=CLOSE_SECONDS)
            if not done:
                self._task.cancel()
                await asyncio.wait([self._task])
        if self._session is not None:
            await self._session.close()
            self._drop()

    def _check_place(self) -> None:
        if os.getpid() != self._pid:
            raise InvalidCall(
                "The process forked after the database was opened; connections cannot be "
                "shared. Open it in the child, after the fork."
            )
        if asyncio.get_running_loop() is not self._loop:
            raise InvalidCall(
                "The database was opened in another event loop. Open it in the loop that uses it."
            )

    async def _run(self) -> None:
        while not self._closed:
            if not self._calls:
                self._more.clear()
                await self._more.wait()
                continue
            do, within, future = self._calls.popleft()
            if future.cancelled():
                continue  # nobody waits, and it has not begun
            try:
                async with self._using:
                    result = await self._one(do, within)
            except asyncio.CancelledError:
                _fail(future, Unavailable("the store was closed in the middle of a call"))
                raise
            except BaseException as error:  # noqa: BLE001 - the caller's, whatever it is
                _fail(future, error)
            else:
                if not future.done():
                    future.set_result(result)

    async def _one(self, do: Do, within: float) -> Any:
        session = self._session
        if session is None or session.connection.is_closed():
            session = await self._reconnect()
        try:
            async with asyncio.timeout(within):
                return await session.use(do)
        except TimeoutError:
            self._drop()
            raise Unavailable(f"no answer within {within:g} s") from None
        except asyncpg.PostgresError as error:
            if is_lost(error):
                self._drop()
                raise Unavailable(f"the connection was lost: {error}") from error
            if session.connection.is_closed():
                self._drop()
            raise
        except (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            # (The last is what asyncpg says to a call that meets the server's goodbye.)
            if isinstance(error, ValueError):  # a value that asyncpg cannot even send
                raise asyncpg.exceptions.DataError(str(error)) from error
            self._drop()
            raise Unavailable(f"the connection was lost: {error}") from error
        except BaseException:
            self._drop()
            raise

    async def _reconnect(self) -> Session:
        self._drop()
        pause = self._not_before - self._loop.time()
        if pause > 0:
            await asyncio.sleep(pause)
        try:
            return await self._connect()
        except StoreError as error:
            raise Unavailable(str(error)) from error

    async def _connect(self) -> Session:
        try:
            known = self._sessions
            session = await connect(
                known.dsn, application=known.name, lock_timeout=self._lock_timeout
            )
        except StoreError:
            longest = min(_PAUSE_FIRST * 2**self._failures, _PAUSE_MAX)
            self._not_before = self._loop.time() + longest * random.uniform(0.5, 1)  # noqa: S311
            self._failures = min(self._failures + 1, 16)
            raise
        self._failures = 0
        self._session = session
        self._sessions.opened(session)
        return session

    def _drop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.connection.terminate()
            self._sessions.closed(session)


def is_lost(error: asyncpg.PostgresError) -> bool:
    """Whether it tells the end of a session, and nothing about a statement."""
    state = error.sqlstate or ""
    return state.startswith("08") or state in LOST_STATES


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
