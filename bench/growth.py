"""Is the thousandth day as fast as the first?

The same load (1,000 runs of ten steps, then as many of one) with none, 100,000 and a million
finished runs in the database; ``--finished`` says otherwise: ``--finished 0 --finished 10000000``.
They are copies of a run that was run, made by SQL, each with its own key, id and times; then the
tables are analyzed and vacuumed, as autovacuum would have done long ago. ``flat``: the rate with
the most of them, as a part of the rate with the fewest. The loads of all sizes cannot take turns,
so the yardstick of single-row commits stands beside each, and ``flat_vs_commits`` is by it.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import asyncpg
import click

from bench import limits, told
from bench.measured import Meter, medians
from bench.served import one_step, steps
from durable import Durable

# Written at once; each takes a second or so.
CHUNK = 50_000

# The key is taken from the sequence, the id is another one; times lie a second apart, in the past.
INSTEAD = {
    "run": "keys.run",
    "id": "'finished-' || keys.run",
    "seed": "uuid_send(gen_random_uuid())",
    "key": "uuid_send(gen_random_uuid())",
    **{time: f"model.{time} - keys.nth * interval '1 second'"
       for time in ("created_at", "started_at", "closed_at", "at")},
}  # fmt: skip

KEYS = """
create temporary table keys as
select nextval('durable.run_key') as run, n as nth from generate_series(1, $1::int) as n
"""

COLUMNS = """
select column_name from information_schema.columns
where table_schema = 'durable' and table_name = $1 order by ordinal_position
"""


async def fill(dsn: str, count: int) -> None:
    """So many more finished runs, each like the last one that was finished here."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("set synchronous_commit = off")
        model = await connection.fetchval(
            "select max(run) from durable.run where workflow = 'bench_one_step' "
            "and status = 'completed' and id not like 'finished-%'"
        )
        for done in range(0, count, CHUNK):
            async with connection.transaction():
                keys = min(CHUNK, count - done)
                await connection.execute(KEYS.replace("$1", str(keys)))
                for table in ("run", "input", "result", "journal"):
                    await connection.execute(await _copies(connection, table, model))
                await connection.execute("drop table keys")
        await connection.execute("vacuum (analyze) durable.run, durable.input, durable.result, "
                                 "durable.journal")  # fmt: skip
    finally:
        await connection.close()


async def _copies(connection: asyncpg.Connection[Any], table: str, model: int) -> str:
    """Every column of the model's row, as the schema has them."""
    names = [row["column_name"] for row in await connection.fetch(COLUMNS, table)]
    values = ", ".join(INSTEAD.get(name, f"model.{name}") for name in names)
    return (
        f"insert into durable.{table} ({', '.join(names)}) select {values} "
        f"from durable.{table} as model, keys where model.run = {int(model)}"
    )


async def load(dsn: str, runs: int, n: int) -> dict[str, float]:
    async with Durable(dsn, serve=[steps, one_step], runs_max=runs, activities_max=runs) as app:
        await asyncio.gather(*(app.run(one_step, 1) for _ in range(50)))  # warm
        async with Meter(dsn, counts_rows=False) as cost:
            await asyncio.gather(*(app.run(steps, n) for _ in range(runs)))
        begun = time.perf_counter()
        await asyncio.gather(*(app.run(one_step, x) for x in range(runs)))
        starts = time.perf_counter() - begun
    return {
        "steps_per_s": runs * n / cost.seconds,
        "runs_per_s": runs / starts,
        **cost.each(runs * n, "step"),
    }


async def size(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        told: int = await connection.fetchval("select pg_database_size(current_database())")
        return told
    finally:
        await connection.close()


async def measure(
    dsn: str, finished: tuple[int, ...], runs: int, n: int, repeat: int
) -> dict[str, Any]:
    there, found = 0, []
    for count in sorted(finished):
        if count > there:
            await fill(dsn, count - there)
            there = count
        rounds = []
        for _ in range(repeat):
            await limits.settle(dsn)
            rates = await limits.measure(dsn, 0.5)
            await limits.settle(dsn)
            rounds.append(rates | await load(dsn, runs, n))
        megabytes = round(await size(dsn) / 2**20)
        found.append({"finished": count, "database_mb": megabytes, **medians(rounds)})
    first, last = found[0], found[-1]
    commits = first["single_commit_per_s"] / last["single_commit_per_s"]
    return {
        "answers": "what is left of the rate when so many runs are finished",
        "runs": runs,
        "steps_per_run": n,
        "finished": last["finished"],
        "flat": round(last["steps_per_s"] / first["steps_per_s"], 3),
        "flat_vs_commits": round(last["steps_per_s"] / first["steps_per_s"] * commits, 3),
        "flat_runs": round(last["runs_per_s"] / first["runs_per_s"], 3),
        "flat_python": round(first["python_us_per_step"] / last["python_us_per_step"], 3),
        "sizes": found,
    }


@click.command(help=__doc__)
@told.database_option
@click.option("--finished", multiple=True, default=(0, 100_000, 1_000_000), show_default=True,
              help="finished runs; may be given again")  # fmt: skip
@click.option("--runs", default=1_000, show_default=True)
@click.option("--steps", "n", default=10, show_default=True)
@click.option("--repeat", default=5, show_default=True)
@told.json_option
def main(
    dsn: str | None, finished: tuple[int, ...], runs: int, n: int, repeat: int, as_json: bool
) -> None:
    report = told.answered(lambda url: measure(url, finished, runs, n, repeat), dsn)
    told.tell(report, as_json)
