"""Where the command line finds its database."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import click

from ..errors import ConfigurationError

T = TypeVar("T")

database_option = click.option(
    "--database",
    "dsn",
    metavar="URL",
    default=None,
    help="a Postgres URL; DURABLE_DATABASE_URL or the embedded Postgres if left out",
)
schema_option = click.option("--schema", default="durable", show_default=True)


@contextmanager
def found_database(dsn: str | None) -> Generator[str, None, None]:
    """The URL to use; an embedded server runs for as long as the block."""
    dsn = dsn or os.environ.get("DURABLE_DATABASE_URL")
    if dsn is not None:
        yield dsn
        return
    from ..embedded import EmbeddedPostgres, default_directory

    directory = default_directory()
    if os.environ.get("DURABLE_EMBEDDED") == "never" or not directory.exists():
        raise ConfigurationError(
            f"No database is given, and there is no embedded one in {directory}: pass "
            "--database, set DURABLE_DATABASE_URL, or go to the directory of your program."
        )
    with EmbeddedPostgres(directory) as server:
        yield server.url()


@asynccontextmanager
async def opened(dsn: str, schema: str) -> AsyncGenerator[Any, None]:
    from .. import Client

    async with Client(dsn, schema=schema) as client:
        yield client


def with_client(dsn: str | None, schema: str, use: Callable[[Any], Awaitable[T]]) -> T:
    """Open the database, use it, close it."""

    async def run(url: str) -> T:
        async with opened(url, schema) as client:
            return await use(client)

    with found_database(dsn) as url:
        return asyncio.run(run(url))
