"""Whoever starts: a client alone, or a process that also works. Both must do the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from durable import Client, Durable

from . import flows

WAIT_SECONDS = 20


@pytest_asyncio.fixture
async def client(dsn: str) -> AsyncIterator[Client]:
    """No worker lives: what is started stays where it is."""
    async with Client(dsn) as client:
        yield client


@pytest_asyncio.fixture
async def app(dsn: str) -> AsyncIterator[Durable]:
    async with Durable(dsn, serve=[flows]) as app:
        yield app


@pytest_asyncio.fixture(params=["client", "durable"])
async def starter(dsn: str, request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    """A ``Client``, whose runs somebody else works on, or a ``Durable``, which bears them."""
    async with AsyncExitStack() as stack:
        app = await stack.enter_async_context(Durable(dsn, serve=[flows]))
        yield app if request.param == "durable" else await stack.enter_async_context(Client(dsn))


@pytest_asyncio.fixture
async def database(dsn: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not await condition():
            await asyncio.sleep(0.01)
