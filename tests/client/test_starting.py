"""What a start says beside its workflow: ids, arguments, times, queues, priorities."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable import Client, Durable, Start, Status
from durable._client.starting import random_id
from durable._store.protocol import Letter
from durable.errors import IdReused, InvalidCall, RunNotFound

from . import flows
from .conftest import until
from .flows import Item, Order, begun_at, double, named, takes_order, tidies_up, waits

SOON = timedelta(milliseconds=150)
INFINITE = float("inf")


# Arguments


async def test_an_id_stands_for_its_arguments_whatever_they_are_written_as(
    starter: Client,
) -> None:
    order = Order([Item("a", 5), Item("b", 7)], tags={"x", "y", "z"})
    first = await starter.start(takes_order, order, id="o")

    for again in (
        (takes_order, Order([Item("a", 5), Item("b", 7)], tags={"z", "y", "x"})),
        (takes_order, order, False),
        ("takes_order", {"tags": ["y", "x", "z"], "note": "", "items": [
            {"price": 5, "sku": "a"}, {"sku": "b", "price": 7}]}),
        ("takes_order", {"items": [{"sku": "a", "price": 5}, {"sku": "b", "price": 7}],
                         "tags": {"x", "y", "z"}}, False),
    ):  # fmt: skip
        start: Any = starter.start
        assert (await start(*again, id="o"))._run == first._run
    with pytest.raises(IdReused, match=r"args\[0\]\.items\[1\]\.price \(it was 7, now 8\)") as told:
        await starter.start(takes_order, Order([Item("a", 5), Item("b", 8)], tags=order.tags),
                            id="o")  # fmt: skip
    assert (told.value.path, told.value.before, told.value.now) == ("args[0].items[1].price", 7, 8)


async def test_a_start_that_does_not_compare_takes_the_run_as_it_is(starter: Client) -> None:
    first = await starter.start(double, 1, id="a")

    assert await starter.run(double, 2, id="a", compare=False) == 2
    with pytest.raises(IdReused, match=r"args\[0\] \(it was 1, now 2\)"):
        await starter.start(double, 2, id="a")
    with pytest.raises(IdReused, match="another workflow"):
        await starter.start(waits, 1, id="a", compare=False)
    assert await first.result() == 2


async def test_arguments_that_the_workflow_does_not_take_are_refused_before_anything_is_written(
    starter: Client,
) -> None:
    start: Any = starter.start
    for args in ((double, "1"), (double, 1.5), (double, None), ("double", "1"), (double, [1]),
                 (takes_order, {"items": [{"sku": "a"}]})):  # fmt: skip
        with pytest.raises(InvalidCall, match=f"{getattr(args[0], '__name__', args[0])}()"):
            await start(*args)
    assert await starter.list() == []


async def test_a_name_that_is_nearly_known_is_asked_about(
    starter: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="durable"):
        await starter.start("takes_oder", 1)
        assert "Did you mean 'takes_order'?" in caplog.text
        caplog.clear()
        await starter.start("somebody_elses_workflow", 1)
        assert "workflow" not in caplog.text


# Names


@pytest.mark.parametrize("bad", ["", "x" * 256, "a\0b", "\ud800", 5, b"a"])
async def test_a_text_that_cannot_be_stored_names_nothing(client: Client, bad: Any) -> None:
    for call in (
        lambda: client.start(double, 1, id=bad),
        lambda: client.start(double, 1, queue=bad),
        lambda: client.start(bad if isinstance(bad, str) else "", 1),
    ):
        with pytest.raises(InvalidCall, match="1 to 255 characters"):
            await call()
    assert await client.list() == []


@pytest.mark.parametrize("id", ["x" * 255, "ä/ö 漢字\n'\"\\%_", " ", "💶" * 255])
async def test_any_other_text_is_an_id(starter: Client, id: str) -> None:
    assert await starter.run(named, id=id) == id
    assert await starter.handle(id, named).result() == id
    assert [each.id async for each in starter.list(id_prefix=id)] == [id]


# Times


async def test_a_delayed_run_begins_at_its_time_and_not_before(starter: Client) -> None:
    asked_at = datetime.now(UTC)
    by_delay = await starter.start(begun_at, delay=SOON)
    described = await by_delay.describe()
    by_time = await starter.start(begun_at, at=asked_at + SOON)
    past = await starter.start(begun_at, at=asked_at - timedelta(days=1))

    assert described.due_at is not None
    assert described.due_at - described.created_at == SOON
    assert await past.result() >= asked_at
    for delayed in (by_delay, by_time):
        begun = await delayed.result()
        assert begun >= asked_at + SOON


async def test_a_message_does_not_begin_a_delayed_run_but_a_cancel_does(
    app: Durable, database: asyncpg.Connection[Any]
) -> None:
    handle = await app.start(tidies_up, id="a", delay=timedelta(days=300))
    before = (await handle.describe()).due_at
    await app.store.inbox.deliver("a", Letter("signal", "s", "k", None))
    assert (await handle.describe()).due_at == before

    await database.execute("delete from durable.inbox")  # no workflow reads signals yet
    await database.execute("update durable.run set last_seq = 0")
    assert await handle.cancel()
    await until(lambda: _is(handle.status, Status.CANCELLED))


async def _is(ask: Callable[[], Any], status: Status) -> bool:
    return bool(await ask() is status)


@pytest.mark.parametrize(
    "times",
    [
        {"delay": -1}, {"delay": float("nan")}, {"delay": INFINITE}, {"delay": timedelta(-1)},
        {"delay": "soon"}, {"delay": timedelta.max}, {"delay": 10**400}, {"delay": 1e15},
        {"at": datetime(2030, 1, 1)}, {"at": 5}, {"at": "2030-01-01"},
        {"delay": 1, "at": datetime.now(UTC)},
        {"at": datetime.max.replace(tzinfo=timezone(timedelta(hours=-5)))},
        {"deadline": -1}, {"deadline": float("nan")}, {"deadline": INFINITE}, {"deadline": "x"},
        {"deadline": datetime(2030, 1, 1)}, {"deadline": timedelta(seconds=-1)},
        {"at": datetime(2030, 1, 1, tzinfo=UTC), "deadline": datetime(2029, 1, 1, tzinfo=UTC)},
        {"delay": 1e11, "deadline": 2e11},
    ],
)  # fmt: skip
async def test_a_time_that_cannot_be_is_refused(client: Client, times: dict[str, Any]) -> None:
    with pytest.raises(InvalidCall):
        await client.start(double, 1, **times)
    (answer,) = await client.start_many([Start(double, 1, **times)])
    assert isinstance(answer.error, InvalidCall)
    assert await client.list() == []


# Priorities and queues


@pytest.mark.parametrize("bad", [-3, 3, 1.0, True, "1", None])
async def test_a_priority_is_one_of_five(client: Client, bad: Any) -> None:
    with pytest.raises(InvalidCall, match="priority="):
        await client.start(double, 1, priority=bad)


async def test_what_is_due_is_taken_in_order_of_priority(dsn: str, client: Client) -> None:
    for n, priority in enumerate((0, -2, 2, 1, -1, 0)):
        await client.start(begun_at, id=f"{n}/{priority}", priority=priority)

    async with Durable(dsn, serve=[begun_at], runs_max=1) as app:
        begun = {}
        async for run in client.list():
            begun[run.id] = await app.handle(run.id, begun_at).result()
        assert (await app.handle("2/2").describe()).priority == 2
    assert sorted(begun, key=lambda id: begun[id]) == ["2/2", "3/1", "0/0", "5/0", "4/-1", "1/-2"]


async def test_two_services_in_one_queue_take_their_own_workflows_only(dsn: str) -> None:
    async with (
        Durable(dsn, serve=[double]) as doubles,
        Durable(dsn, serve=[named]) as names,
        Client(dsn) as client,
    ):
        starts: list[Start[Any]] = []
        for n in range(20):
            starts += [Start(double, n), Start(named), Start(double, n, queue="else")]
        answers = await client.start_many(starts)
        # Each service starts the other's, too: it must not bear what it does not serve.
        crossed = await asyncio.gather(doubles.start(named), names.start(double, 50))

        for n in range(20):
            assert await answers[3 * n].handle.result() == 2 * n
            assert await answers[3 * n + 1].handle.result() == answers[3 * n + 1].id
        assert await crossed[0].result() == crossed[0].id
        assert await crossed[1].result() == 100
        left = await client.list(queue="else")
        assert {each.status for each in left} <= {Status.PENDING, Status.UNSERVED}
        assert len(left) == 20


async def test_what_nobody_serves_is_done_as_soon_as_somebody_comes(dsn: str) -> None:
    async with Durable(dsn, serve=[named]) as other:
        handle = await other.start(double, 4)
        await until(lambda: _is(handle.status, Status.UNSERVED))
        async with Durable(dsn, serve=[flows]):
            assert await handle.result() == 8


async def test_a_joined_start_is_there_when_its_transaction_is(
    starter: Client, database: asyncpg.Connection[Any]
) -> None:
    given: dict[str, Any] = {"priority": 1, "delay": 3600, "deadline": 60}
    async with database.transaction():
        handle = await starter.start(double, 1, id="a", connection=database, **given)
        with pytest.raises(RunNotFound):
            await starter.handle("a").describe()
    run = await handle.describe()
    assert run.due_at is not None
    assert run.deadline == run.due_at + timedelta(seconds=60)
    transaction = database.transaction()
    await transaction.start()
    many = await starter.start_many([Start(double, n, id=f"m{n}") for n in range(3)],
                                    connection=database)  # fmt: skip
    assert all(each.created for each in many)
    await transaction.rollback()
    assert [each.id async for each in starter.list()] == ["a"]


@given(st.binary(min_size=16, max_size=16))
def test_an_id_of_chance_is_a_uuid_of_version_4(chance: bytes) -> None:
    assert random_id(chance) == str(UUID(bytes=chance, version=4))
