"""Where the database is: argument, environment, embedded; one rule for all."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from durable import Client, Durable
from durable._surroundings import find_place, notifies
from durable.embedded import default_directory
from durable.errors import ConfigurationError


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty directory that the embedded Postgres's account can enter."""
    base = Path(tempfile.mkdtemp(prefix="durable-test-", dir="/tmp"))
    base.chmod(0o755)
    monkeypatch.setenv("DURABLE_HOME", str(base / "home"))
    monkeypatch.delenv("DURABLE_DATABASE_URL", raising=False)
    yield base
    shutil.rmtree(base, ignore_errors=True)


def test_an_argument_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURABLE_DATABASE_URL", "postgresql://environment/db")
    assert find_place("postgresql://argument/db").dsn == "postgresql://argument/db"
    assert find_place(None).dsn == "postgresql://environment/db"


@pytest.mark.parametrize("kind", [Client, Durable])
async def test_the_embedded_one_may_be_forbidden(
    kind: type[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DURABLE_EMBEDDED", "never")
    with pytest.raises(ConfigurationError, match="DURABLE_EMBEDDED=never forbids"):
        async with kind():
            pass
    assert not default_directory().exists()


async def test_all_find_the_same_embedded_one_which_a_warning_names(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(ConfigurationError, match="there is no embedded one in"):
        find_place(None, only_looks=True)
    async with Durable(serve=[]) as app:
        told = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
        assert any(str(default_directory()) in each for each in told), told
        async with Client() as client:
            assert len(await client.store.workers.suspects(uuid4())) == 1
        place = find_place(None, only_looks=True)
        assert place.server is not None
        place.leave()
        assert app.health().ok
    # The last one out has stopped it.
    assert not (default_directory() / "postmaster.pid").exists()


def test_notify_is_as_told_then_as_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert notifies(None)
    monkeypatch.setenv("DURABLE_NOTIFY", "off")
    assert not notifies(None)
    assert notifies(True)
    monkeypatch.setenv("DURABLE_NOTIFY", "nein")
    with pytest.raises(ConfigurationError, match="it is on or off"):
        notifies(None)
    assert not notifies(False)
