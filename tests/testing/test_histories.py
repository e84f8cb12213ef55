"""Histories leave their database as values and as lines, and are replayed against today's code."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from durable import Context, Durable, Signal, activity, workflow
from durable._store.postgres import journal
from durable.errors import (
    DecodeError,
    Divergence,
    HistoryUnreadable,
    InvalidCall,
    NotRegistered,
    OutcomeUnknown,
    RunExists,
    RunFailed,
    RunNotFound,
)
from durable.testing import Environment, History, replay

parcels = Signal[str]("histories/parcel")
changes: dict[str, Any] = {}


@pytest.fixture(autouse=True)
def _as_recorded() -> Iterator[None]:
    changes.clear()
    yield
    changes.clear()


@activity(name="histories/pack")
async def pack(what: str) -> dict[str, Any]:
    return {"what": what, "as": b"\0\xff"}


@activity(name="histories/breaks")
async def breaks() -> None:
    raise ConnectionError("no line")


@workflow(name="histories/ship")
async def ship(ctx: Context, what: str) -> str:
    if changes.get("sleeps first"):
        await ctx.sleep(1)
    ctx.log.warning("packing")
    await ctx.activity(pack, changes.get("packs", what))
    if changes.get("returns early"):
        return "early"
    parcel = await ctx.receive(parcels)
    await ctx.sleep(days=30)
    return f"{parcel}{changes.get('mark', '')}"


@workflow(name="histories/patched")
async def is_patched(ctx: Context) -> str:
    if ctx.patched("histories/new way"):
        await ctx.activity(pack, "as is new")
    return await ctx.receive(parcels)


@workflow(name="histories/fails")
async def fails(ctx: Context) -> None:
    await ctx.activity(breaks)


@workflow(name="histories/other")
async def other(ctx: Context, what: str) -> str:
    return what


async def waiting(env: Environment) -> History:
    handle = await env.start(ship, "socks", id="a")
    await env.advance(seconds=1)
    return await History.of(env, handle.id)


async def ended(env: Environment) -> History:
    handle = await env.start(ship, "socks", id="b")
    await handle.signal(parcels, "p1")
    assert await handle.result() == "p1"
    return await History.of(env, "b")


async def test_replay_tells_what_an_open_run_waits_for_and_where(env: Environment) -> None:
    found = replay(await waiting(env))
    assert (found.status, found.position) == ("waits", 2)
    assert found.waits_for == "a signal 'histories/parcel' (op 2)"
    assert found.waits_at is not None
    assert "test_histories.py:" in found.waits_at
    assert [each.what for each in found.waits] == [found.waits_for]
    assert "waits for a signal" in str(found)


async def test_replay_tells_how_a_closed_run_ended(env: Environment) -> None:
    found = replay(await ended(env), ship)
    assert (found.status, found.result, found.waits) == ("completed", "p1", ())
    with pytest.raises(RunFailed):
        await env.run(fails, id="c")
    failed = replay(await History.of(env, "c"))
    assert failed.status == "failed"
    assert "no line" in str(failed.error)


async def test_replay_lets_nothing_out(env: Environment, caplog: pytest.LogCaptureFixture) -> None:
    history = await waiting(env)
    caplog.clear()
    with caplog.at_level(logging.DEBUG):
        replay(history)
    assert caplog.records == []


@pytest.mark.parametrize(
    ("change", "position", "recorded"),
    [
        ({"sleeps first": True}, 1, "the result of activity 'histories/pack' (op 1)"),
        ({"packs": "shoes"}, 1, "with other arguments"),
        ({"returns early": True}, 2, "a run that goes on"),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else None,
)
async def test_changed_code_diverges_at_the_position(
    env: Environment, change: dict[str, Any], position: int, recorded: str
) -> None:
    history = await waiting(env)
    changes.update(change)
    with pytest.raises(Divergence, match="journal holds") as caught:
        replay(history)
    assert caught.value.position == position
    assert recorded in caught.value.recorded


async def test_a_closed_run_must_end_as_it_did(env: Environment) -> None:
    history = await ended(env)
    changes["mark"] = "!"
    with pytest.raises(Divergence, match=r"completed with 'p1'.*completed with 'p1!'"):
        replay(history)


async def test_a_history_survives_its_trip_through_lines(env: Environment, tmp_path: Path) -> None:
    with pytest.raises(RunFailed):
        await env.run(fails, id="c")
    histories = [await waiting(env), await ended(env), await History.of(env, "c")]
    path = tmp_path / "histories.jsonl"
    History.save(path, histories)
    assert list(History.load(path)) == histories
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == sum(1 + len(each.events) for each in histories)
    assert lines[0]["input"]["value"] == ["socks"]
    assert lines[2]["result"]["value"] == {"what": "socks", "as": "\\x00ff"}


async def test_unread_mail_and_begun_attempts_belong_to_a_history(env: Environment) -> None:
    handle = await env.start(ship, "socks", id="a", delay=60)
    await handle.signal(parcels, "early")
    history = await History.of(env, "a")
    assert [each.name for each in history.unread] == ["histories/parcel"]
    assert replay(history).position == 0


async def test_there_is_no_history_of_nobody(env: Environment) -> None:
    with pytest.raises(RunNotFound):
        await History.of(env, "nobody")
    with pytest.raises(InvalidCall, match="id=5 cannot name a run"):
        await History.of(env, 5)  # type: ignore[arg-type]


async def test_a_history_is_replayed_by_its_own_workflow(env: Environment) -> None:
    history = await waiting(env)
    with pytest.raises(InvalidCall, match=r"one of workflow 'histories/ship'.*renamed"):
        replay(history, other)
    lines = list(history.lines())
    lines[0] = lines[0].replace("histories/ship", "histories/shiq")
    with pytest.raises(NotRegistered, match="Did you mean 'histories/ship'"):
        replay(next(iter(loaded(lines))))


def loaded(lines: list[str]) -> list[History]:
    from durable._history_lines import parsed

    return [History(**facts) for facts in parsed((line.encode() for line in lines), "a file")]


async def test_what_is_no_history_is_refused_with_line_and_reason(env: Environment) -> None:
    lines = list((await waiting(env)).lines())
    header, first, second = (json.loads(line) for line in lines)
    stranger = {"name": "a package", "version": 1}

    def refused(*told: object) -> str:
        texts = [each if isinstance(each, str) else json.dumps(each) for each in told]
        with pytest.raises(HistoryUnreadable) as caught:
            loaded(texts)
        return f"{caught.value.line}: {caught.value.why}"

    assert "1: it is no JSON" in refused("\xff{")
    assert "1: it is no JSON object" in refused([1])
    assert "1: it has no 'durable history'" in refused(stranger)
    assert "1: an event without its run" in refused(first)
    assert "1: it is of another format" in refused({**header, "durable history": 2})
    assert "1: it does not say how many" in refused({**header, "events": "2"})
    assert "1: it has colour, which this" in refused({**header, "colour": "red"})
    assert "1: Object missing required field `seed`" in refused(without(header, "seed"))
    assert "1: its status 'lost' is none" in refused({**header, "status": "lost"})
    assert "1: its status and its closed_at" in refused({**header, "status": "failed"})
    assert "1: its seed has 0 bytes" in refused({**header, "seed": ""})
    assert "1: its input has no 'base64'" in refused({**header, "input": "AQ=="})
    for origins in ("?", "null", "[[1, 2]]", '[["1", 2, "a"]]', "[" * 10_000):
        assert "1: its origins are no list" in refused({**header, "origins": origins})
    backwards = '[[2, 1, "a"], [1, 1, "a"]]'
    assert "1: its origins are not in order" in refused({**header, "origins": backwards})
    assert "1: a number in it is beyond" in refused({**header, "depth": 2**63 - 1})
    assert "2: a number in it is beyond" in refused(header, {**first, "seq": 2**63 - 1})
    naive = {**header, "created_at": "2026-01-01T00:00:00"}
    assert "1: a time in it has no zone" in refused(naive)
    assert "1: a message in it lacks" in refused({**header, "unread": [{"seq": 1}]})
    assert (
        "2: the file ends in the middle of run 'a', which began at line 1: 1 of its 2"
        in refused(header, first)
    )
    assert "3: another run begins, and of 'a' only 1 of 2" in refused(header, first, header)
    assert "2: it is event 1 of run 'a', where 0 is due" in refused(header, second, first)
    assert "3: its kind 'marker' is none of" in refused(header, first, {**second, "kind": "marker"})
    end = {**second, "kind": "terminated"}
    assert "3: it ends the run, and is not the last" in refused(header, first, end)
    assert "3: an event of kind 'activity' has no op" in refused(
        header, first, without(second, "op")
    )
    letter = {**second, "kind": "signal"}
    assert "3: an event of kind 'signal' has no result" in refused(
        header, first, without(letter, "result")
    )
    voided = {"position": 0, "kind": "voided", "at": first["at"], "key": first["key"], "op": 1}
    assert "2: a retry takes back more events" in refused({**header, "events": 1}, voided)


def without(told: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in told.items() if key != name}


async def test_values_that_fit_no_more_are_told(env: Environment) -> None:
    lines = list((await waiting(env)).lines())
    header = json.loads(lines[0])
    with pytest.raises(DecodeError):
        replay(loaded([json.dumps({**header, "input": {"base64": "AQ=="}}), *lines[1:]])[0])


async def test_many_histories_are_read_page_by_page(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "PAGE_ROWS", 3)
    async with Durable(dsn, serve=[ship]) as app:
        handles = [await app.start(ship, f"{n}") for n in range(5)]
        for each in handles:
            while not (await each.describe()).waits_for:
                await asyncio.sleep(0.01)
        runs = [(await each.describe()).run for each in handles]
        found = [each async for each in History.read(app.store, [*runs, 2**40])]
    assert {each.run: len(each.events) for each in found} == dict.fromkeys(runs, 2)
    assert [replay(each).position for each in found] == [2] * 5


# Into another database


@activity(name="histories/acts", record_start=True)
async def acts() -> str:
    return "acted"


@workflow(name="histories/acts_once")
async def acts_once(ctx: Context) -> str:
    try:
        return await ctx.activity(acts)
    except OutcomeUnknown:
        return "nobody knows"


@workflow(name="histories/begins_another")
async def begins_another(ctx: Context) -> str:
    return "told " + await ctx.child(ship, "from its parent")


async def test_an_open_run_is_held_where_it_is_imported_and_goes_on_when_it_is_resumed(
    make: Callable[..., Environment],
) -> None:
    async with make() as env:
        history = await waiting(env)
        await env.handle("a").signal(parcels, "of there")
    async with make() as other:
        await history.bring_into(other)
        handle = other.handle("a", ship)
        await other.advance(days=1)
        assert await handle.status() == "paused"
        copied = await History.of(other, "a")
        assert [each.result for each in copied.events] == [each.result for each in history.events]
        assert replay(copied).waits_for == replay(history).waits_for
        await handle.resume()
        await handle.signal(parcels, "of here")
        assert await handle.result() == "of here"
        assert other.calls(pack) == []
        with pytest.raises(RunExists, match="a run that is completed, so its history was not"):
            await history.bring_into(other)


async def test_a_failed_run_is_imported_as_it_ended_and_can_be_retried(
    make: Callable[..., Environment],
) -> None:
    async with make() as env:
        env.stand_in(breaks, raises=ConnectionError("no line"))
        for tries in range(2):
            with pytest.raises(RunFailed):
                await env.run(fails, id="c")
            if tries == 0:
                await env.handle("c").retry()
                with pytest.raises(RunFailed):
                    await env.handle("c").result()
        history = await History.of(env, "c")
        assert [each.kind for each in history.events].count("voided") == 1
    async with make() as other:
        other.stand_in(breaks, returns=None)
        await history.bring_into(other)
        handle = other.handle("c", fails)
        with pytest.raises(RunFailed, match="no line"):
            await handle.result()
        await handle.retry()
        await handle.result()


async def test_what_has_begun_and_what_was_unread_come_along(
    make: Callable[..., Environment],
) -> None:
    async with make() as env:
        env.stand_in(acts, hangs=True)
        await env.start(acts_once, id="begun")
        await env.advance(seconds=2)
        begun = await History.of(env, "begun")
        assert [note.name for note in begun.notes] == ["histories/acts"]
        handle = await env.start(ship, "socks", id="delayed", delay=3600)
        await handle.signal(parcels, "unread")
        delayed = await History.of(env, "delayed")
    async with make() as other:
        for each in (begun, delayed):
            await each.bring_into(other)
            await other.handle(each.id).resume()
        assert await other.handle("begun", acts_once).result() == "nobody knows"
        assert await other.handle("delayed", ship).result() == "unread"
        assert other.now() - begun.created_at > timedelta(days=30)


async def test_a_family_that_is_imported_together_stays_one(
    make: Callable[..., Environment],
) -> None:
    async with make() as env:
        await env.start(begins_another, id="parent")
        await env.advance(seconds=1)
        histories = [each async for each in History.all(env)]
    parent, child = histories
    assert child.parent == parent.run
    async with make() as other:
        key = await parent.bring_into(other)
        await child.bring_into(other, parent=key)
        assert (await other.handle(child.id).describe()).parent == "parent"
        for each in histories:
            await other.handle(each.id).resume()
        await other.handle(child.id).signal(parcels, "p")
        assert await other.handle("parent", begins_another).result() == "told p"


async def test_an_imported_run_goes_the_ways_of_its_patches(
    make: Callable[..., Environment],
) -> None:
    async with make() as env:
        await env.start(is_patched, id="p")
        await env.advance(seconds=1)
        history = await History.of(env, "p")
        assert any(row.patches for row in history.events)
    async with make() as other:
        await history.bring_into(other)
        copied = await History.of(other, "p")
        assert [each.patches for each in copied.events] == [each.patches for each in history.events]
