"""Histories made by hand, and kept beside tests; and how a test says that they do not fit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from durable import ActivityError, Context, Signal, State, Stream, activity, workflow
from durable.errors import Divergence, HistoryUnreadable, InvalidCall, NotRegistered
from durable.testing import Environment, History, Recording, assert_replays, replay

from .test_plugin import AUTO, run

parcels = Signal[str]("recordings/parcel")
changes: dict[str, Any] = {}


@pytest.fixture(autouse=True)
def _as_recorded() -> Iterator[None]:
    changes.clear()
    yield
    changes.clear()


class Declined(Exception):
    pass


@activity(name="recordings/pay", raises=(Declined,))
async def pay(card: str, *, cents: int) -> str:
    return "tx-1"


async def reserve(connection: asyncpg.Connection[Any], sku: str) -> int:
    return 1


@activity(name="recordings/print_label")
def print_label(count: int) -> bytes:
    return b""


@workflow(name="recordings/order")
async def order(ctx: Context, card: str) -> list[object]:
    if changes.get("reserves first"):
        await ctx.transaction(reserve, "socks")
    try:
        paid: object = await ctx.activity(pay, card, cents=5)
    except Declined as error:
        paid = repr(error)
    reserved = await ctx.transaction(reserve, "socks")
    label, parcel = await asyncio.gather(ctx.activity(print_label, 2), ctx.receive(parcels))
    try:
        async with asyncio.timeout(3600):
            await ctx.receive(parcels)
    except TimeoutError:
        pass
    await ctx.sleep(days=1)
    return [paid, reserved, label, parcel, ctx.now().day]


def recorded() -> Recording:
    return (
        Recording(order, "visa")
        .activity(pay, "visa", cents=5)
        .returns("tx-1")
        .transaction(reserve, "socks")
        .returns(1)
        .op(4)
        .signal(parcels, "P1", is_received=False)
        .op(3)
        .activity(print_label, 2)
        .returns(b"\0")
    )


def test_what_is_told_by_hand_is_replayed() -> None:
    told = recorded()
    assert "print_label" not in str(replay(told.history).waits_for)
    # Two operations are asked for at once: the timer of the timeout, and what it is around.
    told.op(5).timer(hours=1).op(7).timer(days=1)
    assert assert_replays(told.completed(["tx-1", 1, b"\0", "P1", 2])) == 1
    with pytest.raises(Divergence, match="its end"):
        replay(told.completed(["tx-1"]))


def test_business_errors_and_others_are_raised_in_the_code() -> None:
    told = Recording(order, "visa").activity(pay, "visa", cents=5)
    assert replay(told.raises(Declined("no")).history).waits_for is not None
    told = Recording(order, "visa").activity(pay, "visa", cents=5)
    recording = told.raises(OSError("no line"), attempts=5)
    with pytest.raises(Divergence, match="no line"):
        replay(recording.history)
    error = ActivityError(
        activity="recordings/pay", type="OSError", message="no line", attempts=5, traceback="",
        cause=None,
    )  # fmt: skip
    assert replay(recording.failed(error)).status == "failed"


def test_a_cancellation_and_what_comes_unasked() -> None:
    told = Recording(order, "visa").signal(parcels, "P1", is_received=False).cancel("enough")
    assert replay(told.cancelled()).status == "cancelled"


def test_what_cannot_have_been_recorded_is_refused() -> None:
    with pytest.raises(InvalidCall, match="does not fit str"):
        Recording(order, "visa").signal(parcels, 5)  # type: ignore[misc]
    with pytest.raises(InvalidCall):
        Recording(order, "visa").activity(pay, "visa", dollars=5)  # type: ignore[call-arg]
    with pytest.raises(NotRegistered):
        Recording(order, "visa").activity(len, "visa")
    with pytest.raises(InvalidCall, match="counted from 1"):
        Recording(order, "visa").op(0)
    with pytest.raises(InvalidCall, match="is no Stream, which this call takes"):
        Recording(order, "visa").shows(parcels)  # type: ignore[arg-type]
    with pytest.raises(InvalidCall, match="is that of a Recording"):
        replay(Recording(order, "visa"))  # type: ignore[arg-type]


def test_all_that_do_not_fit_are_told_beside_the_code(tmp_path: Path) -> None:
    History.save(tmp_path / "one.jsonl", [recorded().history])
    History.save(tmp_path / "two.jsonl", [Recording(order, "visa", id="two").history])
    assert assert_replays(tmp_path / "*.jsonl", recorded().history) == 3

    changes["reserves first"] = True
    with pytest.raises(AssertionError) as caught:
        assert_replays(tmp_path / "*.jsonl")
    said = str(caught.value)
    assert said.startswith("1 of 2 recorded histories do not fit the code at hand.")
    assert f"from {tmp_path / 'one.jsonl'}" in said
    assert "  -      1  activity  recordings/pay('visa', cents=5)  -> 'tx-1'" in said
    assert "  +   code  transaction " in said
    assert "Likely cause: " in said
    assert "What to do: " in said
    assert said.count("recordings/pay") == 1, "nothing is told twice"
    assert 'await ctx.transaction(reserve, "socks")' in said


def test_many_that_differ_at_one_place_are_told_once() -> None:
    changes["reserves first"] = True
    with pytest.raises(AssertionError) as caught:
        told = (Recording(order, id, id=id).activity(pay, id, cents=5) for id in ("visa", "amex"))
        assert_replays(*(each.returns("tx-1").history for each in told))
    said = str(caught.value)
    assert said.startswith("2 of 2 recorded histories do not fit the code at hand.")
    assert said.count("Likely cause: ") == 1
    assert said.endswith("\nLikewise: recordings/order 'amex' (waiting, 2 events)")


stage = State[str]("recordings/stage")
words = Stream[str]("recordings/words")


@workflow(name="recordings/shows")
async def shows(ctx: Context) -> None:
    ctx.set(stage, "begun")
    await ctx.sleep(1)
    ctx.publish(words, "a")
    ctx.set(stage, "slept")
    await ctx.sleep(2)


def test_what_a_run_has_shown_is_told() -> None:
    told = Recording(shows).shows(stage).timer(1).shows(words).shows(stage)
    assert replay(told.timer(2).completed()).status == "completed"
    with pytest.raises(Divergence, match="a turn that sent nothing, after started; "):
        replay(Recording(shows).op(2).timer(1).history)


def test_a_pattern_that_nothing_fits_fails(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(InvalidCall, match="this test could never fail"):
        assert_replays(tmp_path / "empty.jsonl")
    (tmp_path / "empty.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match="No file fits"):
        assert_replays(tmp_path / "*.jsonl")
    (tmp_path / "cut.jsonl").write_text("{}\n")
    with pytest.raises(HistoryUnreadable):
        assert_replays(tmp_path / "*.jsonl")


def test_another_workflow_is_told() -> None:
    with pytest.raises(AssertionError, match="cannot be replayed with"):
        assert_replays(recorded().history, workflow=other)


@workflow(name="recordings/other")
async def other(ctx: Context) -> None:
    await ctx.sleep(1)


@workflow(name="recordings/changed")
async def changed(ctx: Context) -> None:
    await ctx.sleep(1)
    await ctx.sleep(2 if ctx.patched("longer") else 1)


def test_the_patches_of_a_turn_are_told() -> None:
    told = Recording(changed).timer(1)
    assert replay(told.history).waits[0].what.endswith("due at 2030-01-01 00:00:02.000000")
    assert replay(told.patched("longer").timer(2).completed()).status == "completed"


async def test_what_an_environment_records_is_replayed() -> None:
    async with Environment() as env:
        handle = await env.start(other)
        assert_replays(await History.of(env, handle.id))
        await handle.result()
        assert assert_replays(await History.of(env, handle.id)) == 1


FAILS = """
import durable
from durable import Context, activity, workflow
from durable.testing import Recording, replay


@activity
async def pay(card: str) -> str: ...


@workflow
async def order(ctx: Context) -> None:
    await ctx.sleep(1)


def test_it():
    replay(Recording(order).activity(pay, "visa").returns("tx").history)
"""


def test_a_failing_test_shows_the_test_and_the_words_and_no_frame_of_ours(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text(AUTO)
    (tmp_path / "test_sample.py").write_text(FAILS)
    said = run(tmp_path, "-p", "no:anyio", "-p", "no:asyncio")
    assert "the result of activity 'pay'" in said
    assert 'replay(Recording(order).activity(pay, "visa").returns("tx").history)' in said
    assert "  -      1  activity  pay('visa')  -> 'tx'" in said
    assert "  +   code  a timer (op 1)" in said
    assert "            await ctx.sleep(1)" in said
    assert "_replaying.py" not in said
    assert "replayer.py" not in said


def test_the_recorded_code_may_be_gone() -> None:
    with pytest.raises(Divergence, match="recordings/pay"):
        replay(Recording(other).activity(pay, "visa", cents=5).returns("tx").history)
