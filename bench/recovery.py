"""How long until the runs of a worker that is lost go on elsewhere?

1,000 live runs, a step each half a second, on worker processes of one Postgres. ``p99_s``: one
worker is killed (SIGKILL) and another, on another machine as far as it can see, takes its runs
over: from the kill to the next step that each run records. ``same_machine``: where the process can
be seen to be gone. ``stopped``: SIGSTOP, so only the lease (15 s) tells. ``graceful``: SIGTERM,
until all are owned elsewhere. ``away``: 20 s without Postgres: workers that died of it, attempts
that began twice. ``storm``: five kills, a second apart, each followed by a new worker. ``blocked``:
an activity holds a worker's loop for 20 s.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import click

from bench import told
from bench.recovered import blocker, goes_on
from durable import Client, Start
from durable.embedded import EmbeddedPostgres

STEPS = 1_000_000  # more than anybody waits for
AWAY_SECONDS = BLOCKED_SECONDS = 20.0
PATIENCE_SECONDS = 90.0

# Of each run the first step that was recorded after a moment; until then its owner was another.
FIRST_STEPS = """
select extract(epoch from min(at))::float8 - $1 as late
from durable.journal where kind = 'activity' and at > to_timestamp($1) group by run
"""


class Scene:
    """Worker processes on one database, and what their attempts have left."""

    def __init__(self, dsn: str, directory: Path) -> None:
        self.dsn = dsn
        self.trace = directory / "trace"
        self.log = (directory / "log").open("w+b")
        self.alive: list[asyncio.subprocess.Process] = []

    async def worker(self, host: str) -> asyncio.subprocess.Process:
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.recovered", self.dsn, host, str(self.trace),
            stdout=asyncio.subprocess.PIPE, stderr=self.log,
        )  # fmt: skip
        self.alive.append(worker)
        assert worker.stdout is not None
        if await worker.stdout.readline() != b"ready\n":
            raise click.ClickException(f"a worker did not begin: {self.said()}")
        return worker

    async def end(self) -> None:
        for worker in self.alive:
            if worker.returncode is None:
                worker.kill()
            await worker.wait()
        self.alive.clear()

    def attempts(self) -> Counter[str]:
        return Counter(self.trace.read_text().splitlines())

    def said(self) -> str:
        self.log.seek(0)
        return self.log.read().decode()


async def begin(scene: Scene, runs: int) -> asyncio.subprocess.Process:
    """A fresh database and one worker that all the runs live on."""
    connection = await asyncpg.connect(scene.dsn)
    await connection.execute("drop schema if exists durable cascade")
    first = await scene.worker("first")
    async with Client(scene.dsn) as client:
        await client.start_many(Start(goes_on, STEPS, id=f"r{n}") for n in range(runs))
    moved = "select count(distinct run) from durable.journal where position >= 2"
    await until(lambda: _is(connection, moved, runs))
    await connection.close()
    return first


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not await condition():
        if time.monotonic() > end:
            raise click.ClickException("the runs do not go on")
        await asyncio.sleep(0.05)


async def _is(connection: asyncpg.Connection[Any], query: str, value: object) -> bool:
    return bool(await connection.fetchval(query) == value)


async def gone_on(scene: Scene, runs: int, since: float) -> list[float]:
    """Seconds from a moment until each run has recorded another step, sorted."""
    connection = await asyncpg.connect(scene.dsn)
    late: list[float] = []

    async def all_have() -> bool:
        late[:] = sorted(row["late"] for row in await connection.fetch(FIRST_STEPS, since))
        return len(late) == runs

    try:
        await until(all_have)
        return late
    finally:
        await connection.close()


def lateness(name: str, late: list[float]) -> dict[str, float]:
    at = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {
        f"{name}{part}_s": round(late[min(int(len(late) * share), len(late) - 1)], 2)
        for part, share in at.items()
    }


async def killed(scene: Scene, runs: int, *, host: str, how: signal.Signals) -> list[float]:
    first = await begin(scene, runs)
    await scene.worker(host)
    since = time.time()
    first.send_signal(how)
    return await gone_on(scene, runs, since)


async def graceful(scene: Scene, runs: int) -> float:
    """Seconds from SIGTERM until the other owns them all."""
    first = await begin(scene, runs)
    await scene.worker("first")
    connection = await asyncpg.connect(scene.dsn)
    me = await connection.fetchval("select worker from durable.worker order by started_at limit 1")
    mine = f"select count(*) from durable.run where worker <> '{me}' and status = 'running'"
    since = time.monotonic()
    first.send_signal(signal.SIGTERM)
    await until(lambda: _is(connection, mine, runs))
    took = time.monotonic() - since
    await connection.close()
    return took


async def away(scene: Scene, runs: int, server: EmbeddedPostgres) -> dict[str, Any]:
    """Postgres is gone for a while; nobody dies of it, and nothing is tried twice."""
    await begin(scene, runs)
    connection = await asyncpg.connect(scene.dsn)
    workers = "select array_agg(worker) from durable.worker"
    before = await connection.fetchval(workers)
    await connection.close()
    await asyncio.to_thread(server.stop)
    await asyncio.sleep(AWAY_SECONDS)
    since = time.time()
    await asyncio.to_thread(server.start)
    late = await gone_on(scene, runs, since)
    connection = await asyncpg.connect(scene.dsn)
    same = before == await connection.fetchval(workers)
    await connection.close()
    return {
        "away_s": AWAY_SECONDS,
        **lateness("away_", late),
        "away_workers_lost": 0 if same else 1,
        "away_attempts_repeated": sum(n - 1 for n in scene.attempts().values()),
    }


async def storm(scene: Scene, runs: int) -> list[float]:
    """A worker is killed each second; the last one may live."""
    worker = await begin(scene, runs)
    for _ in range(5):
        worker.kill()
        since = time.time()
        worker = await scene.worker("first")
        await asyncio.sleep(1.0)
    return await gone_on(scene, runs, since)


async def blocked(scene: Scene, runs: int) -> dict[str, Any]:
    """An activity holds the loop: its worker beats on, and says where it stands."""
    await begin(scene, runs)
    since = time.time()
    async with Client(scene.dsn) as client:
        await client.run(blocker, BLOCKED_SECONDS)
    await gone_on(scene, runs, time.time())
    connection = await asyncpg.connect(scene.dsn)
    lost = await connection.fetchval(
        "select count(*) from durable.worker where started_at > to_timestamp($1)", since
    )
    await connection.close()
    return {
        "blocked_s": BLOCKED_SECONDS,
        "blocked_workers_lost": lost,
        "blocked_line_named": "recovered.py" in scene.said(),
        "blocked_attempts_repeated": sum(n - 1 for n in scene.attempts().values()),
    }


async def measure(server: EmbeddedPostgres, runs: int, only: tuple[str, ...]) -> dict[str, Any]:
    async def kills(scene: Scene) -> dict[str, Any]:
        return lateness("", await killed(scene, runs, host="second", how=signal.SIGKILL))

    async def kills_here(scene: Scene) -> dict[str, Any]:
        return lateness(
            "same_machine_", await killed(scene, runs, host="first", how=signal.SIGKILL)
        )

    async def stops(scene: Scene) -> dict[str, Any]:
        return lateness("stopped_", await killed(scene, runs, host="second", how=signal.SIGSTOP))

    async def leaves(scene: Scene) -> dict[str, Any]:
        return {"graceful_s": round(await graceful(scene, runs), 2)}

    async def storms(scene: Scene) -> dict[str, Any]:
        return lateness("storm_", await storm(scene, runs))

    parts: dict[str, Callable[[Scene], Awaitable[dict[str, Any]]]] = {
        "killed": kills,
        "same_machine": kills_here,
        "stopped": stops,
        "graceful": leaves,
        "away": lambda scene: away(scene, runs, server),
        "storm": storms,
        "blocked": lambda scene: blocked(scene, runs),
    }
    report: dict[str, Any] = {"answers": "seconds until runs of a lost worker go on", "runs": runs}
    for name, part in parts.items():
        if only and name not in only:
            continue
        with tempfile.TemporaryDirectory() as directory:
            scene = Scene(server.url(), Path(directory))
            try:
                report |= await part(scene)
            finally:
                await scene.end()
    return report


@click.command(help=__doc__)
@click.option("--runs", default=1_000, show_default=True)
@click.option("--only", multiple=True, help="killed, same_machine, stopped, graceful, away ...")
@told.json_option
def main(runs: int, only: tuple[str, ...], as_json: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)  # as root, the server runs under another account
        with EmbeddedPostgres(Path(directory) / "pg", settings={"jit": "off"}) as server:
            report = asyncio.run(measure(server, runs, only))
    told.tell(report, as_json)
