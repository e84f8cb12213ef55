"""One trial: a run of a canonical workflow, a worker behind the proxy, one fault at one point,
and the evidence of what came of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar
from uuid import uuid4

import asyncpg

from durable import Client, DurableError, Handle, RunCancelled, RunFailed, RunTerminated
from durable.errors import RunStuck
from tests.proof import evidence, history
from tests.proof.canon import Case
from tests.proof.evidence import Evidence
from tests.proof.proxy import Link, Parted, Point, Proxy
from tests.proof.sessions import Sessions
from tests.proof.visitors import AWAY
from tests.proof.worker import CALL_SECONDS

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 45.0  # on a machine that is busy with other things
RESTART_SECONDS = 10.0
HOLE_SECONDS = 3.0

# cut: the connection ends. hole: bytes vanish, nobody is told. pause: the process stands still,
# loses its runs, and goes on. kill: it is gone. terminate: Postgres ends the session.
FAULTS = ("cut", "hole", "pause", "kill", "terminate")
RESTART = "restart"  # Postgres crashes, and comes back

T = TypeVar("T")
P = ParamSpec("P")


async def persistent(call: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """What a client does that outlasts its database."""
    while True:
        try:
            return await call(*args, **kwargs)
        except AWAY:
            await asyncio.sleep(0.02)


class Zygote:
    """Forks workers on demand: see ``worker.py``. ``dsn`` is where it rehearses; they may have a
    ``bug``, one of those that are planted in chaos."""

    def __init__(self, dsn: str, bug: str = "") -> None:
        self._dsn, self._bug = dsn, bug

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.proof.worker", self._dsn, self._bug, cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": "1"},
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        await self._process.stdout.readline()  # it has rehearsed
        self._one_at_a_time = asyncio.Lock()
        self._polling = asyncio.Lock()
        self._codes: dict[int, int] = {}
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()

    async def fork(self, dsn: str, folder: Path, known: list[int], **order: Any) -> None:
        """Its pid is in ``known``, also if the caller gives up waiting for it: see `_ended`."""
        places = {"history": str(folder / "history"), "log": str(folder / "log")}
        asked = self._ask(dsn=dsn, **places, **order)

        async def begun() -> None:
            pid = await asked
            assert pid is not None
            self._codes.pop(pid, None)  # of another: numbers of processes come again
            known.append(pid)

        await asyncio.shield(asyncio.ensure_future(begun()))

    async def wait(self, pid: int) -> int:
        """Its exit code; minus the signal that ended it."""
        while (code := await self.ended(pid)) is None:
            await asyncio.sleep(0.01)
        return code

    async def ended(self, pid: int) -> int | None:
        """The same, of one that may live. An answer is read, whoever gives up waiting for it: the
        next one to ask would take it for his own."""
        return await asyncio.shield(asyncio.ensure_future(self._ended(pid)))

    async def _ended(self, pid: int) -> int | None:
        async with self._polling:
            if pid not in self._codes:
                code = await self._ask(wait=pid)
                if code is None:
                    return None
                self._codes[pid] = code
            return self._codes[pid]

    async def _ask(self, **order: Any) -> int | None:
        assert self._process.stdin is not None and self._process.stdout is not None
        async with self._one_at_a_time:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            answer: int | None = json.loads(await self._process.stdout.readline())
            return answer


class Trial:
    """A stage for one trial after another. ``folder`` holds the history and the workers' log;
    ``restart`` is what that fault does, where the server is one that may be restarted."""

    def __init__(
        self,
        dsn: str,
        zygote: Zygote,
        client: Client,
        folder: Path,
        restart: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.dsn, self.zygote, self.client, self.folder = dsn, zygote, client, folder
        self.alive: list[int] = []
        self._unended: list[int] = []  # though they were told to
        self._restarts = restart
        self.found: Evidence | None = None  # of the latest trial
        self.patience = PATIENCE_SECONDS
        self._observer: asyncpg.Connection[Any] | None = None
        self._sessions = Sessions()
        # A restart that many trials wait for must not look like a call that hangs.
        self._call_seconds = CALL_SECONDS if restart is None else RESTART_SECONDS

    async def run(
        self, case: Case, point: Point | None = None, fault: str = "", *, anew: bool = False
    ) -> Evidence:
        """The evidence. Without a point: of a run in peace. ``anew``: the worker begins sessions
        of its own and asks all that one asks there; else as few as it can (`sessions.py`)."""
        for each in self.folder.iterdir():
            each.unlink()
        history.write_own_to(self.folder / "history")
        self._case, self._helped, self._forked = case, asyncio.Event(), 0
        self._sessions.begin()
        await self._sweep()
        kept = self._sessions if self._restarts is None else None  # no session outlasts a restart
        async with (
            Proxy(self.dsn, None if anew else kept) as self.proxy,
            Proxy(self.dsn, kept) as self._another_way,
        ):
            if point is not None:
                self.proxy.aim(point, getattr(self, f"_{fault}"))
            try:
                handle = await persistent(self._start)
                await self._fork(self.proxy, anew=anew)
                await self._watch(case, handle)
                await self._leave()
            finally:
                for pid in [*self.alive, *self._unended]:
                    for number in (signal.SIGCONT, signal.SIGKILL):
                        with suppress(ProcessLookupError):
                            os.kill(pid, number)
                    await self.zygote.wait(pid)
                self.alive, self._unended = [], []
        path = self.folder / "history"
        return await self._observed(
            lambda connection: evidence.gather_on(connection, self.client.store, path)
        )

    async def _sweep(self) -> None:
        """What a fault has left of sessions ends first: they may hold what is to be removed."""
        lost = (
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where pid <> all($1) "
            "and datname = current_database() and application_name like 'durable:%:%'"
        )

        async def swept(connection: asyncpg.Connection[Any]) -> None:
            await connection.execute(lost, self._sessions.pids())
            await evidence.forget(connection)

        await self._observed(swept)

    async def _observed(
        self, look: Callable[[asyncpg.Connection[Any]], Coroutine[Any, Any, T]]
    ) -> T:
        """By one session for all trials; by another after a restart of the server."""
        while True:
            observer = self._observer
            if observer is None or observer.is_closed():
                self._observer = await persistent(asyncpg.connect, self.dsn)
                continue
            try:
                return await look(observer)
            except AWAY:
                if self._restarts is None:
                    raise
                observer.terminate()

    async def close(self) -> None:
        self._sessions.close()
        if self._observer is not None:
            await self._observer.close()

    async def _start(self) -> Handle[Any]:
        case = self._case
        handle: Handle[Any] = await self.client.start(
            case.workflow, id=case.name, **dict(case.options)
        )
        return handle

    async def _fork(self, way: Proxy, *, anew: bool = False) -> None:
        # The same names in each trial: a session that is kept is called by that of its worker.
        self._forked += 1
        await self.zygote.fork(way.dsn, self.folder, self.alive, anew=anew,
                               call_seconds=self._call_seconds, name=f"trial:{self._forked}",
        )  # fmt: skip

    async def _watch(self, case: Case, handle: Any) -> None:
        meanwhile = case.meanwhile and asyncio.create_task(case.meanwhile(self.client, handle))
        try:
            async with asyncio.timeout(self.patience):
                if meanwhile:
                    await meanwhile
                with suppress(RunFailed, RunCancelled, RunTerminated, RunStuck):
                    await persistent(handle.result)
                history.note("result", run=case.name)
                if self.proxy.struck.is_set():
                    await self._helped.wait()
        except TimeoutError:
            history.note("gave up", run=case.name, seconds=self.patience)
        finally:
            if meanwhile and not meanwhile.done():
                meanwhile.cancel()

    async def _leave(self) -> None:
        """Who lives is told to leave, and must do so in order."""
        while self.alive:
            pid, code = self.alive[0], None
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    while (code := await self.zygote.ended(pid)) is None:
                        with suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGTERM)
                        await asyncio.sleep(0.01)
            if self.proxy.struck.is_set():  # maybe only now
                with suppress(TimeoutError):
                    async with asyncio.timeout(PATIENCE_SECONDS):
                        await self._helped.wait()
            if pid in self.alive:
                history.note("exit", of=pid, code=code)
                self.alive.remove(pid)
                self._unended += [pid] if code is None else []

    # Faults: each is done to the worker behind the proxy

    async def _cut(self, link: Link) -> None:
        self._helped.set()
        raise Parted

    async def _hole(self, link: Link) -> None:
        link.is_hole = True
        # A kernel whose peer does not acknowledge gives up; this proxy does acknowledge.
        asyncio.get_running_loop().call_later(HOLE_SECONDS, link.client.transport.abort)
        self._helped.set()

    async def _terminate(self, link: Link) -> None:
        await self._execute("select pg_terminate_backend($1)", link.pid)
        self._helped.set()

    async def _kill(self, link: Link) -> None:
        victim = self.alive.pop()
        os.kill(victim, signal.SIGKILL)
        await self.zygote.wait(victim)
        await self._help()
        raise Parted

    async def _pause(self, link: Link) -> None:
        """It stands still past its lease, while another does its work, and then goes on."""
        victim = self.alive[0]
        os.kill(victim, signal.SIGSTOP)
        for row in await self.client.store.workers.suspects(uuid4()):
            await self.client.store.workers.take_over(row.worker)
        await self._help()
        with suppress(TimeoutError, DurableError):
            async with asyncio.timeout(0.4):  # how far the other comes until then is open
                await self.client.handle(self._case.name).result()
        os.kill(victim, signal.SIGCONT)

    async def _restart(self, link: Link) -> None:
        assert self._restarts is not None
        await self._restarts()
        self._helped.set()
        raise Parted

    async def _help(self) -> None:
        """Another worker comes, with a way of its own to the database."""
        await self._fork(self._another_way)
        self._helped.set()

    async def _execute(self, query: str, *arguments: object) -> None:
        connection = await asyncpg.connect(self.dsn)
        try:
            await connection.execute(query, *arguments)
        finally:
            await connection.close()


@asynccontextmanager
async def stage(
    dsn: str, folder: Path, zygote: Zygote, restart: Callable[[], Awaitable[None]] | None = None
) -> AsyncIterator[Trial]:
    """Where trials take place, one after another: each begins with empty tables."""
    await evidence.install(dsn)
    async with Client(dsn) as client:
        trial = Trial(dsn, zygote, client, folder, restart)
        try:
            yield trial
        finally:
            await trial.close()
