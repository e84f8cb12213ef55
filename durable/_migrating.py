"""Creating and upgrading the schema.

A missing schema is made from ``schema.sql``; an older one gets the migrations that it lacks,
which come to the same (a test compares). Functions and views are replaced each time. One
transaction, under an advisory lock: any number of processes may do this at once.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

import asyncpg

from ._store.postgres import statements
from ._store.postgres.connecting import connect
from ._store.postgres.fitting import VERSION, mismatch, versions
from ._store.postgres.line import is_lost
from .errors import SchemaMismatch, StoreUnavailable

# A migration that cannot have its locks at once gives way to the work that holds them.
LOCK_SECONDS = 5.0
TRIES = 5

_SCHEMA_EXISTS = """/* durable: schema_is_there */
select exists (select from pg_catalog.pg_namespace where nspname = $1)"""
_SCHEMA_ITSELF = re.compile(r"^(?:create|comment on) schema [^;]*;$", re.MULTILINE)
_LOCK = """/* durable: lock_schema */
select pg_advisory_xact_lock(hashtextextended('durable/migrate/' || $1, 0))"""
_NOTE = "/* durable: note_version */ update durable.setting set value = $2 where name = $1"
_PATIENCE = "/* durable: patience */ set local lock_timeout = '{seconds:g}s'"


async def migrate(dsn: str, schema: str = "durable") -> None:
    """Create the schema, or bring it up to this code. Doing so again changes nothing.

    Raises:
        ConfigurationError, StoreUnavailable: what is wrong with the database, in words.
        SchemaMismatch: the schema is for newer code than this.
    """
    await prepare(dsn, schema=schema, upgrade=True)


async def prepare(dsn: str, *, schema: str = "durable", upgrade: bool) -> None:
    """Create a missing schema; upgrade an older one only if asked.

    Raises: as ``migrate``; SchemaMismatch also if an upgrade is needed and not asked for.
    """
    session = await connect(dsn, application="migrate", lock_timeout=LOCK_SECONDS)
    connection = session.connection
    try:
        for attempt in range(TRIES):
            try:
                await _prepare(connection, schema, upgrade)
            except asyncpg.LockNotAvailableError as error:
                if attempt == TRIES - 1:
                    raise StoreUnavailable(
                        f"The schema {schema!r} could not be upgraded: other sessions kept its "
                        f"tables locked ({error}). Nothing was changed; try again."
                    ) from error
                await asyncio.sleep(0.2 * 2**attempt)
            else:
                return
    except asyncpg.InsufficientPrivilegeError as error:
        raise SchemaMismatch(
            f"The schema {schema!r} is missing or old, and this role may not change it "
            f"({error}). Run `durable migrate` as a role that may create schemas."
        ) from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError,
            asyncpg.InternalClientError) as error:  # fmt: skip
        if isinstance(error, asyncpg.PostgresError) and not is_lost(error):
            raise
        raise StoreUnavailable(
            f"The connection was lost before the schema was seen to fit ({error}). Try again."
        ) from error
    finally:
        connection.terminate()


async def _prepare(connection: asyncpg.Connection[Any], schema: str, upgrade: bool) -> None:
    found = await versions(connection, schema)
    if found is not None and not upgrade:
        error = mismatch(found, schema)
        if error is not None:
            raise error
        return
    async with connection.transaction():
        await connection.execute(_PATIENCE.format(seconds=0))
        await connection.fetchval(_LOCK, schema)
        await connection.execute(_PATIENCE.format(seconds=LOCK_SECONDS))
        found = await versions(connection, schema)
        if found is None:
            exists = await connection.fetchval(_SCHEMA_EXISTS, schema)
            await connection.execute("/* durable: create */\n" + _creation(schema, exists=exists))
        else:
            error = mismatch(found, schema)
            if error is not None and found[0] >= VERSION:
                raise error
            for step in statements.migrations(schema)[found[0] :]:
                await connection.execute("/* durable: migrate */\n" + step)
            note = statements.with_schema(_NOTE, schema)
            if found[0] < VERSION:
                await connection.execute(note, "schema_version", str(VERSION))
        if found is None or found[0] <= VERSION:
            await connection.execute("/* durable: replace */\n" + statements.functions(schema))


def _creation(schema: str, *, exists: bool) -> str:
    """A schema that is there and empty (made by an administrator) is used as it is: whoever may
    make tables in it need not be allowed more."""
    made = statements.tables(schema)
    return _SCHEMA_ITSELF.sub("", made) if exists else made
