"""``durable migrate``: the schema, made or brought up to date."""

from __future__ import annotations

import asyncio

import click

from .connection import database_option, found_database, schema_option
from .output import as_json, output_option


@click.command()
@database_option
@schema_option
@output_option
def migrate_command(dsn: str | None, schema: str, output: str) -> None:
    """Create the schema, or bring an older one up to this version. Safe to repeat, and while
    workers run."""
    from .._migrating import migrate
    from .._store.postgres.fitting import VERSION

    with found_database(dsn, only_looks=False) as url:
        asyncio.run(migrate(url, schema))
    if output == "json":
        click.echo(as_json({"schema": schema, "version": VERSION}))
    else:
        click.echo(f"schema {schema} is at version {VERSION}")
