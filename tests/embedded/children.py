"""Other processes that use a server, and what this one asks of servers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg

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


def postmaster(directory: Path) -> int:
    return int((directory / "postmaster.pid").read_text().split("\n", 1)[0])


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


async def shown(url: str, setting: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        return str(await connection.fetchval("select current_setting($1)", setting))
    finally:
        await connection.close()
