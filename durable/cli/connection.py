"""Where the command line finds its database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import click

from .._surroundings import find_place

T = TypeVar("T")

database_option = click.option(
    "--database",
    "dsn",
    metavar="URL",
    default=None,
    help="a Postgres URL; DURABLE_DATABASE_URL or the embedded Postgres if left out",
)
schema_option = click.option(
    "--schema", default="durable", show_default=True, help="the schema that holds the tables"
)


@contextmanager
def found_database(dsn: str | None, *, only_looks: bool = True) -> Generator[str, None, None]:
    """The URL to use; an embedded server runs for as long as the block."""
    place = find_place(dsn, only_looks=only_looks)
    try:
        yield place.dsn
    finally:
        place.leave()


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
