"""Whom the embedded Postgres runs as: ordinary users, root, root that is nobody outside."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from durable._postgres import accounts, binaries, liveness
from durable.embedded import FAST_AND_FORGETFUL, EmbeddedPostgres, find_binaries
from durable.errors import ConfigurationError

from .children import HOLD, answers, leave, told

ROOT = Path(__file__).resolve().parent.parent.parent

# A child that becomes an ordinary user before it starts a throw-away server. What it imports,
# it imports before: checkout and Python may be closed to that user.
AS_SOMEBODY = """
import os, sys
from durable.embedded import EmbeddedPostgres, FAST_AND_FORGETFUL
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[1]))
with EmbeddedPostgres(settings=FAST_AND_FORGETFUL) as server:
    print(os.geteuid(), server.directory.stat().st_uid, server.url())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
def test_an_ordinary_user_can_run_it_too() -> None:
    nobody = pwd.getpwnam("nobody")
    programs = binaries.reachable(find_binaries(), accounts.unprivileged())
    done = subprocess.run(
        [sys.executable, "-c", AS_SOMEBODY, str(nobody.pw_uid), str(nobody.pw_gid)],
        cwd=ROOT,
        env={**os.environ, "DURABLE_PG_BIN": str(programs.directory)},
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout.split()
    assert said[:2] == [str(nobody.pw_uid)] * 2, done.stderr
    assert said[2].startswith("postgresql://")


@pytest.mark.skipif(os.geteuid() != 0, reason="it is about root")
def test_root_lends_the_server_another_account(directory: Path) -> None:
    with EmbeddedPostgres(directory, settings=FAST_AND_FORGETFUL) as server:
        assert directory.stat().st_uid == accounts.unprivileged().uid != 0
        assert answers(server.url()) == 42


@pytest.mark.skipif(os.geteuid() != 0, reason="it is about root")
def test_an_account_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURABLE_PG_USER", "nobody-of-that-name")
    with pytest.raises(ConfigurationError, match="DURABLE_PG_USER=nobody-of-that-name"):
        EmbeddedPostgres().start()


def test_root_in_a_rootless_container_can_run_it(
    children: list[subprocess.Popen[str]],
) -> None:
    """There no other account can own a file: the server runs in a namespace as nobody."""
    as_root = ["unshare", "--user", "--map-root-user"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*as_root, "true"], check=False).returncode
    ):
        pytest.skip("user namespaces are not allowed here")
    child = subprocess.Popen(
        [*as_root, sys.executable, "-c", HOLD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    children.append(child)
    url, socket = told(child)
    assert answers(url) == 42
    leave(child)
    assert liveness.ping(socket) == "down"
