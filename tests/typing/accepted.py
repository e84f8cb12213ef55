"""What type checkers must infer. Never run: mypy and pyright read it."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any, assert_type

import asyncpg
import psycopg
from sqlalchemy.ext.asyncio import AsyncSession

from durable import (
    Child,
    Client,
    Compensation,
    Context,
    Description,
    Done,
    Durable,
    Handle,
    Health,
    Message,
    Metrics,
    Operation,
    Promise,
    Query,
    Retry,
    Signal,
    Start,
    Started,
    State,
    Stream,
    StreamItem,
    Update,
    Worker,
    activity,
    attempt,
    workflow,
)
from durable.testing import (
    Call,
    Environment,
    History,
    Recording,
    Replayed,
    Survived,
    assert_replays,
    replay,
)


@activity
async def charge(card: str, cents: int = 100) -> str:
    return f"{card} {cents}"


@activity(timeout=5)
def count(words: list[str]) -> int:
    return len(words)


async def reserve(conn: asyncpg.Connection, sku: str) -> bool:
    return bool(await conn.fetchval("select $1 = 'socks'", sku))


@workflow
async def order(ctx: Context, card: str, cents: int) -> float:
    assert_type(ctx.activity(charge, card, cents=cents), Operation[str])
    assert_type(await ctx.activity(charge, card), str)
    assert_type(await ctx.activity(count, [card]), int)
    assert_type(await ctx.options(timeout=1, raises=None).activity(charge, card), str)
    assert_type(await ctx.transaction(reserve, "socks"), bool)
    assert_type(await ctx.sleep(1), None)
    both = await asyncio.gather(ctx.activity(charge, card), ctx.activity(count, []))
    assert_type(both, tuple[str, int])
    async with asyncio.TaskGroup() as group:
        task = group.create_task(ctx.activity(count, []))
    assert_type(task.result(), int)
    async with Compensation() as undo:
        undo.push_async_callback(ctx.activity, charge, card)
    assert_type(await asyncio.wait_for(ctx.activity(charge, card), 5), str)
    return 1.0


async def host(app: Durable, client: Client) -> None:
    assert_type(await app.run(order, "visa", 5), float)
    assert_type(await app.start(order, "visa", 5, id="order-1"), Handle[float])
    assert_type(await app.handle("order-1", order).result(), float)
    assert_type(app.handle("order-1"), Handle[Any])
    assert_type(await app.handle("order-1", order).fork(at=3, result=5), Handle[float])
    assert_type(await app.handle("order-1", order).restart(), Handle[float])
    assert_type(await app.retry_many(workflow="order", limit=3), list[Done])
    assert_type(await client.start("order", "visa", 5), Handle[Any])
    assert_type(
        await client.start(
            order, "visa", 5, delay=1, deadline=timedelta(days=1), priority=2, build="v7"
        ),
        Handle[float],
    )
    assert_type(Start(order, "visa", 5, id="order-1"), Start[float])
    assert_type(Start("order", "visa"), Start[Any])
    answers = await client.start_many(Start(order, "visa", n, id=f"order-{n}") for n in range(9))
    assert_type(answers, list[Started[float]])
    assert_type(await answers[0].handle.result(), float)
    assert_type(await client.list(status="failed", limit=5), list[Description])
    async for run in client.list(order="oldest"):
        assert_type(run, Description)
    assert_type(await client.delete(older_than=timedelta(days=30)), int)
    assert_type(await charge("visa"), str)


async def plays(card: str, cents: int = 100) -> str:
    return card


def counts(words: list[str]) -> int:
    return 0


async def in_tests(env: Environment) -> None:
    env.stand_in(charge, raises=[TimeoutError(), OSError], returns="tx")
    env.stand_in(charge, plays)
    env.stand_in(count, counts, raises=ValueError("each time"))
    env.stand_in(reserve, returns=True)
    env.stand_in(reserve, lambda sku: sku == "socks")
    assert_type(env.calls(charge), list[Call])
    assert_type(await env.advance(days=30), datetime)
    assert_type(await env.run(order, "visa", 5), float)
    assert_type(await env.crash_everywhere(order, "visa", 5, meanwhile=cancels), Survived[float])
    env.crash_after(charge)

    told = Recording(order, "visa", 5).activity(charge, "visa", 5).returns("tx").timer(days=1)
    assert_type(told.history, History)
    assert_type(assert_replays("tests/*.jsonl", told.history, workflow=order), int)
    assert_type(replay(await History.of(env, "order-1"), order), Replayed)
    histories = [each async for each in History.all(env, status="open", workflow="order")]
    assert_type(histories, list[History])
    assert_type(list(History.load("tests/a.jsonl")), list[History])
    assert_type(await histories[0].bring_into(env), int)


async def cancels(env: Environment, handle: Handle[float]) -> None:
    await handle.cancel()


# Workflows of none, some and many arguments


@workflow
async def bare(ctx: Context) -> None:
    await ctx.sleep(timedelta(days=1))


@workflow(name="seven")
async def seven(ctx: Context, a: int, b: str, c: bytes, d: float, e: bool, f: list[int], g: Any = 0
                ) -> tuple[int, str]:  # fmt: skip
    return a, b


def is_passing(error: Exception) -> bool:
    return isinstance(error, OSError)


@activity(retry=Retry(attempts=3, retry_if=is_passing), raises=(KeyError,))
async def options_of_all_kinds(*, key: str, n: int = 0) -> dict[str, int]:
    return {key: n}


async def arities(app: Durable, ctx: Context, conn: asyncpg.Connection) -> None:
    assert_type(await app.run(bare), None)
    assert_type(await app.start(bare, connection=conn), Handle[None])
    assert_type(await app.run(seven, 1, "b", b"c", 1.0, True, [1], object()), tuple[int, str])
    assert_type(await ctx.activity(options_of_all_kinds, key="k", n=2), dict[str, int])
    assert_type(await ctx.options(retry=Retry(attempts=1), timeout=timedelta(seconds=1)).activity(
        options_of_all_kinds, key="k"), dict[str, int])  # fmt: skip
    assert_type(await app.handle("x", bare).result(), None)
    assert_type(await app.run("by name", 1, 2, 3), Any)


# Decorators give back the very function that they get: what may be called may still be.


async def plain(ctx: Context) -> None:
    assert_type(await bare(ctx), None)
    assert_type(await options_of_all_kinds(key="k"), dict[str, int])
    assert_type(count(["a"]), int)
    assert_type(await order(ctx, "visa", 5), float)


class Counted:
    """Any object with these two methods collects metrics."""

    def count(self, name: str, n: int = 1, /, **labels: str) -> None: ...
    def observe(self, name: str, value: float, /, **labels: str) -> None: ...


metrics: Metrics = Counted()


async def surroundings(worker: Worker) -> None:
    assert_type(worker.health(), Health)
    assert_type(worker.health().reasons, tuple[str, ...])
    async with Durable(metrics=metrics, notify=False) as app:
        assert_type(app, Durable)
    async with Worker("postgresql://x/y", serve=[order], queues=("a",)) as entered:
        assert_type(entered, Worker)


# What runs show, and whom they ask.

percent = State[int]("typing.percent")
spoken = Stream[str]("typing.spoken")


async def shown(ctx: Context, app: Durable, client: Client, conn: asyncpg.Connection) -> None:
    ctx.set(percent, 5)
    ctx.publish(spoken, "a")
    attempt().publish(spoken, "b")
    assert_type(ctx.promise(bool), Promise[bool])
    assert_type(await ctx.promise(bool, name="approval"), bool)
    assert_type(await ctx.promise(list[int]), list[int])
    assert_type(ctx.promise(str).token, str)
    handle = app.handle("x", bare)
    assert_type(await handle.state(percent), int | None)
    async for change in handle.changes(percent):
        assert_type(change, int)
    async for item in handle.stream(spoken, after=3):
        assert_type(item, StreamItem[str])
        assert_type(item.value, str)
        assert_type((item.offset, item.is_reset), tuple[int, bool])
    assert_type(await client.resolve("token", {"any": 1}, connection=conn), bool)
    assert_type(await client.reject("token", "no"), bool)


# What is sent to runs, and what they answer.

noted = Signal[str]("typing.noted")
halt = Signal[None]("typing.halt")
add = Update[str, int]("typing.add")
clear = Update[None, int]("typing.clear")
listed = Query[list[str]]("typing.listed")


async def added(name: str) -> int:
    return len(name)


def counted(name: str) -> int:
    return len(name)


async def cleared(_: None) -> int:
    return 0


async def parents(ctx: Context) -> int:
    assert_type(ctx.child(order, "visa", 5), Operation[float])
    assert_type(await ctx.child(order, "visa", 5, id="o", on_parent_close="abandon"), float)
    assert_type(await ctx.child("elsewhere", 1, "two", queue="other", priority=1, delay=5), Any)
    child = await ctx.start_child(order, "visa", 5, deadline=60)
    assert_type(child, Child[float])
    assert_type(await child.result(), float)
    child.signal(noted, "x")
    child.signal(halt)
    child.cancel()
    assert_type(await (await ctx.start_child("elsewhere")).result(), Any)
    if ctx.events < 100:
        return 5
    return ctx.continue_as_new(1, "two")


async def asked(ctx: Context, app: Durable, conn: asyncpg.Connection) -> None:
    assert_type(await ctx.receive(noted), str)
    print(await ctx.receive(noted))
    async for text in ctx.messages(noted):
        assert_type(text, str)
    ctx.send("other", noted, "x")
    ctx.send("other", halt)
    ctx.on(add, added)
    ctx.on(add, counted, check=lambda name: name.isalpha())
    ctx.on(clear, cleared)
    ctx.answer(listed, lambda: ["a"])
    handle = app.handle("x", bare)
    await handle.signal(noted, "x", key="k", connection=conn)
    await handle.signal(halt)
    await handle.signal(noted("x"))
    assert_type(await handle.update(add, "x", key="k"), int)
    assert_type(await handle.update(clear), int)
    assert_type(add("x"), Message[int])
    assert_type(await handle.update(add("x", key="k")), int)
    assert_type(noted("x"), Message[None])
    assert_type(halt(), Message[None])
    assert_type(await handle.query(listed), list[str])
    assert_type(await app.start(bare, id="x", message=add("x")), Handle[None])
    assert_type(await app.run(bare, message=halt()), None)
    assert_type(await app.start_many([Start(bare, message=add("x"))]), list[Started[None]])
    wider: object = await handle.update(add, "x")
    print(wider, await handle.update(add, "x"), await handle.query(listed))


async def with_psycopg(conn: psycopg.AsyncConnection, sku: str) -> int:
    return len(sku)


async def with_session(session: AsyncSession, sku: str) -> int:
    return len(sku)


async def from_outside(ctx: Context, app: Durable, session: AsyncSession) -> None:
    handle = app.handle("x", bare)
    assert_type(await handle.terminate("enough"), bool)
    assert_type(await handle.pause(), bool)
    assert_type(await handle.resume(), bool)
    assert_type(await handle.cancel(connection=session), bool)
    assert_type(await ctx.transaction(with_psycopg, "socks"), int)
    assert_type(await ctx.options(isolation="serializable").transaction(with_session, "x"), int)
    await app.start(bare, id="x", connection=session)
