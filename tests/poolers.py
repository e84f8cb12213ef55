"""A PgBouncer of one's own in front of the server of the tests: transaction mode, a small pool,
so that sessions of the server change hands between our connections all the time."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, urlsplit

import pytest

from durable._postgres import accounts

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/bin")

# Fewer sessions than a worker has connections.
POOL_SIZE = 3

CONFIG = """
[databases]
* = {server}

[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = {base}
auth_type = any
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 300
logfile = {base}/pgbouncer.log
"""


class Pooler:
    """``dsn(direct)`` leads through it to the same database."""

    def __init__(self, server_url: str) -> None:
        if PROGRAM is None:
            pytest.skip("pgbouncer is not installed")
        self._server_url = server_url
        self._base = Path(tempfile.mkdtemp(prefix="durable-pooler-", dir="/tmp"))

    def __enter__(self) -> Self:
        account = accounts.unprivileged()  # it refuses to be root, as Postgres does
        self._base.chmod(0o755)
        account.own(self._base)
        config = self._base / "pgbouncer.ini"
        config.write_text(
            CONFIG.format(server=_server(self._server_url), base=self._base, size=POOL_SIZE)
        )
        self._process = subprocess.Popen(
            [*account.prefix, str(PROGRAM), "-q", str(config)],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **account.as_popen(),
        )
        end = time.monotonic() + 20
        while not (self._base / ".s.PGSQL.6432").exists():
            assert self._process.poll() is None, (self._base / "pgbouncer.log").read_text()
            assert time.monotonic() < end, "pgbouncer does not listen"
            time.sleep(0.005)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._base, ignore_errors=True)

    def dsn(self, direct: str) -> str:
        return f"postgresql://pooled@{urlsplit(direct).path}?host={self._base}&port=6432"


def _server(url: str) -> str:
    """The server, as PgBouncer's configuration names it."""
    parts = urlsplit(url)
    host = parts.hostname or parse_qs(parts.query)["host"][0]
    words = [f"host={host}", f"port={parts.port or 5432}", f"user={parts.username or 'postgres'}"]
    return " ".join([*words, *([f"password={parts.password}"] if parts.password else [])])
