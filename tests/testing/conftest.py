"""What holds in an environment holds on both stores."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from durable.testing import Environment

BEGIN = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture(params=["memory", "postgres"])
def make(request: pytest.FixtureRequest) -> Callable[..., Environment]:
    """Makes environments on one of the two."""
    on_postgres = request.param == "postgres"
    database = request.getfixturevalue("server_url") if on_postgres else None

    def make(**options: Any) -> Environment:
        return Environment(database, **{"at": BEGIN, **options})

    return make


@pytest_asyncio.fixture
async def env(make: Callable[..., Environment]) -> AsyncIterator[Environment]:
    async with make() as env:
        yield env
