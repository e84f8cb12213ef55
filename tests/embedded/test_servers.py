"""The embedded Postgres: real servers, real processes, real signals."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from durable._postgres import liveness
from durable._postgres.sharing import Locks
from durable.embedded import FAST_AND_FORGETFUL, EmbeddedPostgres
from durable.errors import ConfigurationError

from .children import answers, hold, leave, postmaster, shown, told, until


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
    few = {
        **FAST_AND_FORGETFUL,
        "max_connections": "1",
        "superuser_reserved_connections": "0",
        "max_wal_senders": "0",
    }

    async def the_only_connection() -> asyncpg.Connection[Any]:
        while True:
            try:
                return await asyncpg.connect(first.url())
            except asyncpg.TooManyConnectionsError:  # whoever asked whether it lives still ends
                await asyncio.sleep(0.01)

    async def join() -> bool:
        connection = await the_only_connection()
        second = EmbeddedPostgres(directory, settings=few)
        await asyncio.to_thread(second.start)
        joined = second.url() == first.url()
        await asyncio.to_thread(second.stop)
        assert await connection.fetchval("select 42") == 42
        await connection.close()
        return joined

    with EmbeddedPostgres(directory, settings=few) as first:
        assert asyncio.run(join())
