"""Many starts in few round trips, each with its own answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import asyncpg
import pytest

from durable import Client, Durable, RunClosed, RunTerminated, Start
from durable._store.postgres import runs
from durable._store.postgres.line import Line
from durable.errors import EncodeError, IdReused, InvalidCall, NotRegistered, RunExists, StoreError

from .flows import double, greeted, hears, named, takes_order, waits


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is sent on the lines of this process."""
    sent: list[str] = []
    fetch = Line.fetch

    async def counted(line: Line, query: str, *args: Any, **given: Any) -> list[Any]:
        sent.append(query.split("*/", 1)[0])
        return await fetch(line, query, *args, **given)

    monkeypatch.setattr(Line, "fetch", counted)
    return sent


async def test_ten_thousand_runs_are_started_in_sixteen_statements(
    client: Client, statements: list[str]
) -> None:
    answers = await client.start_many(
        Start(double, n, id=f"run-{n}" if n % 2 else None) for n in range(10_000)
    )

    assert Counter(statements) == {"/* durable: start_many ": 16}
    store: Any = client.store
    assert store._hints_begun == 1
    assert all(each.created and each.error is None for each in answers)
    assert [each.id for each in answers[1::2]] == [f"run-{n}" for n in range(1, 10_000, 2)]
    assert await client.count_by_status() == {"pending": 10_000}
    assert (await client.handle("run-7").describe()).input == [7]


async def test_what_is_no_start_is_told_in_words_and_nothing_is_written(client: Client) -> None:
    wrong: Any = double
    with pytest.raises(InvalidCall, match=r"is no Start.*Nothing was written"):
        await client.start_many([Start(double, 1), wrong])
    assert await client.count_by_status() == {}


async def test_each_has_its_own_answer_and_one_bad_costs_the_others_nothing(
    starter: Client,
) -> None:
    await starter.run(double, 1, id="there")
    bad: Any = object()
    unfit: Any = "x"
    starts: list[Start[Any]] = [
        Start(double, 1, id="new"),
        Start(double, 1, id="there"),
        Start(double, 2, id="there"),
        Start(double, 1, id="there", if_exists="reject"),
        Start(double, 5, id="there", if_exists="after_close"),
        Start(double, bad),
        Start(double, unfit),
        Start("double", 1, 2),
        Start(double, 1, id="x" * 256),
        Start(double, 1, priority=7),
        Start(print, 1),  # type: ignore[arg-type]
        Start("elsewhere", object, id="unknown"),
        Start("elsewhere", 1, id="unknown"),
        Start(named),
    ]

    answers = await starter.start_many(starts)

    told = [each.error and type(each.error) for each in answers]
    assert told == [
        None, None, IdReused, RunExists, None, EncodeError, InvalidCall, InvalidCall, InvalidCall,
        InvalidCall, NotRegistered, EncodeError, None, None,
    ]  # fmt: skip
    assert [each.created for each in answers] == [
        True, False, False, False, True, *[False] * 7, True, True
    ]  # fmt: skip
    assert await answers[0].handle.result() == 2
    assert await answers[1].handle.result() == 2
    assert await answers[4].handle.result() == 10
    assert await answers[13].handle.result() == answers[13].id
    with pytest.raises(IdReused, match=r"args\[0\]"):
        _ = answers[2].handle
    assert sum((await starter.count_by_status()).values()) == 5


async def test_a_start_of_many_brings_its_message_along(starter: Client) -> None:
    await starter.start(hears, id="there")
    await starter.run(hears, id="over", message=greeted("long ago"))
    ids = ["new", "there", "over", "alone"]
    wrong: Any = greeted
    answers = await starter.start_many(
        [
            *(Start(hears, id=id, message=greeted(f"hello {id}")) for id in ids[:3]),
            Start(double, 2, id="alone"),
            Start(hears, id="no message", message=wrong),
        ]
    )
    assert [each.created for each in answers] == [True, False, False, True, False]
    assert [type(each.error) for each in answers[2:]] == [RunClosed, type(None), InvalidCall]
    results = [await answers[n].handle.result() for n in (0, 1, 3)]
    assert results == ["hello new", "hello there", 4]


async def test_one_id_twice_in_one_call_is_one_run_or_what_its_policy_says(
    starter: Client,
) -> None:
    first, same, other, replaced = await starter.start_many(
        [
            Start(waits, 1, id="a"),
            Start(waits, 1, id="a"),
            Start(waits, 2, id="a"),
            Start(double, 3, id="a", if_exists="replace"),
        ]
    )

    assert (first.created, same.created, replaced.created) == (True, False, True)
    assert isinstance(other.error, IdReused)
    assert await replaced.handle.result() == 6
    with pytest.raises(RunTerminated):
        await first.handle.result()


async def test_calls_that_race_in_any_order_agree(client: Client, dsn: str) -> None:
    ids = [f"id-{n}" for n in range(300)]
    async with Client(dsn) as second, Client(dsn) as third:
        everybody = await asyncio.gather(
            client.start_many([Start(double, 1, id=id) for id in ids]),
            second.start_many([Start(double, 1, id=id) for id in reversed(ids)]),
            third.start_many([Start(double, 1, id=id) for id in sorted(ids, key=hash)]),
        )

    created = Counter(each.id for answers in everybody for each in answers if each.created)
    assert created == Counter(ids)
    assert all(each.error is None for answers in everybody for each in answers)


async def test_an_id_that_a_stranger_holds_is_refused_alone(
    client: Client, database: asyncpg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("durable._store.postgres.line.WAIT_SECONDS", 0.1)
    transaction = database.transaction()
    await transaction.start()
    await client.start(double, 0, id="held", connection=database)

    answers = await client.start_many(
        [Start(double, n, id="held" if n == 5 else f"id-{n}") for n in range(9)]
    )

    assert [each.error is None for each in answers] == [n != 5 for n in range(9)]
    assert isinstance(answers[5].error, StoreError)
    assert "held id 'held'" in str(answers[5].error)
    await transaction.rollback()
    assert (await client.start_many([Start(double, 5, id="held")]))[0].created


async def test_a_call_whose_answer_was_lost_creates_each_once(
    client: Client, database: asyncpg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch, sent = Line.fetch, []

    async def forgets(line: Line, query: str, *args: Any, **given: Any) -> list[Any]:
        rows = await fetch(line, query, *args, **given)
        sent.append(query)
        if len(sent) == 1:
            await fetch(line, "select pg_terminate_backend(pg_backend_pid())")
        return rows

    monkeypatch.setattr(Line, "fetch", forgets)
    answers = await client.start_many(
        [Start(double, n, id=f"id-{n}", if_exists="reject") for n in range(5)]
    )

    assert [each.created for each in answers] == [True] * 5
    assert await database.fetchval("select count(*) from durable.run") == 5


async def test_what_is_large_goes_in_more_statements(
    client: Client, statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "START_BYTES", 100_000)
    note = "x" * 30_000

    answers = await client.start_many(
        Start("takes_order", {"items": [], "note": note}) for _ in range(9)
    )

    assert all(each.created for each in answers)
    assert 3 <= statements.count("/* durable: start_many ") <= 6


async def test_nothing_to_start_is_nothing(client: Client, statements: list[str]) -> None:
    assert await client.start_many([]) == []
    assert statements == []


async def test_a_worker_takes_up_at_once_what_was_started(app: Durable) -> None:
    answers = await app.start_many([Start(takes_order, {"items": []}), Start(double, 1)])  # type: ignore[arg-type]
    assert [await each.handle.result() for each in answers] == [0, 2]


# The same by callers of their own: what is asked for while a statement is under way shares the next


async def test_a_thousand_callers_at_once_are_a_few_statements(
    client: Client, statements: list[str]
) -> None:
    handles = await asyncio.gather(*(client.start(double, n) for n in range(1_000)))

    assert Counter(statements) == {"/* durable: start_many ": 2}
    assert len({each.id for each in handles}) == 1_000
    assert await client.count_by_status() == {"pending": 1_000}


async def test_callers_who_start_one_id_at_once_get_one_run(starter: Client) -> None:
    answers = await asyncio.gather(
        *(starter.start(double, n % 2, id="a") for n in range(4)), return_exceptions=True
    )
    assert [type(each).__name__ for each in answers] == ["Handle", "IdReused"] * 2
    assert await starter.handle("a", double).result() == 0
    assert await starter.count_by_status() == {"completed": 1}


async def test_who_starts_an_id_that_a_stranger_holds_waits_alone(
    client: Client, database: asyncpg.Connection[Any]
) -> None:
    transaction = database.transaction()
    await transaction.start()
    await client.start(double, 0, id="held", connection=database)
    held = asyncio.create_task(client.start(double, 1, id="held"))

    others = await asyncio.gather(*(client.start(double, n, id=f"id-{n}") for n in range(9)))

    assert len(others) == 9
    assert not held.done()
    await transaction.rollback()
    assert (await (await held).describe()).input == [1]


async def test_who_waits_no_more_starts_nothing(client: Client, statements: list[str]) -> None:
    given_up = [asyncio.create_task(client.start(double, n)) for n in range(3)]
    await asyncio.sleep(0)
    for each in given_up:
        each.cancel()
    await asyncio.gather(*given_up, return_exceptions=True)

    handle = await client.start(double, 1)

    assert Counter(statements) == {"/* durable: start_many ": 1}
    assert await client.count_by_status() == {"pending": 1}
    assert (await handle.describe()).input == [1]


# Where they are worked on


async def test_many_begin_where_there_is_room_for_them_and_the_others_are_due(
    dsn: str, statements: list[str]
) -> None:
    async with Durable(dsn, serve=[double, waits], runs_max=3) as app:
        first = await app.start_many([Start(waits, n, id=f"a-{n}") for n in range(2)])
        assert not statements.count("/* durable: start_many ")
        some = await app.start_many([Start(double, n) for n in range(9)])

        assert statements.count("/* durable: start_many ") == 1
        assert all(each.created for each in [*first, *some])
        for each in first:
            await each.handle.terminate()
        assert [await each.handle.result() for each in some] == [2 * n for n in range(9)]


async def test_many_by_a_worker_that_dies_with_their_births_are_started_once(
    app: Durable, database: asyncpg.Connection[Any]
) -> None:
    await database.execute("update durable.worker set state = 'dead'")

    answers = await app.start_many([Start(double, n, id=f"id-{n}") for n in range(9)])

    assert [await each.handle.result() for each in answers] == [2 * n for n in range(9)]
    assert await database.fetchval("select count(*) from durable.run") == 9
