"""Signals from clients, other runs and joined transactions, to live and to sleeping runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from durable import Client, Context, Durable, Operation, RunClosed, RunStuck, Signal, workflow
from durable._authoring import channels
from durable._runtime.worker import LiveWorker
from durable._store.protocol import Beat
from durable.errors import DefinitionError, InvalidCall, RunNotFound
from tests.end_to_end.processes import until


@dataclass
class Parcel:
    number: str
    grams: int


shipped = Signal[Parcel]("shipped")
counted = Signal[int]("counted")
stop = Signal[None]("stop")


@workflow
async def waits_for_parcel(ctx: Context) -> Parcel:
    return await ctx.receive(shipped)


@workflow
async def counts_until_stopped(ctx: Context, patience: float) -> list[int]:
    seen: list[int] = []
    stopped = ctx.receive(stop)
    while True:
        number = ctx.receive(counted)
        both: list[Operation[Any]] = [stopped, number]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not number.done():
            number.cancel()
            return seen
        seen.append(number.result())
        if patience:
            await ctx.sleep(patience)


@workflow
async def sends_numbers(ctx: Context, to: str, numbers: int) -> None:
    for number in range(numbers):
        ctx.send(to, counted, number)
    ctx.send(to, stop)
    ctx.send("nobody there", counted, 1)
    await ctx.receive(stop)


@workflow
async def plays(ctx: Context, to: str, rounds: int, serves: bool) -> None:
    for number in range(rounds):
        if not serves:
            await ctx.receive(counted)
        ctx.send(to, counted, number)
        if serves:
            await ctx.receive(counted)


@workflow
async def talks_to_itself(ctx: Context) -> list[int]:
    ctx.send(ctx.id, counted, 1)
    first = await ctx.receive(counted)
    ctx.send(ctx.id, counted, 2)
    return [first, await ctx.receive(counted)]


SERVED: list[Any] = [
    plays, waits_for_parcel, counts_until_stopped, sends_numbers, talks_to_itself
]  # fmt: skip


@pytest.fixture
async def app(dsn: str) -> AsyncIterator[Durable]:
    async with Durable(dsn, serve=SERVED) as app:
        yield app


async def test_a_signal_wakes_a_parked_run_and_comes_with_its_type(app: Durable) -> None:
    handle = await app.start(waits_for_parcel, id="p")
    await until(lambda: _stands(handle, "waiting"))
    known = await handle.describe()
    assert known.waits_for == "a signal 'shipped' (op 1)"
    assert known.waits_at is not None
    assert known.waits_at.startswith("test_signals.py:")

    await handle.signal(shipped, Parcel("JJD1", 200))

    assert await handle.result() == Parcel("JJD1", 200)


async def test_signals_are_received_in_order_each_once_although_sends_are_repeated(
    app: Durable,
) -> None:
    handle = await app.start(counts_until_stopped, 0.0, id="c")
    for number in range(20):
        await handle.signal(counted, number, key=f"n{number}")
        await handle.signal(counted, 99, key=f"n{number}")
    await handle.signal(stop)
    assert await handle.result() == list(range(20))


async def test_signals_wait_for_a_run_that_no_worker_has_taken_yet(dsn: str) -> None:
    async with Client(dsn) as client:
        handle = await client.start("counts_until_stopped", 0.0, id="c")
        for number in range(5):
            await handle.signal(counted, number)
        await handle.signal(stop)
    async with Durable(dsn, serve=SERVED) as app:
        assert await app.handle("c").result() == [0, 1, 2, 3, 4]


async def test_a_run_sends_to_another_and_hears_of_refusals(
    app: Durable, caplog: pytest.LogCaptureFixture
) -> None:
    handle = await app.start(counts_until_stopped, 0.0, id="c")
    sender = await app.start(sends_numbers, "c", 3)
    assert await handle.result() == [0, 1, 2]

    async def is_told() -> bool:
        return "was refused: there is no such run" in caplog.text

    await until(is_told)
    await sender.signal(stop)
    await sender.result()


async def test_a_run_sends_to_itself_also_in_its_first_turn(app: Durable) -> None:
    assert await app.run(talks_to_itself, id="itself") == [1, 2]


def test_a_type_may_be_named_in_quotes_before_it_stands() -> None:
    (late,) = Signal["list[Late]"]("late").types
    assert late == list[Late]
    with pytest.raises(DefinitionError, match=r"test_signals\.py:\d+: name 'Never' is not defined"):
        channels.Update["Never", int]("late").types  # type: ignore[name-defined]  # noqa: B018


@dataclass
class Late:
    number: int


async def test_a_worker_needs_no_beat_to_see_what_its_runs_send(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    beaten = LiveWorker._beat

    def tells_nothing(self: LiveWorker, beat: Beat, came: float) -> None:
        beaten(self, beat._replace(mail=False, due_since=None, next_due=None), came)

    monkeypatch.setattr(LiveWorker, "_beat", tells_nothing)
    async with Durable(dsn, serve=SERVED) as app:
        there = await app.start(plays, "here", 5, False, id="there")
        await app.run(plays, "there", 5, True, id="here")
        await there.result()


async def test_a_signal_joins_the_callers_transaction(app: Durable, dsn: str) -> None:
    handle = await app.start(waits_for_parcel, id="p")
    connection = await asyncpg.connect(dsn)
    try:
        undone = connection.transaction()
        await undone.start()
        await handle.signal(shipped, Parcel("undone", 1), connection=connection)
        await undone.rollback()
        async with connection.transaction():
            await handle.signal(shipped, Parcel("done", 1), connection=connection)
    finally:
        await connection.close()
    assert (await handle.result()).number == "done"


async def test_nobody_there_is_told_in_words(app: Durable) -> None:
    with pytest.raises(RunNotFound):
        await app.handle("nobody").signal(stop)
    handle = await app.start(waits_for_parcel, id="p")
    await handle.signal(shipped, Parcel("a", 1))
    await handle.result()
    with pytest.raises(RunClosed, match="closed \\(completed\\)"):
        await handle.signal(shipped, Parcel("b", 1))


async def test_a_value_of_another_type_is_refused_before_it_is_sent(app: Durable) -> None:
    handle = await app.start(waits_for_parcel, id="p")
    wrong: Any = {"number": 7}
    with pytest.raises(InvalidCall, match="does not fit Parcel in signal 'shipped'"):
        await handle.signal(shipped, wrong)


async def test_a_payload_that_does_not_fit_sets_the_run_aside(app: Durable) -> None:
    handle = await app.start(waits_for_parcel, id="p")
    wrong = Signal[str]("other")
    wrong.name = "shipped"
    await handle.signal(wrong, "no parcel")
    with pytest.raises(RunStuck, match="in signal 'shipped'"):
        await handle.result()


def test_one_name_of_two_types_is_refused_with_both_places(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channels, "_declared", {})
    Signal[int]("twice")
    channels.check()
    Signal[int]("twice")
    channels.check()
    Signal[str]("twice")
    with pytest.raises(DefinitionError, match="'twice' is declared twice") as caught:
        channels.check()
    assert str(caught.value).count("test_signals.py:") == 2


async def _stands(handle: Any, status: str) -> bool:
    return str(await handle.status()) == status
