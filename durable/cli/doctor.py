"""``durable doctor``: looks at a database as a worker would, and says in words what is wrong.

Each check gives findings: *ok*, *warn* or *bad*, with advice. What is bad loses work or stops it;
what is warned of will hurt some day.
"""

from __future__ import annotations

import asyncio
import platform
from datetime import UTC, datetime
from importlib import metadata
from typing import Any, NamedTuple

import click

from ..errors import StoreError
from .connection import database_option, found_database, schema_option
from .output import EXIT_DATABASE, EXIT_FAILED, as_json, clean, output_option

# Connections of one worker: calls, commits, aside, lists, its heartbeat, four transactions.
CONNECTIONS_PER_WORKER = 9

# Our longest statements may take this long.
STATEMENT_SECONDS = 30.0

SKEW_SECONDS = 2.0
DUE_SECONDS = 60.0


class Finding(NamedTuple):
    """One thing that was looked at. ``check`` is a stable name; ``level``: ok, warn or bad."""

    level: str
    check: str
    what: str
    advice: str = ""


@click.command()
@database_option
@schema_option
@output_option
@click.option("--strict", is_flag=True, help="warnings count, too: exit code 1")
def doctor_command(dsn: str | None, schema: str, output: str, strict: bool) -> int:
    """Look at the database as a worker would, and say in words what is wrong.

    Exit codes: 0 nothing is bad, 8 something is; with --strict 1 if there are only warnings.
    """
    with found_database(dsn) as url:
        findings = [*installation(), *asyncio.run(_examine(url, schema))]
    if output == "json":
        click.echo(as_json([each._asdict() for each in findings]))
    else:
        for each in findings:
            advice = f". {each.advice}" if each.advice else ""
            click.echo(clean(f"{each.level:<5} {each.check}: {each.what}{advice}"))
    levels = {each.level for each in findings}
    if "bad" in levels:
        return EXIT_DATABASE
    return EXIT_FAILED if strict and "warn" in levels else 0


def installation() -> list[Finding]:
    """This process: what is installed, and whether the name ``durable`` is ours."""
    version = f"durably {metadata.version('durably')}, Python {platform.python_version()}"
    owners = metadata.packages_distributions().get("durable", [])
    foreign = sorted({each for each in owners if each != "durably"})
    if foreign:
        advice = f"Files of both lie in one directory: pip uninstall {' '.join(foreign)} durably, "
        advice += "then install durably again"
        return [
            Finding("ok", "version", version),
            Finding("bad", "package", f"{', '.join(foreign)} also owns `durable`", advice),
        ]
    return [Finding("ok", "version", version)]


async def _examine(dsn: str, schema: str) -> list[Finding]:
    from .._store.postgres import fitting, statements
    from .._store.postgres.connecting import connect

    try:
        session = await connect(dsn, application="doctor", lock_timeout=5)
    except StoreError as error:
        return [Finding("bad", "database", str(error))]
    sql = statements.load("doctor", schema)
    connection = session.connection
    try:
        findings = await _server(connection, sql, pooled=session.pooled)
        try:
            await fitting.check(connection, schema)
        except StoreError as error:
            return [*findings, Finding("bad", "schema", str(error))]
        return findings + await _schema(connection, sql) + await _work(connection, sql)
    finally:
        connection.terminate()


async def _server(connection: Any, sql: Any, *, pooled: bool) -> list[Finding]:
    before = datetime.now(UTC)
    row = await connection.fetchrow(sql["settings"])
    skew = abs((row["now"] - (before + (datetime.now(UTC) - before) / 2)).total_seconds())
    findings = [Finding("ok", "server", f"Postgres {row['version']} answers")]
    loses = "A crash of the server may lose or spoil what was acknowledged: switch it on"
    findings += [
        Finding("bad", name, f"{name} is off", loses)
        for name in ("fsync", "full_page_writes", "synchronous_commit")
        if row[name] == "off"
    ]
    if row["autovacuum"] == "off":
        advice = "Dead rows pile up and claims become slow: switch it on"
        findings.append(Finding("bad", "autovacuum", "autovacuum is off", advice))
    free = row["connections_max"] - row["connections"]
    if free < CONNECTIONS_PER_WORKER:
        what = f"{free} connections are free; a worker may want {CONNECTIONS_PER_WORKER}"
        findings.append(Finding("warn", "connections", what, "Raise max_connections"))
    if 0 < row["statement_timeout"] < STATEMENT_SECONDS:
        what = f"statement_timeout is {row['statement_timeout']:g} s for this role"
        advice = f"Long reads of ours may take {STATEMENT_SECONDS:g} s: alter role ... set "
        findings.append(Finding("warn", "timeout", what, advice + "statement_timeout = 0"))
    if skew > SKEW_SECONDS:
        what = f"the clocks of this machine and of the server differ by {skew:.1f} s"
        advice = "Runs go by the server's; log lines will not fit them"
        findings.append(Finding("warn", "clock", what, advice))
    if pooled:
        advice = "All works; a worker's death is noticed by its lease alone (15 s), and idle "
        advice += "workers find work within a second. A direct URL is quicker"
        findings.append(Finding("warn", "pooler", "a pooler stands between", advice))
    for each in await connection.fetch(sql["holding"]):
        what = f"{each['who']} has been in a transaction for {each['seconds']:.0f} s"
        advice = "It keeps dead rows from being cleaned up, and may hold locks: end it"
        findings.append(Finding("warn", "transaction", f"{what} ({each['state']})", advice))
    return findings


async def _schema(connection: Any, sql: Any) -> list[Finding]:
    row = await connection.fetchrow(sql["versions"])
    what = f"version {row['version']}, admits code for {row['code_min']} and newer"
    findings = [Finding("ok", "schema", what)]
    missing = [each["grant"] for each in await connection.fetch(sql["missing"])]
    if missing:
        advice = "A worker under this role cannot work: see docs/operations.md, Roles"
        findings.append(Finding("bad", "grants", f"not granted: {', '.join(missing)}", advice))
    others = [each["role"] for each in await connection.fetch(sql["others"])]
    if others:
        what = f"workers run under other roles ({', '.join(others)}), whose sessions this one may "
        advice = "Takeovers may take ten seconds longer: grant pg_signal_backend, pg_read_all_stats"
        findings.append(Finding("warn", "signals", what + "not end", advice))
    for each in await connection.fetch(sql["bloated"]):
        what = f"{each['name']} has {each['dead']} dead rows beside {each['live']} live ones"
        advice = "Autovacuum does not keep up, or something holds it back: see `transaction`"
        findings.append(Finding("warn", "bloat", what, advice))
    return findings


async def _work(connection: Any, sql: Any) -> list[Finding]:
    workers = await connection.fetch(sql["workers"])
    live = [each["name"] for each in workers if _lives(each)]
    findings = [
        Finding("warn", "worker", f"{each['name']} is silent for {each['silent']:.0f} s",
                "It is dead; a live worker takes its runs over")
        for each in workers if not _lives(each)
    ]  # fmt: skip
    if live:
        findings.append(Finding("ok", "workers", f"{len(live)} live: {', '.join(live)}"))
    else:
        advice = "Start one: durable worker MODULE"
        findings.append(Finding("warn", "workers", "no worker lives", advice))
    most = (await connection.fetchrow(sql["settings"]))["connections_max"]
    if (wanted := len(live) * CONNECTIONS_PER_WORKER) > most:
        what = f"{len(live)} workers live and may want {wanted} connections; the server has {most}"
        advice = "Raise max_connections, or let fewer --processes have more --runs-max each"
        findings.append(Finding("warn", "budget", what, advice))
    counts = {each["status"]: each["count"] for each in await connection.fetch(sql["counts"])}
    for status, advice in (
        (
            "stuck",
            "Nothing is lost. `durable show ID` says why: durable list --status stuck",
        ),
        ("unserved", "No live worker serves the workflow: durable list --status unserved"),
    ):
        if count := counts.get(status):
            what = f"1 run is {status}" if count == 1 else f"{count} runs are {status}"
            findings.append(Finding("warn", status, what, advice))
    row = await connection.fetchrow(sql["waiting"])
    if row["due"] and row["seconds"] > DUE_SECONDS:
        what = f"{row['due']} runs are due, the first for {row['seconds']:.0f} s"
        findings.append(Finding("warn", "lag", what, "More workers, or larger runs_max"))
    told = ", ".join(f"{count} {status}" for status, count in counts.items()) or "none"
    findings.append(Finding("ok", "runs", told))
    return findings


def _lives(worker: Any) -> bool:
    return bool(worker["state"] == "live" and worker["silent"] <= worker["lease"])
