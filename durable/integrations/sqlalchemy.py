"""SQLAlchemy: ``ctx.transaction`` with ``async def fn(session: AsyncSession, ...)``, or with an
``AsyncConnection``, and starts and messages that join a transaction of yours.
``durably[sqlalchemy]``.

The session stands upon a connection of ours, which is in a transaction already: to asyncpg what
SQLAlchemy begins there is a savepoint. So the outcome is the last thing in the outer transaction,
whatever the code commits.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import StaticPool

from .._store.postgres.libraries import Asyncpg
from ..errors import InvalidCall

_engines: WeakKeyDictionary[Any, AsyncEngine] = WeakKeyDictionary()  # by asyncpg's connection


class SQLAlchemy(Asyncpg):
    """``wants``: session or connection."""

    def __init__(self, wants: str) -> None:
        self._wants = wants

    @asynccontextmanager
    async def handed(self, connection: Any, isolation: str | None) -> AsyncGenerator[Any, None]:
        level = (isolation or "read_committed").replace("_", " ").upper()
        engine = _engine(connection).execution_options(isolation_level=level)
        if self._wants == "connection":
            async with engine.begin() as given:
                yield given
        else:
            async with AsyncSession(engine, expire_on_commit=False) as session:
                yield session
                await session.commit()


def _engine(connection: Any) -> AsyncEngine:
    engine = _engines.get(connection)
    if engine is None:

        async def take(*_: Any, **__: Any) -> Any:
            return connection

        engine = _engines[connection] = create_async_engine(
            "postgresql+asyncpg://", async_creator=take, poolclass=StaticPool,
        )  # fmt: skip
    return engine


def library(variant: str) -> SQLAlchemy:
    return SQLAlchemy(variant)


async def driver_connection(given: Any) -> Any:
    """The driver's connection of a session, or of a connection, once it is in its transaction.

    Raises:
        InvalidCall: it is none of these, or not asynchronous.
    """
    if isinstance(given, AsyncSession):
        given = await given.connection()
    if not isinstance(given, AsyncConnection):
        raise InvalidCall(
            f"connection={given!r:.100}: it takes an AsyncSession, or an AsyncConnection."
        )
    await given.execute(text("select 1"))  # what SQLAlchemy has begun, its driver begins now
    raw = await given.get_raw_connection()
    return raw.driver_connection
