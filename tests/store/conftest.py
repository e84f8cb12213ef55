"""A stage per test; see ``stage.py``."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from .stage import Stage


@pytest_asyncio.fixture
async def stage(dsn: str) -> AsyncIterator[Stage]:
    async with Stage(dsn) as stage:
        yield stage
