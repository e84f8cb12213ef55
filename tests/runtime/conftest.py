"""Each test of the runtime is also a rehearsal: see ``durable/testing/rehearsal.py``."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from durable import Durable
from durable._authoring.definitions import Definition
from durable._runtime.worker import LiveWorker
from durable.testing.rehearsal import RehearsalWorker


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    once = metafunc.definition.get_closest_marker("once") is not None
    if {"app", "dsn"} & set(metafunc.fixturenames) and not once:
        metafunc.parametrize("rehearsed", [False, True], ids=["live", "rehearsed"], indirect=True)


@pytest.fixture(autouse=True)
def rehearsed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if not getattr(request, "param", False):
        return False

    def new_worker(self: Durable, definitions: Mapping[str, Definition]) -> LiveWorker:
        closed = self.waits.results.tell
        return RehearsalWorker(self.store, definitions, self._options, on_closed=closed)

    monkeypatch.setattr(Durable, "_new_worker", new_worker)
    return True
