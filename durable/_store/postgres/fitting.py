"""Whether the schema that is there fits this code. Making it, and upgrading it, is for
``durable/_migrating.py``.
"""

from __future__ import annotations

from typing import Any

import asyncpg

from ...errors import SchemaMismatch, StoreError
from . import statements

# The schema that this code is written for: the number of its last migration.
VERSION = 1

# Not to_regclass(): within a transaction that has waited for the lock it may still answer from
# before somebody else made the table.
_SETTING_TABLE = """/* durable: is_there */
select exists (
    select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relname = 'setting' and c.relkind = 'r')"""
_SETTINGS = """/* durable: versions */
select name, value from durable.setting where name in ('schema_version', 'code_min')"""


async def check(connection: asyncpg.Connection[Any], schema: str) -> None:
    """See that the schema is there and fits this code.

    Raises:
        SchemaMismatch
    """
    error = mismatch(await versions(connection, schema), schema)
    if error is not None:
        raise error


def mismatch(found: tuple[int, int] | None, schema: str) -> StoreError | None:
    """What is wrong with a schema of version ``found[0]`` that admits code for ``found[1]``
    and newer."""
    command = "durable migrate" + (f" --schema {schema}" if schema != "durable" else "")
    if found is None:
        return SchemaMismatch(
            f"The database has no schema {schema!r}. Run `{command}`, or start a worker: it "
            "creates what is missing."
        )
    version, code_min = found
    if version < VERSION:
        return SchemaMismatch(
            f"The schema {schema!r} is version {version}; this code needs {VERSION}. "
            f"Run `{command}`."
        )
    if code_min > VERSION:
        return SchemaMismatch(
            f"The schema {schema!r} is version {version} and admits code for {code_min} and "
            f"newer; this code is for {VERSION}. Upgrade the package durably."
        )
    return None


async def versions(connection: asyncpg.Connection[Any], schema: str) -> tuple[int, int] | None:
    if not await connection.fetchval(_SETTING_TABLE, schema):
        return None
    rows = await connection.fetch(statements.with_schema(_SETTINGS, schema))
    found = {row["name"]: int(row["value"]) for row in rows}
    return found["schema_version"], found["code_min"]
