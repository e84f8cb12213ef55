"""A stage per test; see ``stage.py``.

A test that speaks in verbs alone runs on both stores. One that also speaks of sessions, locks
or SQL names them, and runs on Postgres.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from types import CodeType

import pytest
import pytest_asyncio

from .stage import MemoryStage, Stage

VERBS = {"test_attempts", "test_builds", "test_children", "test_claims", "test_commit",
         "test_messages", "test_outside", "test_reading", "test_retry", "test_start",
         "test_streams", "test_takeover", "test_times"}  # fmt: skip
SESSIONS = {"observer", "stranger", "value", "commit_on", "outcomes", "connection", "_line"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "stage" not in metafunc.fixturenames:
        return
    names = {*names_in(metafunc.function.__code__), *metafunc.fixturenames}
    verbs_alone = not names & {*SESSIONS, "monkeypatch", "dsn"}
    is_of_verbs = metafunc.module.__name__.rpartition(".")[2] in VERBS
    stores = ["postgres", "memory"] if is_of_verbs and verbs_alone else ["postgres"]
    metafunc.parametrize("a_stage", stores, indirect=True)


def names_in(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:  # comprehensions, and functions in it
        if isinstance(inner, CodeType):
            yield from names_in(inner)


@pytest.fixture
def a_stage(request: pytest.FixtureRequest) -> Stage:
    on_memory = request.param == "memory"
    return MemoryStage() if on_memory else Stage(request.getfixturevalue("dsn"))


@pytest_asyncio.fixture
async def stage(a_stage: Stage) -> AsyncIterator[Stage]:
    async with a_stage:
        yield a_stage
