"""A real Postgres for every test that wants one.

Where it comes from, in this order: ``DURABLE_DATABASE_URL``; a container, if a docker engine
answers at once and has the image already; the embedded wheel or the system's binaries. In
CI the lack of all of them is a failure, elsewhere the tests are skipped.

``dsn`` is a database of one's own with our schema, copied from a template; ``empty_dsn`` one
without.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from durable._store.postgres.migrate import migrate
from durable.embedded import FAST_AND_FORGETFUL, EmbeddedPostgres
from durable.errors import ConfigurationError

TEMPLATE = "durable_template"
IMAGE = os.environ.get("DURABLE_TEST_IMAGE", "postgres:18-alpine")

_numbers = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--campaign", action="store_true", help="also what runs for minutes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--campaign"):
        skip = pytest.mark.skip(reason="runs for minutes: only with --campaign")
        for item in items:
            if "campaign" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """A server where databases can be made."""
    if url := os.environ.get("DURABLE_DATABASE_URL"):
        yield url
        return
    with ExitStack() as stack:
        container = _container(stack)
        if container is not None:
            yield container
            return
        try:
            settings = {**FAST_AND_FORGETFUL, "jit": "off", "max_connections": "200"}
            server = stack.enter_context(EmbeddedPostgres(settings=settings))
        except ConfigurationError as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(str(error))
        yield server.url()


def _container(stack: ExitStack) -> str | None:
    """A Postgres in docker, if that takes no download and no waiting."""
    if "DOCKER_HOST" not in os.environ and not Path("/var/run/docker.sock").exists():
        return None  # docker's client leaves a socket open when nobody answers
    try:
        import docker

        engine = docker.from_env(timeout=2)
        engine.ping()
        engine.images.get(IMAGE)
        from testcontainers.postgres import PostgresContainer
    except Exception:
        return None
    command = "postgres -c fsync=off -c synchronous_commit=off -c jit=off -c max_connections=200"
    container = PostgresContainer(IMAGE, driver=None).with_command(command)
    url: str = stack.enter_context(container).get_connection_url()
    return url


@pytest.fixture(scope="session")
def _template(server_url: str) -> Iterator[str]:
    async def make() -> None:
        await _command(server_url, f"drop database if exists {TEMPLATE}")
        await _command(server_url, f"create database {TEMPLATE}")
        await migrate(at_database(server_url, TEMPLATE))

    asyncio.run(make())
    yield TEMPLATE


@pytest.fixture
def dsn(server_url: str, _template: str) -> Iterator[str]:
    yield from _database(server_url, _template)


@pytest.fixture
def empty_dsn(server_url: str) -> Iterator[str]:
    yield from _database(server_url, None)


def _database(server_url: str, template: str | None) -> Iterator[str]:
    name = f"durable_test_{os.getpid()}_{next(_numbers)}"
    clause = f" template {template} strategy file_copy" if template else ""

    async def make() -> None:
        connection = await asyncpg.connect(server_url)
        if connection.get_server_version().major < 15:
            statement = f"create database {name}" + clause.replace(" strategy file_copy", "")
        else:
            statement = f"create database {name}{clause}"
        await connection.execute(statement)
        await connection.close()

    asyncio.run(make())
    yield at_database(server_url, name)
    asyncio.run(_command(server_url, f"drop database if exists {name} with (force)"))


def at_database(url: str, name: str) -> str:
    """The same server, another database."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"/{name}")).replace("postgresql:/", "postgresql:/", 1)


async def _command(url: str, statement: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.execute(statement)
    finally:
        await connection.close()
