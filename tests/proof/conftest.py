"""A database that is audited, and a history beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.proof import evidence, history


@pytest_asyncio.fixture
async def audited(dsn: str, tmp_path: Path) -> AsyncIterator[str]:
    await evidence.install(dsn)
    history.write_to(tmp_path / "history")
    yield dsn
    history.write_to(None)
