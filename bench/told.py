"""What all benchmarks have in common on the command line: a database, and how they are told.

@click.command(help=__doc__)
@database_option
@json_option
def main(dsn: str | None, as_json: bool) -> None:
    tell(answered(measure, dsn), as_json)
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import click

from durable.cli.worker import quiet_collector
from durable.embedded import EmbeddedPostgres, find_binaries

database_option = click.option("--dsn", help="a Postgres of yours; a throw-away one by default")
json_option = click.option("--json", "as_json", is_flag=True, help="one line of JSON")


def settings() -> dict[str, str]:
    """Those of Postgres itself, fsync included; statements are counted where it can."""
    found = {"jit": "off"}
    library = find_binaries().directory.parent / "lib"
    if any(Path(library).rglob("pg_stat_statements.so")):
        found["shared_preload_libraries"] = "pg_stat_statements"
    return found


@contextlib.contextmanager
def database(dsn: str | None) -> Iterator[str]:
    if dsn is not None:
        yield dsn
        return
    with EmbeddedPostgres(settings=settings()) as server:
        yield server.url()


def answered(
    measure: Callable[[str], Coroutine[Any, Any, dict[str, Any]]], dsn: str | None
) -> dict[str, Any]:
    """What is measured, on a database of ours or of yours, as `durable worker` would work."""
    quiet_collector()
    with database(dsn) as url:
        return asyncio.run(measure(url))


def tell(report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(report))
        return
    width = max(map(len, report))
    for key, value in report.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            click.echo(f"{key:>{width}}")
            for each in value:
                click.echo(" " * width + "  " + "  ".join(f"{k}={v}" for k, v in each.items()))
        else:
            click.echo(f"{key:>{width}}  {value}")
