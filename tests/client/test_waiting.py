"""Waiting for results of runs that other processes work on."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from durable import Client, Durable, RunTerminated, Start
from durable._client import waiting
from durable._client.waiting import GAP_PER_WAITER, PAUSE_FIRST, Waiting
from durable._runtime import chores
from durable._store.postgres.line import Line
from durable._store.protocol import Outcome
from durable.errors import StoreUnavailable

from . import flows
from .conftest import until
from .flows import double, waits


def ended(run: int) -> Outcome:
    return Outcome(run, str(run), "w", "completed", b"\x01\x01", None, None)


class Asked:
    """A store that is asked, and answers what has ended."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, int]] = []
        self.over: set[int] = set()
        self.is_away = False
        self.hint: Callable[..., None] = lambda: None

    async def ask(self, runs: Any) -> list[Outcome]:
        self.asked.append((time.monotonic(), len(runs)))
        if self.is_away:
            raise StoreUnavailable("away")
        return [ended(run) for run in runs if run in self.over]

    async def listen(self, on_ends: Callable[..., None]) -> None:
        self.hint = on_ends


async def test_many_who_wait_are_asked_for_together_and_no_faster_than_that() -> None:
    store = Asked()
    waiting = Waiting(store.ask, key=lambda outcome: outcome.run, listen=store.listen)
    count = 2_000
    waiters = [asyncio.create_task(waiting.answer(run)) for run in range(count)]
    while len(store.asked) < 4:
        store.hint()  # as a busy fleet does
        await asyncio.sleep(0.001)
    store.over = set(range(count))
    store.hint()

    assert [each.run for each in await asyncio.gather(*waiters)] == list(range(count))
    times = [at for at, asked in store.asked if asked == count]
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert min(gaps) >= GAP_PER_WAITER * count * 0.99
    assert GAP_PER_WAITER * count > PAUSE_FIRST
    await waiting.close()


async def test_who_waits_alone_goes_by_hints_and_waits_for_no_pace(
    app: Durable, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where little goes on a worker claims and tells at once, and a client asks at once."""
    monkeypatch.setattr(chores, "ANNOUNCE_SECONDS", 1_000)
    monkeypatch.setattr(waiting, "PAUSE_FIRST", 1_000)
    monkeypatch.setattr(waiting, "PAUSE_MAX", 1_000)
    assert app._worker is not None
    monkeypatch.setattr(app._worker._lease, "_on_beat", lambda *_: None)  # they find what is due

    for n in range(3):
        async with asyncio.timeout(20):
            assert await client.run(double, n) == 2 * n


async def test_a_hint_is_asked_about_at_once() -> None:
    """Without it the next look would be half a second away."""
    store = Asked()
    waiting = Waiting(store.ask, key=lambda outcome: outcome.run, listen=store.listen)
    waiter = asyncio.create_task(waiting.answer(1))
    while len(store.asked) < 15:  # the pauses have grown
        await asyncio.sleep(0.01)
    asked = len(store.asked)
    store.over = {1}
    store.hint()

    assert (await waiter).run == 1
    assert len(store.asked) == asked + 1
    await waiting.close()


async def test_a_lost_database_costs_those_who_wait_time_only() -> None:
    store = Asked()
    waiting = Waiting(store.ask, key=lambda outcome: outcome.run, listen=store.listen)
    store.is_away = True
    waiter = asyncio.create_task(waiting.answer(1))
    while len(store.asked) < 3:
        await asyncio.sleep(0.01)
    store.is_away, store.over = False, {1}
    assert (await waiter).run == 1
    await waiting.close()


async def test_results_reach_another_process_by_hints(
    dsn: str, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Polling is switched off: only a hint can tell."""
    monkeypatch.setattr("durable._client.waiting.PAUSE_MAX", 3600.0)
    monkeypatch.setattr("durable._client.waiting.GROWTH", 1e6)
    handle = await client.start(double, 4, id="a")
    waiter = asyncio.create_task(handle.result())
    await until(lambda: _listens(client))
    async with Durable(dsn, serve=[flows]):
        assert await waiter == 8


async def _listens(client: Client) -> bool:
    return client.store._listening is not None  # type: ignore[attr-defined]


async def test_who_waits_survives_the_loss_of_its_connection(
    dsn: str, client: Client, database: asyncpg.Connection[Any]
) -> None:
    handle = await client.start(double, 4, id="a")
    waiter = asyncio.create_task(handle.result())
    await until(lambda: _listens(client))
    await database.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where application_name like 'durable:client%'"
    )
    async with Durable(dsn, serve=[flows]):
        assert await waiter == 8


async def test_thousands_wait_at_the_price_of_a_few_statements(
    dsn: str, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    call, sent = Line.fetch, Counter[str]()
    calls = client.store._calls  # type: ignore[attr-defined]

    async def counted(line: Line, query: str, *args: Any, **given: Any) -> Any:
        if line is calls:
            sent[query.split("*/", maxsplit=1)[0].removeprefix("/* durable: ").strip()] += 1
        return await call(line, query, *args, **given)

    answers = await client.start_many(Start(double, n) for n in range(3_000))
    monkeypatch.setattr(Line, "fetch", counted)
    begun = time.monotonic()
    async with Durable(dsn, serve=[flows]):
        results = await asyncio.gather(*(each.handle.result() for each in answers))
    took = time.monotonic() - begun

    assert results == [2 * n for n in range(3_000)]
    assert set(sent) == {"settled"}
    assert sent["settled"] <= took / PAUSE_FIRST + 2


async def test_who_stops_waiting_stops_nothing_else(starter: Client) -> None:
    handle = await starter.start(waits, 1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await handle.result()
    other = asyncio.create_task(starter.handle(handle.id).result())
    await starter.start(double, 1, id=handle.id, if_exists="replace")
    with pytest.raises(RunTerminated):
        await handle.result()
    with pytest.raises((RunTerminated, asyncio.CancelledError)):
        other.cancel()
        await other
