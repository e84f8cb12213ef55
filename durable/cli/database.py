"""``migrate`` and ``doctor``: the schema, and what is wrong with a database."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import click

from ..errors import StoreError
from .connection import database_option, found_database, schema_option
from .output import EXIT_DATABASE, as_json, output_option


@click.command()
@database_option
@schema_option
@output_option
def migrate_command(dsn: str | None, schema: str, output: str) -> None:
    """Create the schema, or bring an older one up to this version. Safe to repeat, and while
    workers run."""
    from .._store.postgres.migrate import VERSION, migrate

    with found_database(dsn, only_looks=False) as url:
        asyncio.run(migrate(url, schema))
    if output == "json":
        click.echo(as_json({"schema": schema, "version": VERSION}))
    else:
        click.echo(f"schema {schema} is at version {VERSION}")


class Finding(NamedTuple):
    """One thing that was looked at. ``level``: ok, warn or bad."""

    level: str
    what: str
    advice: str = ""


@click.command()
@database_option
@schema_option
@output_option
def doctor_command(dsn: str | None, schema: str, output: str) -> int:
    """Look at the database as a worker would, and say in words what is wrong."""
    with found_database(dsn) as url:
        findings = asyncio.run(_examine(url, schema))
    if output == "json":
        click.echo(as_json([each._asdict() for each in findings]))
    else:
        for each in findings:
            click.echo(f"{each.level:<5} {each.what}" + (f". {each.advice}" if each.advice else ""))
    return EXIT_DATABASE if any(each.level == "bad" for each in findings) else 0


async def _examine(dsn: str, schema: str) -> list[Finding]:
    from .._store.postgres.connecting import connect
    from .._store.postgres.migrate import check

    try:
        session = await connect(dsn, application="doctor", lock_timeout=5)
    except StoreError as error:
        return [Finding("bad", str(error))]
    try:
        findings = await _settings(session.connection, pooled=session.pooled)
        try:
            await check(dsn, schema)
        except StoreError as error:
            return [*findings, Finding("bad", str(error))]
        findings.append(Finding("ok", f"the schema {schema!r} fits this version"))
        return findings + await _state(dsn, schema)
    finally:
        session.connection.terminate()


async def _settings(connection: Any, *, pooled: bool) -> list[Finding]:
    row = await connection.fetchrow(
        """/* durable: doctor */
        select current_setting('server_version') as version,
            current_setting('fsync') as fsync,
            current_setting('synchronous_commit') as synchronous_commit,
            extract(epoch from clock_timestamp()) as now,
            (select max(extract(epoch from clock_timestamp() - xact_start))
                from pg_stat_activity where state <> 'idle' and pid <> pg_backend_pid()) as oldest
        """
    )
    findings = [Finding("ok", f"Postgres {row['version']} answers")]
    forgetful = [name for name in ("fsync", "synchronous_commit") if row[name] == "off"]
    loses = "A crash of the server may lose what was acknowledged: switch it on"
    findings += [Finding("bad", f"{name} is off", loses) for name in forgetful]
    if pooled:
        findings.append(
            Finding(
                "warn",
                "a pooler stands between",
                "A worker's death is then noticed by its lease alone (15 s)",
            )
        )
    if (row["oldest"] or 0) > 60:
        findings.append(
            Finding(
                "warn",
                f"a transaction has been open for {row['oldest']:.0f} s",
                "It keeps dead rows from being cleaned up: see pg_stat_activity",
            )
        )
    return findings


async def _state(dsn: str, schema: str) -> list[Finding]:
    from .. import Client

    async with Client(dsn, schema=schema) as client:
        counts = await client.count_by_status()
        workers = await client.store.workers.listed()
    live = [each.name for each in workers if each.state == "live"]
    findings = [
        Finding("ok", f"live workers: {', '.join(live)}")
        if live
        else Finding("warn", "no worker is registered", "Start one: durable worker MODULE")
    ]
    for status, advice in (
        ("stuck", "Look at them: durable list --status stuck"),
        ("unserved", "No live worker knows their workflow: durable list --status unserved"),
    ):
        if counts.get(status):
            findings.append(Finding("warn", f"{counts[status]} runs are {status}", advice))
    told = ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "none"
    findings.append(Finding("ok", f"runs: {told}"))
    return findings
