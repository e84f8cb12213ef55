"""What a stretch of work has cost: the meter of all benchmarks, and what many rounds of it say.

    async with Meter(dsn) as cost:
        ...                                  # 1,000 steps
    report |= cost.each(1_000, "step")       # python_us_per_step, wal_bytes_per_step ...

Python's time is that of this process and of others that are named; Postgres's is that of all its
processes, where they can be seen. Statements are counted by pg_stat_statements, where the server
has it loaded; commits by the transaction numbers that were used, which only those that write do;
rows by counting them. What cannot be told is left out, never guessed.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import asyncpg

TICKS = os.sysconf("SC_CLK_TCK")

# The tables that a run's way leads through.
TABLES = ("journal", "run", "input", "result", "inbox")

READING = """
select pg_current_wal_insert_lsn() - '0/0' as wal,
    pg_snapshot_xmax(pg_current_snapshot())::text::bigint as commits
"""

STATEMENTS = """
select sum(calls)::bigint from public.pg_stat_statements
where dbid = (select oid from pg_database where datname = current_database())
"""


def resident(pid: int | str = "self") -> int:
    """Bytes of a process in memory; 0 where the system does not tell."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * 4096


def forget_peak() -> None:
    """Let the system note anew how much this process holds at most."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Bytes that this process has held at most, since ``forget_peak``."""
    try:
        told = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    (line,) = (each for each in told.splitlines() if each.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def seconds_of(pid: int | str, *, with_children: bool = False) -> float:
    """Processor time that a process has had; 0 if it is gone."""
    fields = _stat(pid)
    if fields is None:
        return 0.0
    return sum(int(each) for each in fields[11 : 15 if with_children else 13]) / TICKS


def _on_processor(pid: int) -> float:
    """The same of a process with one thread, to the nanosecond where the system tells."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    except (OSError, IndexError):
        return seconds_of(pid)


def _stat(pid: int | str) -> list[str] | None:
    """From the state on: the name before it may hold anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return None


def parent_of(pid: int) -> int | None:
    fields = _stat(pid)
    return None if fields is None else int(fields[1])


class Server:
    """The processes of a Postgres on this machine; ``seconds`` is None if it is elsewhere."""

    def __init__(self, postmaster: int | None) -> None:
        self._postmaster = postmaster

    @classmethod
    def of(cls, backend: int) -> Self:
        try:
            is_here = "postgres" in Path(f"/proc/{backend}/cmdline").read_text()
        except OSError:
            is_here = False
        return cls(parent_of(backend) if is_here else None)

    def seconds(self) -> float | None:
        """Those that have ended are in the postmaster's account of its children."""
        if self._postmaster is None:
            return None
        children = (
            int(each.name)
            for each in Path("/proc").iterdir()
            if each.name.isdigit() and parent_of(int(each.name)) == self._postmaster
        )
        return seconds_of(self._postmaster, with_children=True) + sum(map(_on_processor, children))


@dataclass(frozen=True, slots=True)
class Reading:
    at: float
    python: float
    postgres: float | None
    statements: int | None
    commits: int
    wal: int
    rows: Mapping[str, int]


class Meter:
    """Reads before and after its block; what it reads itself is not counted.

    Args:
        dsn: of the database where the work is done.
        beside: process ids whose time is Python's, too: workers.
        counts_rows: False where the tables are so large that counting them takes long.
    """

    def __init__(self, dsn: str, *, beside: Iterable[int] = (), counts_rows: bool = True) -> None:
        self._dsn = dsn
        self._beside = tuple(beside)
        self._counts_rows = counts_rows
        self.peak_mb = 0.0
        self.grown_mb = 0.0  # that peak, beside what this process held before

    async def __aenter__(self) -> Self:
        self._connection: asyncpg.Connection[Any] = await asyncpg.connect(self._dsn)
        self._has_statements = await uncounted(self._connection, install=True)
        self._server = Server.of(await self._connection.fetchval("select pg_backend_pid()"))
        gc.collect()
        self._held = resident()
        forget_peak()
        self._before = await self._read()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        ended = time.perf_counter()
        most = peak()
        self.peak_mb = round(most / 2**20, 1)
        self.grown_mb = round((most - self._held) / 2**20, 1)
        try:
            if error is None:
                self._after = await self._read(ended)
        finally:
            await self._connection.close()

    async def _read(self, ended: float | None = None) -> Reading:
        """The clock and the processor are read last before the block, and first after it."""
        if ended is not None:
            python, postgres = self._python(), self._server.seconds()
        row = await self._connection.fetchrow(READING)
        assert row is not None
        statements, rows = None, {}
        if self._has_statements:
            statements = await self._connection.fetchval(STATEMENTS) or 0
        if self._counts_rows:
            rows = await self._rows()
        if ended is None:
            python, postgres = self._python(), self._server.seconds()
            ended = time.perf_counter()
        return Reading(ended, python, postgres, statements, row["commits"], int(row["wal"]), rows)

    def _python(self) -> float:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime + sum(map(seconds_of, self._beside))

    async def _rows(self) -> dict[str, int]:
        counts = ", ".join(f"(select count(*) from durable.{each}) as {each}" for each in TABLES)
        row = await self._connection.fetchrow(f"select {counts}")
        assert row is not None
        return dict(row)

    @property
    def began(self) -> float:
        return self._before.at

    @property
    def seconds(self) -> float:
        return self._after.at - self._before.at

    def each(self, count: int, of: str) -> dict[str, float]:
        """What one of ``count`` things has cost."""
        before, after = self._before, self._after
        per = {
            f"python_us_per_{of}": (after.python - before.python) * 1e6,
            f"commits_per_{of}": after.commits - before.commits,
            f"wal_bytes_per_{of}": after.wal - before.wal,
        }
        if before.postgres is not None and after.postgres is not None:
            per[f"postgres_us_per_{of}"] = (after.postgres - before.postgres) * 1e6
        if before.statements is not None and after.statements is not None:
            per[f"round_trips_per_{of}"] = after.statements - before.statements
        if after.rows:
            per[f"journal_rows_per_{of}"] = after.rows["journal"] - before.rows["journal"]
            per[f"rows_per_{of}"] = sum(after.rows.values()) - sum(before.rows.values())
        return {key: value / count for key, value in per.items()} | {"peak_mb": self.peak_mb}


async def uncounted(connection: asyncpg.Connection[Any], *, install: bool = False) -> bool:
    """Let pg_stat_statements overlook what this session does; tells whether there is one."""
    try:
        if install:
            await connection.execute("create extension if not exists pg_stat_statements")
            await connection.execute("select from public.pg_stat_statements limit 1")
        await connection.execute("set pg_stat_statements.track = 'none'")
    except asyncpg.PostgresError:
        return False  # not loaded, not there, or not ours to ask for
    return True


def medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of each figure, over all rounds."""
    return {key: figure(statistics.median(each[key] for each in rounds)) for key in rounds[0]}


def spread(rounds: Sequence[Mapping[str, float]], *keys: str) -> dict[str, list[float]]:
    """The least and the most of each figure that is named."""
    return {
        key: [figure(min(each[key] for each in rounds)), figure(max(each[key] for each in rounds))]
        for key in keys
    }


def figure(value: float) -> float:
    """Three digits that matter, and none of thousands lost."""
    if abs(value) >= 100:
        return round(value)
    return float(f"{value:.3g}")


def share(values: Iterable[float], part: float) -> float:
    """The value below which so large a part of them lies."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)]
