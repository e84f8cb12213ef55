"""What do very many children of one run cost, and does it all add up?

Parts, each by ``--only NAME``: ``wide``: children fifty at a time, in how much memory of the
worker. ``burst``: as many as one turn may begin, by a bare gather. ``siblings``: children of two
workers that wait, and all end at one moment, into one parent. ``farewell``: a parent ends before
its children, which are asked to cancel. ``replay``: the parent of ``wide`` is read again. Without
``--dsn`` it starts a throw-away embedded Postgres with default durability.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import click

from bench import told
from bench.measured import Meter, figure
from durable import Client, Context, Durable, Signal, workflow

AT_ONCE = 50
SIBLINGS = 1_000

finish = Signal[None]("bench_finish")


@workflow(name="bench_child")
async def child(ctx: Context, n: int) -> int:  # noqa: ARG001 - it asks for nothing
    return 2 * n


@workflow(name="bench_sibling")
async def sibling(ctx: Context, until: datetime) -> int:
    await ctx.sleep_until(until)
    return 1


@workflow(name="bench_endless")
async def endless(ctx: Context) -> None:
    await ctx.sleep(days=1)


@workflow(name="bench_wide")
async def wide_parent(ctx: Context, children: int, at_once: int) -> int:
    free = asyncio.Semaphore(at_once)

    async def one(n: int) -> int:
        async with free:
            return await ctx.child(child, n)

    total = sum(await asyncio.gather(*(one(n) for n in range(children))))
    await ctx.receive(finish)
    return total


@workflow(name="bench_siblings")
async def parent_of_siblings(ctx: Context, children: int, seconds: float) -> tuple[int, float]:
    until = ctx.now() + timedelta(seconds=seconds)
    ended = await asyncio.gather(*(ctx.child(sibling, until) for _ in range(children)))
    return sum(ended), (ctx.now() - until).total_seconds()


@workflow(name="bench_leaver")
async def leaver(ctx: Context, children: int) -> None:
    for _ in range(children):
        await ctx.start_child(endless)
    await ctx.receive(finish)


SERVED: list[Any] = [child, sibling, endless, wide_parent, parent_of_siblings, leaver]


async def until(ready: Callable[[], Coroutine[Any, Any, bool]]) -> None:
    while not await ready():
        await asyncio.sleep(0.05)


async def wide(dsn: str, children: int) -> dict[str, Any]:
    return await _wide(dsn, "wide", children, AT_ONCE)


async def burst(dsn: str, children: int) -> dict[str, Any]:
    return await _wide(dsn, "burst", children, children)


async def _wide(dsn: str, name: str, children: int, at_once: int) -> dict[str, Any]:
    async with Durable(dsn, serve=SERVED) as app:
        await app.start(wide_parent, 10, 10)  # warm
        async with Meter(dsn) as cost:
            handle = await app.start(wide_parent, children, at_once, id=name)

            async def has_all() -> bool:
                return (await handle.describe()).events == children + 1

            await until(has_all)
    each = {key: figure(value) for key, value in cost.each(children, "child").items()}
    return {
        f"{name}_children": children,
        f"{name}_at_once": at_once,
        f"{name}_seconds": round(cost.seconds, 1),
        f"{name}_children_per_s": round(children / cost.seconds),
        f"{name}_mb_at_most": cost.grown_mb,
        **{f"{name}_{key}": value for key, value in each.items()},
    }


async def replay(dsn: str, children: int) -> dict[str, Any]:
    """What ``wide`` has left behind, and is done with a signal."""
    begun = time.perf_counter()
    async with Meter(dsn) as cost, Durable(dsn, serve=SERVED) as app:
        handle = app.handle("wide", wide_parent)
        await handle.signal(finish)
        assert await handle.result() == children * (children - 1)
        took = time.perf_counter() - begun
    return {"replay_seconds": round(took, 2), "replay_mb_at_most": cost.grown_mb}


async def siblings(dsn: str, children: int) -> dict[str, Any]:
    watcher = await asyncpg.connect(dsn)
    count = min(children, SIBLINGS)
    async with Durable(dsn, serve=SERVED) as app, Durable(dsn, serve=SERVED):
        before = await _conflicts(watcher)
        async with Meter(dsn) as cost:
            ended, late = await app.run(parent_of_siblings, count, 12.0, id="siblings")
        after = await _conflicts(watcher)
    told = await watcher.fetchval(
        "select count(distinct (kind, op)) from durable.history where id = 'siblings' "
        "and kind = 'child'"
    )
    await watcher.close()
    assert (ended, told) == (count, count)
    return {
        "siblings": count,
        "siblings_last_told_after_s": round(late, 2),
        "siblings_mb_at_most": cost.grown_mb,
        "siblings_deadlocks": after[0] - before[0],
        "siblings_rollbacks": after[1] - before[1],
    }


async def _conflicts(connection: asyncpg.Connection) -> tuple[int, int]:
    await connection.execute("select pg_stat_clear_snapshot()")
    row = await connection.fetchrow(
        "select deadlocks, xact_rollback from pg_stat_database where datname = current_database()"
    )
    assert row is not None
    return row[0], row[1]


async def farewell(dsn: str, children: int) -> dict[str, Any]:
    async with Durable(dsn, serve=SERVED) as app, Client(dsn) as client:
        handle = await client.start(leaver, children, id="leaver")

        async def are_begun() -> bool:
            begun = await app.store.runs.current("leaver")
            return begun is not None and len(await app.store.runs.children(begun)) == children

        await until(are_begun)
        begun = time.perf_counter()
        await handle.signal(finish)

        async def are_cancelled() -> bool:
            return (await client.count_by_status()).get("cancelled", 0) >= children

        await until(are_cancelled)
        took = time.perf_counter() - begun
    return {"farewell_children": children, "farewell_seconds": round(took, 1)}


PARTS: dict[str, Callable[[str, int], Coroutine[Any, Any, dict[str, Any]]]] = {
    "wide": wide, "replay": replay, "burst": burst, "siblings": siblings, "farewell": farewell,
}  # fmt: skip


@click.command(help=__doc__)
@click.option("--children", default=10_000, show_default=True, help="of one run")
@click.option("--only", type=click.Choice(list(PARTS)), multiple=True, help="these parts")
@told.database_option
@told.json_option
def main(children: int, only: tuple[str, ...], dsn: str | None, as_json: bool) -> None:
    async def measure(url: str) -> dict[str, Any]:
        found: dict[str, Any] = {"answers": "what very many children of one run cost"}
        for name, part in PARTS.items():
            if not only or name in only:
                found |= await part(url, children)
        return found

    told.tell(told.answered(measure, dsn), as_json)
