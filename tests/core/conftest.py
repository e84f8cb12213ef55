from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.core.story import close_all


@pytest.fixture(autouse=True)
def _nothing_left_waiting() -> Iterator[None]:
    yield
    close_all()
