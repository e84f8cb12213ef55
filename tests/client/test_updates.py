"""Updates and queries: asked by clients, answered by live, parked and closed runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from durable import (
    Client,
    Context,
    Durable,
    Query,
    RunClosed,
    Signal,
    Update,
    UpdateFailed,
    UpdateRejected,
    activity,
    workflow,
)
from durable.errors import InvalidCall, RunNotFound
from tests.end_to_end.processes import until

add = Update[int, list[int]]("basket.add")
empty = Update[None, int]("basket.empty")
price = Update[str, int]("basket.price")
content = Query[list[int]]("basket.content")
meddles = Query[int]("basket.meddles")
leave = Signal[None]("basket.leave")

quoted: list[str] = []


@activity
async def quote_price(what: str) -> int:
    quoted.append(what)
    return len(what)


@workflow
async def basket(ctx: Context, start: int) -> list[int]:
    items = [start]

    def put(item: int) -> list[int]:
        items.append(item)
        return items

    async def clear(_: None) -> int:
        count = len(items)
        items.clear()
        return count

    async def ask_price(what: str) -> int:
        if what == "nothing":
            raise LookupError("nothing has no price")
        return await ctx.activity(quote_price, what)

    ctx.on(add, put, check=lambda item: item > 0)
    ctx.on(empty, clear)
    ctx.on(price, ask_price)
    ctx.answer(content, lambda: items)
    ctx.answer(meddles, lambda: ctx.activity(quote_price, "x").op)
    await ctx.receive(leave)
    return items


@workflow
async def counts_each(ctx: Context) -> int:
    total = 0
    async for number in ctx.messages(numbers):
        total += number
        if number == 0:
            break
    return total


numbers = Signal[int]("numbers_to_count")

SERVED: list[Any] = [basket, counts_each]


@pytest.fixture
async def app(dsn: str) -> AsyncIterator[Durable]:
    async with Durable(dsn, serve=SERVED) as app:
        yield app


async def test_an_update_is_answered_by_the_run(app: Durable) -> None:
    handle = await app.start(basket, 1, id="b")
    assert await handle.update(add, 2) == [1, 2]
    assert await handle.update(price, "socks") == 5
    assert await handle.update(empty) == 2
    await handle.signal(leave)
    assert await handle.result() == []
    kinds = [each["kind"] for each in await app.history("b")]
    assert kinds == ["started", "update", "update", "activity", "update", "signal"]


async def test_an_update_is_answered_across_processes(app: Durable, dsn: str) -> None:
    async with Client(dsn) as client:
        await client.start(basket, 1, id="b")
        assert await client.handle("b").update(add, 2) == [1, 2]


async def test_who_asks_again_with_its_key_gets_the_same_answer(app: Durable, dsn: str) -> None:
    handle = await app.start(basket, 1, id="b")
    assert await handle.update(add, 2, key="two") == [1, 2]
    assert await handle.update(add, 3) == [1, 2, 3]
    async with Client(dsn) as client:  # as after a crash of the one before
        assert await client.handle("b").update(add, 2, key="two") == [1, 2]
    await handle.signal(leave)
    assert await handle.result() == [1, 2, 3]
    assert await handle.update(add, 2, key="two") == [1, 2]


async def test_an_update_survives_a_caller_that_gives_up_and_a_worker_that_leaves(
    dsn: str,
) -> None:
    async with Client(dsn) as client:
        handle = await client.start(basket, 1, id="b")
        asking = asyncio.create_task(handle.update(add, 2, key="two"))

        async def is_there() -> bool:
            connection = await asyncpg.connect(dsn)
            there: bool = await connection.fetchval("select count(*) = 1 from durable.inbox")
            await connection.close()
            return there

        await until(is_there)
        asking.cancel()
        again = asyncio.create_task(handle.update(add, 2, key="two"))
        async with Durable(dsn, serve=SERVED):
            assert await again == [1, 2]
        async with Durable(dsn, serve=SERVED):
            assert await handle.update(add, 3) == [1, 2, 3]


async def test_a_rejected_update_changes_nothing(app: Durable) -> None:
    handle = await app.start(basket, 1, id="b")
    with pytest.raises(UpdateRejected, match=r"rejects update 'basket\.add'"):
        await handle.update(add, -1)
    with pytest.raises(UpdateRejected) as caught:
        await handle.update(add, -1, key="again")
    assert caught.value.id == "b"
    assert await handle.update(add, 2) == [1, 2]


async def test_a_handler_that_raises_fails_its_update_alone(app: Durable) -> None:
    handle = await app.start(basket, 1, id="b")
    with pytest.raises(UpdateFailed, match="LookupError: nothing has no price") as caught:
        await handle.update(price, "nothing")
    assert caught.value.type == "LookupError"
    assert "ask_price" in caught.value.traceback
    assert await handle.update(add, 2) == [1, 2]


async def test_a_run_that_closes_answers_nobody(app: Durable) -> None:
    handle = await app.start(counts_each, id="c")  # it handles no updates
    asking = asyncio.create_task(handle.update(add, 2))

    async def has_come() -> bool:
        return "update" in [each["kind"] for each in await app.history("c")]

    await until(has_come)
    await handle.signal(numbers, 0)
    with pytest.raises(RunClosed, match="completed"):
        await asking
    with pytest.raises(RunClosed):
        await handle.update(add, 3)
    with pytest.raises(RunNotFound):
        await app.handle("nobody").update(add, 2)


async def test_values_of_other_types_are_refused_at_both_ends(app: Durable) -> None:
    handle = await app.start(basket, 1, id="b")
    wrong: Any = "two"
    with pytest.raises(InvalidCall, match=r"does not fit int in update 'basket\.add'"):
        await handle.update(add, wrong)
    other_type = Update[str, int]("basket.other")
    other_type.name = "basket.add"
    with pytest.raises(UpdateRejected, match="int"):
        await handle.update(other_type, "two")
    for call in (handle.update, handle.signal):
        other: Any = leave if call == handle.update else add
        with pytest.raises(InvalidCall, match="which this call takes"):
            await call(other, 1)
    with pytest.raises(InvalidCall, match="has its value and its key"):
        await handle.update(add(1), key="k")


async def test_a_channel_of_another_kind_is_no_handler(app: Durable) -> None:
    odd: Any = leave

    @workflow(name="handles_wrongly")
    async def handles_wrongly(ctx: Context) -> None:
        with pytest.raises(InvalidCall, match="is no Update"):
            ctx.on(odd, lambda _: None)
        with pytest.raises(InvalidCall, match="is no Query"):
            ctx.answer(odd, lambda: None)
        odder: Any = add
        for call in ctx.receive, ctx.messages:
            with pytest.raises(InvalidCall, match="is no Signal"):
                call(odder)
        with pytest.raises(InvalidCall, match="is no Signal"):
            ctx.send("other", odder, 1)

    async with Durable(app._dsn, serve=[handles_wrongly]) as other:
        await other.run(handles_wrongly)


async def test_signals_come_one_by_one(app: Durable) -> None:
    handle = await app.start(counts_each, id="c")
    for number in (1, 2, 3, 0):
        await handle.signal(numbers, number)
    assert await handle.result() == 6


# Queries


async def test_a_query_is_answered_by_the_live_run(app: Durable) -> None:
    handle = await app.start(basket, 1, id="b")
    await handle.update(add, 2)
    assert await handle.query(content) == [1, 2]
    (await handle.query(content)).append(7)
    assert await handle.query(content) == [1, 2]


async def test_a_query_is_answered_where_no_worker_lives(dsn: str) -> None:
    async with Durable(dsn, serve=SERVED) as app:
        handle = await app.start(basket, 1, id="b")
        await handle.update(add, 2)
    async with Client(dsn) as client:
        assert await client.handle("b").query(content) == [1, 2]
    async with Durable(dsn, serve=SERVED) as app:
        assert await app.handle("b").update(add, 3) == [1, 2, 3]
        await app.handle("b").signal(leave)
        await app.handle("b").result()
        assert await app.handle("b").query(content) == [1, 2, 3]


async def test_a_query_sees_only_what_is_written(app: Durable) -> None:
    handle = await app.start(basket, 1, id="b")
    assert app._worker is not None
    commit, entered, go = app.store.journal.commit, asyncio.Event(), asyncio.Event()

    async def dawdle(*given: Any, **more: Any) -> Any:
        entered.set()
        await go.wait()
        return await commit(*given, **more)

    app.store.journal.commit = dawdle  # type: ignore[method-assign]
    asking = asyncio.create_task(handle.update(add, 2))
    await entered.wait()
    assert handle._run is not None
    async with Client(app._dsn) as elsewhere:
        assert await elsewhere.handle("b").query(content) == [1]
    here = asyncio.create_task(handle.query(content))
    go.set()
    assert await asking == [1, 2]
    assert await here == [1, 2]


async def test_a_query_changes_nothing(app: Durable) -> None:
    handle = await app.start(basket, 1, id="b")
    for client in (app, Client(app._dsn)):
        if client is not app:
            await client.__aenter__()
        with pytest.raises(InvalidCall, match="may only look"):
            await client.handle("b").query(meddles)
        with pytest.raises(InvalidCall, match=r"no query 'other'.*'basket\.content'"):
            await client.handle("b").query(Query[int]("other"))
        if client is not app:
            await client.__aexit__(None, None, None)
    assert await handle.update(add, 2) == [1, 2]
    assert "x" not in quoted
    with pytest.raises(RunNotFound):
        await app.handle("nobody").query(content)


async def test_a_run_that_has_not_begun_knows_nothing(dsn: str) -> None:
    async with Client(dsn) as client:
        handle = await client.start(basket, 1, id="b")
        with pytest.raises(InvalidCall, match="has not begun"):
            await handle.query(content)


# Starts with a message


async def test_a_start_brings_a_message_and_does_so_once(app: Durable) -> None:
    for _ in range(2):
        message = add(2, key="first")
        handle = await app.start(basket, 1, id="b", message=message)
        assert await handle.update(message) == [1, 2]
    assert await handle.update(add, 3) == [1, 2, 3]
    await app.start(basket, 1, id="b", message=leave())
    assert await handle.result() == [1, 2, 3]
    with pytest.raises(RunClosed):
        await app.start(basket, 1, id="b", message=leave())
    fresh = await app.start(basket, 7, id="b", if_exists="after_close", message=leave())
    assert await fresh.result() == [7]


async def test_a_start_with_a_message_joins_a_transaction(app: Durable, dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    async with connection.transaction():
        for _ in range(2):
            await app.start(counts_each, id="c", message=numbers(5, key="5"), connection=connection)
        handle = await app.start(counts_each, id="c", message=numbers(0), connection=connection)
    await connection.close()
    assert await handle.result() == 5


async def test_what_is_no_message_is_refused(app: Durable) -> None:
    odd: Any = leave
    with pytest.raises(InvalidCall, match="call the channel with its value"):
        await app.start(basket, 1, message=odd)
    with pytest.raises(InvalidCall, match="key="):
        leave(key="")


# Runs that go on as new ones


@workflow
async def moves_on(ctx: Context, generation: int) -> int:
    if generation == 0:
        await ctx.receive(leave)
        ctx.continue_as_new(1)

    async def put(item: int) -> list[int]:
        return [generation, item]

    ctx.on(add, put)
    await ctx.receive(leave)
    return generation


async def test_who_asks_a_run_that_goes_on_is_answered_by_its_heir(dsn: str) -> None:
    async with Durable(dsn, serve=[moves_on]) as app:
        handle = await app.start(moves_on, 0, id="m")
        asking = asyncio.create_task(handle.update(add, 2, key="two"))

        async def has_come() -> bool:
            return "update" in [each["kind"] for each in await app.history("m")]

        await until(has_come)
        await app.handle("m").signal(leave)
        assert await asking == [1, 2]
        assert await app.handle("m").update(add, 2, key="two") == [1, 2]
        await app.handle("m").signal(leave)
        assert await app.handle("m").result() == 1
