"""What type checkers must refuse. Never run: to mypy and to pyright an ignore that is not needed is
an error, so each of these lines proves that both catch the mistake in it."""

from __future__ import annotations

import asyncpg

from durable import (
    Client,
    Context,
    Durable,
    Retry,
    Start,
    WorkerOptions,
    activity,
    attempt,
    workflow,
)
from durable.testing import Environment, Recording
from tests.typing.accepted import (
    add,
    bare,
    charge,
    listed,
    noted,
    options_of_all_kinds,
    order,
    percent,
    reserve,
    seven,
    spoken,
)


async def mistakes(ctx: Context, app: Durable, conn: asyncpg.Connection) -> None:
    await ctx.activity(charge)  # type: ignore[call-overload]
    await ctx.activity(charge, 5)  # type: ignore[call-overload]
    await ctx.activity(charge, "visa", pence=5)  # type: ignore[call-arg]
    await ctx.transaction(reserve)  # type: ignore[call-arg]
    await ctx.transaction(reserve, conn, "socks")  # type: ignore[arg-type, call-arg]
    await app.run(order, "visa")  # type: ignore[arg-type]
    await app.run(order, "visa", "five")  # type: ignore[arg-type, call-arg]
    length: int = await app.run(order, "visa", 5)  # type: ignore[arg-type, call-arg]
    print(length)
    Start(order, "visa")  # type: ignore[arg-type]
    Start(order, "visa", 5, idd="x")  # type: ignore[call-overload]
    await app.start_many([order])  # type: ignore[arg-type]


async def arities(ctx: Context, app: Durable) -> None:
    await app.run(bare, 1)  # type: ignore[arg-type]
    await app.run(seven, 1, "b")  # type: ignore[arg-type, call-arg]
    await app.run(order, card="visa", cents=5)  # type: ignore[call-overload]
    await app.handle("x", charge).result()  # type: ignore[arg-type]
    await ctx.activity(options_of_all_kinds, "k")  # type: ignore[call-overload]
    await ctx.activity(options_of_all_kinds, key=1)  # type: ignore[call-overload]
    await ctx.options(retries=1).activity(charge, "visa")  # type: ignore[call-arg]
    await ctx.activity("charge", "visa")  # type: ignore[call-overload]
    await ctx.sleep("a day")  # type: ignore[arg-type]
    await app.start(charge, "visa")  # type: ignore[arg-type]
    text: str = await ctx.activity(options_of_all_kinds, key="k")  # type: ignore[call-overload]
    number: int = await app.handle("x", order).result()  # type: ignore[assignment]
    print(text + number)  # type: ignore[operator]
    Retry(attempts="five")  # type: ignore[arg-type]
    Client(notify="off")  # type: ignore[arg-type]
    WorkerOptions(metrics=print)  # type: ignore[arg-type]


def other(card: int) -> str:
    return str(card)


async def mistakes_in_tests(env: Environment) -> None:
    env.stand_in(charge, other)  # type: ignore[arg-type]
    env.stand_in(reserve, other)  # type: ignore[arg-type]
    env.stand_in(charge, return_value="tx")  # type: ignore[call-overload]
    await env.advance(weeks=1)  # type: ignore[call-arg]
    await env.crash_everywhere(order, 5)  # type: ignore[arg-type]
    Recording(order, 5)  # type: ignore[arg-type]
    Recording(order, "visa", 5).activity(charge, 5, 5).returns("tx")  # type: ignore[call-overload]
    Recording(order, "visa", 5).activity(charge, "visa", 5).returns(5)  # type: ignore[arg-type]


@workflow  # type: ignore[type-var]
def not_async(ctx: Context) -> None: ...


@activity(retries=5)  # type: ignore[call-overload, untyped-decorator]
async def misspelt() -> None: ...


async def mistakes_with_what_is_shown(ctx: Context, app: Durable) -> None:
    ctx.set(percent, "5")  # type: ignore[misc]
    ctx.set(spoken, "a")  # type: ignore[arg-type]
    ctx.publish(spoken, 5)  # type: ignore[misc]
    attempt().publish(spoken, 5)  # type: ignore[misc]
    attempt().publish(percent, 5)  # type: ignore[arg-type]
    await app.handle("x").state(spoken)  # type: ignore[arg-type]
    app.handle("x").stream(percent)  # type: ignore[arg-type]
    await app.reject("token", 7)  # type: ignore[arg-type]


async def mistakes_with_children(ctx: Context) -> None:
    await ctx.child(order, 5, 5)  # type: ignore[arg-type, call-arg]
    await ctx.child(order, "visa")  # type: ignore[arg-type]
    await ctx.child(order, "visa", 5, on_parent_close="soon")  # type: ignore[call-arg, call-overload]
    child = await ctx.start_child(order, "visa", 5)
    child.signal(noted, 5)  # type: ignore[misc]


async def mistakes_with_messages(ctx: Context, app: Durable) -> None:
    handle = app.handle("x")
    await handle.signal(noted, 5)  # type: ignore[misc]
    await handle.signal(noted)  # type: ignore[arg-type]
    await handle.signal(add, "x")  # type: ignore[arg-type]
    await handle.update(add, 5)  # type: ignore[misc]
    await handle.query(add)  # type: ignore[arg-type]
    ctx.send("other", noted, 5)  # type: ignore[misc]
    ctx.on(add, str.upper)  # type: ignore[arg-type]
    ctx.answer(listed, lambda: [5])  # type: ignore[list-item]
