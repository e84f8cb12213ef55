"""The libraries in which users speak to Postgres: their transactions, and ours in theirs.

asyncpg is ours and stands here. The others are optional: a module of ``durable.integrations`` each,
imported when somebody uses that library, by name, since rooms only look inward.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Protocol

import asyncpg

from ...errors import InvalidCall
from .connecting import Seat, Session, connect
from .line import LOST_STATES

# User code may compute between two statements for this long before Postgres ends its session;
# a worker that hangs must not hold rows for ever.
IDLE_SECONDS = 60.0


class Library(Protocol):
    async def open(self, dsn: str, application: str) -> Seat: ...
    def is_closed(self, connection: Any) -> bool: ...
    def is_in_transaction(self, connection: Any) -> bool: ...
    def joins(self, connection: Any) -> bool:
        """Whether what is sent next is part of a transaction of its owner's."""
        ...

    def transaction(
        self, connection: Any, isolation: str | None
    ) -> AbstractAsyncContextManager[Any]: ...
    def handed(self, connection: Any, isolation: str | None) -> AbstractAsyncContextManager[Any]:
        """What user code gets of a connection that is in a transaction; all that it has done there
        is with the database when the block ends."""
        ...

    async def fetch(self, connection: Any, query: str, *args: Any) -> Sequence[Sequence[Any]]: ...
    def terminate(self, connection: Any) -> None: ...


class Asyncpg:
    async def open(self, dsn: str, application: str) -> Session:
        return await connect(
            dsn, application=application, lock_timeout=0, idle_in_transaction=IDLE_SECONDS
        )

    def is_closed(self, connection: Any) -> bool:
        closed: bool = connection.is_closed()
        return closed

    def is_in_transaction(self, connection: Any) -> bool:
        return not connection.is_closed() and bool(connection.is_in_transaction())

    joins = is_in_transaction

    def transaction(self, connection: Any, isolation: str | None) -> Any:
        return connection.transaction(isolation=isolation)

    def handed(self, connection: Any, isolation: str | None) -> Any:
        return nullcontext(connection)

    async def fetch(self, connection: Any, query: str, *args: Any) -> Sequence[Sequence[Any]]:
        rows: Sequence[Sequence[Any]] = await connection.fetch(query, *args)
        return rows

    def terminate(self, connection: Any) -> None:
        connection.terminate()


_asyncpg = Asyncpg()

# What a connection has, and a pool of asyncpg, or a connection of psycopg that blocks, has not.
_MARKS = {"asyncpg": "is_in_transaction", "psycopg": "__aenter__"}


def library(name: str) -> Library:
    """By its name, as ``Definition.library`` has it.

    Raises:
        InvalidCall: it is not installed, or not one of these.
    """
    package, _, variant = name.partition(".")
    if package == "asyncpg":
        return _asyncpg
    try:
        module = importlib.import_module(f"durable.integrations.{package}")
    except ModuleNotFoundError as error:
        raise InvalidCall(
            f"{package} is no library that Durable can join, or not whole: {error}. There are "
            "asyncpg, psycopg (durably[psycopg]) and sqlalchemy (durably[sqlalchemy])."
        ) from error
    found: Library = module.library(variant)
    return found


async def join(connection: Any, query: str, *args: Any) -> Sequence[Sequence[Any]]:
    """Send a statement as part of the transaction that the owner of a connection is in.

    Raises:
        InvalidCall: it is no connection of a library that is known, or in no transaction.
    """
    package = type(connection).__module__.partition(".")[0]
    if package == "sqlalchemy":
        module = importlib.import_module("durable.integrations.sqlalchemy")
        connection = await module.driver_connection(connection)
        package = type(connection).__module__.partition(".")[0]
    if not hasattr(connection, _MARKS.get(package, "")):
        raise InvalidCall(
            f"connection={connection!r:.100} is no connection of asyncpg or of psycopg "
            "(AsyncConnection), nor one or a session of SQLAlchemy (AsyncConnection, AsyncSession)."
        )
    known = library(package)
    if not known.joins(connection):
        raise InvalidCall(
            "connection=... joins the transaction of a connection, and this one is closed, or in "
            "none (autocommit): begin one, as in `async with connection.transaction():`, or leave "
            "the argument out. Nothing was written."
        )
    return await known.fetch(connection, query, *args)


def tells_the_end(error: BaseException, *, closed: bool) -> bool:
    """Whether it tells of the end of a session (which is ``closed`` now, or not), and nothing of
    what was done in it."""
    state, package = sqlstate(error) or "", type(error).__module__.partition(".")[0]
    if state.startswith("08") or state in LOST_STATES:
        return True
    if isinstance(error, asyncpg.InternalClientError):
        return True
    return closed and (
        isinstance(error, OSError) or package in ("asyncpg", "psycopg", "sqlalchemy")
    )


def sqlstate(error: BaseException) -> str | None:
    """Of an error of any of these; SQLAlchemy wraps that of its driver."""
    for each in (error, getattr(error, "orig", None)):
        state = getattr(each, "sqlstate", None)
        if isinstance(state, str):
            return state
    return None
