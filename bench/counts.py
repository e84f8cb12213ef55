"""What do a durable step and a run take, in what can be counted, whatever else the machine does?

Small fixed workloads, each in two sizes: what the larger takes beyond the smaller, over the steps
(or runs) that it has more, is what one of them takes.

- ``round_trips``: statements sent; ``commits``: transactions that wrote; ``journal_rows``.
- ``wal_bytes``: what Postgres writes to its log, without images of whole pages.
- ``opcodes``: instructions of Python, the libraries' included; what is written in C counts as one.

Each size is run a few times, and the least counts: what else goes on in a worker (heartbeats,
looks at what is due) goes by the clock. ``LIMITS`` is what each may take; where one is exceeded
it is said, and the exit code is 1. ``--detail many`` names the statements and functions of a shape.
The server is a throw-away one that does nothing by itself.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import asyncpg
import click

from durable import Client, Context, Durable, activity, workflow
from durable._runtime import claimer, committer, quick
from durable.embedded import FAST_AND_FORGETFUL, EmbeddedPostgres

ROUNDS = 4

# Functions of the host's loop that are called as often as it wakes up, which goes by the clock.
WAKING = ("BaseEventLoop._run_once", "EpollSelector.select")

# Nothing of its own goes into the log, and transaction numbers are taken by us alone.
SETTINGS = {
    **FAST_AND_FORGETFUL,
    "autovacuum": "off",
    "checkpoint_timeout": "1h",
    "max_wal_size": "4GB",
    "max_wal_senders": "0",
    "wal_level": "minimal",
}


@activity(name="counts_step")
async def step(x: int) -> int:
    return x + 1


@workflow(name="counts_steps")
async def steps(ctx: Context, n: int) -> int:
    value = 0
    for _ in range(n):
        value = await ctx.activity(step, value)
    return value


@workflow(name="counts_wide")
async def wide(ctx: Context, n: int) -> int:
    return sum(await asyncio.gather(*(ctx.activity(step, i) for i in range(n))))


class Size(NamedTuple):
    runs: int
    steps: int  # of each run


class Shape(NamedTuple):
    """A workload in two sizes, which differ in the number of what is counted for."""

    workflow: Callable[..., Any]
    per: str
    small: Size
    large: Size
    by_client: bool = False  # started by a client, as another process would

    @property
    def more(self) -> int:
        """How many more there are of it in the large size."""
        if self.per == "run":
            return self.large.runs - self.small.runs
        return self.large.runs * self.large.steps - self.small.runs * self.small.steps


SHAPES = {
    "sequence": Shape(steps, "step", Size(1, 5), Size(1, 25)),
    "many": Shape(steps, "step", Size(30, 2), Size(30, 8)),
    "wide": Shape(wide, "step", Size(1, 50), Size(1, 150)),
    "runs": Shape(steps, "run", Size(20, 1), Size(60, 1)),
    "far": Shape(steps, "run", Size(20, 1), Size(60, 1), by_client=True),
}

# What each may take, per step or run. Whoever makes one of them less lowers its limit.
LIMITS: dict[str, dict[str, float]] = {
    "sequence": {"round_trips": 1.1, "commits": 1.1, "journal_rows": 1.0, "wal_bytes": 400},
    "many": {"round_trips": 0.05, "commits": 0.05, "journal_rows": 1.0, "wal_bytes": 340},
    "wide": {"round_trips": 0.02, "commits": 0.02, "journal_rows": 1.0, "wal_bytes": 250},
    "runs": {"round_trips": 0.06, "commits": 0.06, "journal_rows": 2.0, "wal_bytes": 2_450},
    "far": {"round_trips": 0.3, "journal_rows": 2.0, "wal_bytes": 3_300},
}

# The same for opcodes, which are those of a version of Python; one that is not here has no limit.
# Nor have the opcodes and commits of what a client starts: who waits there looks by the clock.
OPCODES: dict[tuple[int, int], dict[str, float]] = {
    (3, 11): {"sequence": 5_300, "many": 1_850, "wide": 1_450, "runs": 5_500},
    (3, 12): {"sequence": 6_700, "many": 1_750, "wide": 1_330, "runs": 5_700},
    (3, 13): {"sequence": 5_300, "many": 1_800, "wide": 1_420, "runs": 5_400},
}


class Listening:
    """Counts the statements of every connection that is opened meanwhile, by their names."""

    _NAME = re.compile(r"\s*/\* durable: ([^*]+?) \*/")

    def __init__(self) -> None:
        self.statements: Counter[str] = Counter()

    @contextmanager
    def to_all(self) -> Generator[None, None, None]:
        connect = asyncpg.connect

        async def heard(*args: Any, **named: Any) -> Any:
            connection = await connect(*args, **named)
            connection.add_query_logger(self._hear)
            return connection

        asyncpg.connect = heard
        try:
            yield
        finally:
            asyncpg.connect = connect

    def _hear(self, said: Any) -> None:
        found = self._NAME.match(said.query)
        self.statements[found[1] if found else said.query.split(None, 1)[0]] += 1


class Tracing:
    """Counts the opcodes of this thread, by function."""

    def __init__(self) -> None:
        self.opcodes: Counter[CodeType] = Counter()

    @contextmanager
    def on(self) -> Generator[None, None, None]:
        before = sys.gettrace()
        sys.settrace(self._called)
        try:
            yield
        finally:
            sys.settrace(before)

    def _called(self, frame: FrameType, event: str, argument: Any) -> Any:
        code, opcodes = frame.f_code, self.opcodes

        def local(frame: FrameType, event: str, argument: Any) -> Any:  # noqa: ARG001
            if event == "opcode":
                opcodes[code] += 1
            return local

        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return local


@contextmanager
def unhurried() -> Generator[None, None, None]:
    """Being counted takes long, and work must not be cut into more slices for it."""
    modules = (claimer, committer, quick)
    before = committer.SLICE_SECONDS
    for each in modules:
        vars(each)["SLICE_SECONDS"] = float("inf")
    try:
        yield
    finally:
        for each in modules:
            vars(each)["SLICE_SECONDS"] = before


# The totals of a server: transaction numbers that were given out, bytes of its log, journal rows.
TOTALS = """
select pg_snapshot_xmax(pg_current_snapshot())::text::bigint as commits,
    (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint as wal_bytes,
    (select count(*) from durable.journal) as journal_rows
"""


class Bench:
    """A worker, and what is counted beside it."""

    def __init__(
        self, app: Durable, client: Client, listening: Listening, watch: asyncpg.Connection[Any]
    ) -> None:
        self.app = app
        self.client = client
        self.listening = listening
        self.watch = watch

    async def do(self, shape: Shape, size: Size) -> None:
        starts = self.client if shape.by_client else self.app
        await asyncio.gather(*(starts.run(shape.workflow, size.steps) for _ in range(size.runs)))

    async def count(self, shape: Shape, size: Size) -> Counter[str]:
        """What one size takes beside its opcodes; statements are named ``statement NAME``."""
        before = await self._totals()
        self.listening.statements.clear()
        await self.do(shape, size)
        await asyncio.sleep(0)  # the driver tells of a statement by a callback
        said = self.listening.statements
        counts = Counter({f"statement {name}": n for name, n in said.items()})
        counts.update(await self._totals())
        counts.subtract(before)
        return counts

    async def _totals(self) -> dict[str, int]:
        row = await self.watch.fetchrow(TOTALS)
        assert row is not None
        return dict(row)

    async def trace(self, shape: Shape, size: Size) -> Counter[str]:
        tracing = Tracing()
        with unhurried(), tracing.on():
            await self.do(shape, size)
        counts: Counter[str] = Counter()
        for code, n in tracing.opcodes.items():
            if code.co_qualname not in WAKING:
                counts[f"function {Path(code.co_filename).name}:{code.co_qualname}"] += n
        return counts

    async def per_one(self, shape: Shape) -> dict[str, float]:
        """What one step, or one run, takes of each thing that is counted."""
        least: dict[str, float] = {}
        for take in (self.count, self.trace):
            small = [await take(shape, shape.small) for _ in range(ROUNDS)]
            large = [await take(shape, shape.large) for _ in range(ROUNDS)]
            for name in {name for counts in large for name in counts}:
                more = min(each[name] for each in large) - min(each[name] for each in small)
                least[name] = more / shape.more
        for whole, part in (("round_trips", "statement "), ("opcodes", "function ")):
            least[whole] = sum(n for name, n in least.items() if name.startswith(part))
        return least


async def measure(dsn: str, names: Iterable[str] = tuple(SHAPES)) -> dict[str, dict[str, float]]:
    listening, watch = Listening(), await asyncpg.connect(dsn)
    app = Durable(dsn, serve=[steps, wide], runs_max=1_000, activities_max=1_000)
    try:
        with listening.to_all():
            async with app, Client(dsn) as client:
                bench = Bench(app, client, listening, watch)
                for shape in SHAPES.values():  # statements are prepared, code has met its types
                    await bench.do(shape, shape.small)
                return {name: await bench.per_one(SHAPES[name]) for name in names}
    finally:
        await watch.close()


def limits(name: str) -> dict[str, float]:
    opcodes = OPCODES.get(sys.version_info[:2], {})
    return {**LIMITS[name], **({"opcodes": opcodes[name]} if name in opcodes else {})}


def grown(report: dict[str, dict[str, float]]) -> list[str]:
    """What is above its limit, in words."""
    told = []
    for name, counts in report.items():
        for what, limit in limits(name).items():
            if counts[what] > limit:
                told.append(
                    f"{name}: a {SHAPES[name].per} takes {counts[what]:,.2f} {what}, "
                    f"{counts[what] / limit - 1:.1%} above its limit of {limit:,}. "
                    f"{LOOK[what].format(name=name)}"
                )
    return told


LOOK = {
    "round_trips": "Which statements: python -m bench counts --detail {name}",
    "commits": "Which statements: python -m bench counts --detail {name}",
    "journal_rows": "A row more is an event more: what does a turn record?",
    "wal_bytes": "A column, an index, or an update more: see commit.sql and schema.sql",
    "opcodes": "Which functions: python -m bench counts --detail {name}, now and before",
}


def _without_details(counts: dict[str, float]) -> dict[str, float]:
    return {what: round(n, 3) for what, n in counts.items() if " " not in what}


@click.command(help=__doc__)
@click.option("--detail", type=click.Choice(tuple(SHAPES)), help="statements and functions of one")
@click.option("--json", "as_json", is_flag=True, help="one line of JSON")
def main(detail: str | None, as_json: bool) -> None:
    with EmbeddedPostgres(settings=SETTINGS) as server:
        report = asyncio.run(measure(server.url(), [detail] if detail else SHAPES))
    told = grown(report)
    if as_json:
        report = {name: _without_details(counts) for name, counts in report.items()}
        facts = {"answers": "what a step and a run take, counted", "python": sys.version.split()[0]}
        click.echo(json.dumps({**facts, **report, "grown": told}))
    elif detail:
        for what, n in sorted(report[detail].items(), key=lambda each: (" " in each[0], -each[1])):
            if n >= 0.005:
                click.echo(f"{n:>10,.2f}  {what}")
    else:
        for name, counts in report.items():
            for what, limit in limits(name).items():
                each = SHAPES[name].per
                click.echo(f"{name:>10}  {what:<13}{counts[what]:>11,.2f} a {each:<5} of {limit:,}")
    sys.exit("\n".join(told) if told else 0)
