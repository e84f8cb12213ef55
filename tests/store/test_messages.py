"""Starts that bring a message along, answers of updates, signals from SQL; and what of an inbox
comes with the claim of its run."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from durable._codec.values import decode
from durable._store.protocol import (
    Answer,
    Claimed,
    Delivered,
    HandBack,
    Letter,
    Reply,
    Taker,
    Unavailable,
    Verdict,
)
from durable.errors import StoreUnavailable

from .stage import Stage, completed, new_run, parked, turn

DONE = Verdict.DONE

UPDATE = Letter("update", "add", "k", b"\x01\x01")


async def send(stage: Stage, id: str, key: str) -> int:
    sent = await stage.store.inbox.deliver(id, Letter("update", "add", key, None))
    assert sent.run is not None
    return sent.run


def answered(run: int, key: str, status: str, result: bytes | None = None, **told: Any) -> Answer:
    return Answer(run, key, status, result, told.get("failure"), told.get("report"), None)


async def test_a_start_brings_its_first_message_along(stage: Stage) -> None:
    started = await stage.store.runs.start(new_run("a"), first=UPDATE)

    (read,) = await stage.store.inbox.read([(started.run, 0)])
    assert (read.seq, read.kind, read.name, read.payload) == (1, "update", "add", b"\x01\x01")
    assert (await stage.run(started.run))["last_seq"] == 1


async def test_a_start_that_is_sent_again_brings_its_message_once(stage: Stage) -> None:
    new = new_run("a")
    first, again = [await stage.store.runs.start(new, first=UPDATE) for _ in range(2)]

    assert (again.run, again.created) == (first.run, True)
    assert await stage.inbox(first.run) == [(1, "update", "k")]


async def test_a_run_that_was_there_is_sent_nothing_by_a_start(stage: Stage) -> None:
    there = await stage.start("a")
    found = await stage.store.runs.start(new_run("a"), first=UPDATE)

    assert (found.run, found.created) == (there.run, False)
    assert await stage.inbox(there.run) == []


async def test_a_roll_back_takes_back_the_start_and_its_message(stage: Stage) -> None:
    stranger = await stage.stranger()
    transaction = stranger.transaction()
    await transaction.start()
    started = await stage.store.runs.start(new_run("a"), first=UPDATE, connection=stranger)
    await transaction.rollback()

    assert await stage.run(started.run) is None
    assert await stage.inbox(started.run) == []


async def test_an_answer_is_told_to_whoever_asks_by_key(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    asked = [(await send(stage, "a", key), key) for key in ("k1", "k2", "k3", "k4")]
    assert await stage.store.inbox.answers(asked) == []

    replies = (
        Reply(1, "completed", b"\xc3", None),
        Reply(2, "failed", None, b"\x80"),
        Reply(3, "rejected", None, b"\x80"),
    )
    assert await stage.commit(worker, turn(run, 1, replies=replies)) == [DONE]

    assert sorted(await stage.store.inbox.answers(asked)) == [
        answered(run, "k1", "completed", b"\xc3"),
        answered(run, "k2", "failed", failure=b"\x80"),
        answered(run, "k3", "rejected", failure=b"\x80"),
    ]


async def test_an_answer_that_stands_stays(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    await send(stage, "a", "k")

    for position, value in (1, b"\xc3"), (2, b"\xc2"):
        reply = Reply(1, "completed", value, None)
        assert await stage.commit(worker, turn(run, position, replies=(reply,))) == [DONE]

    assert await stage.store.inbox.answers([(run, "k")]) == [
        answered(run, "k", "completed", b"\xc3")
    ]


async def test_replies_of_a_turn_that_is_lost_are_not_written(stage: Stage) -> None:
    worker = await stage.worker()
    lost, other = await stage.born(worker, "a", "b")
    asked = [(await send(stage, id, "k"), "k") for id in ("a", "b")]
    reply = Reply(1, "completed", b"\xc3", None)

    alone = turn(lost, 1, claim=2, replies=(reply,))
    assert await stage.commit(worker, alone) == [Verdict.LOST]
    assert await stage.store.inbox.answers(asked) == []

    verdicts = await stage.commit(worker, alone, turn(other, 1, replies=(reply,)))
    assert verdicts == [Verdict.LOST, DONE]
    assert await stage.store.inbox.answers(asked) == [answered(other, "k", "completed", b"\xc3")]


async def test_of_a_closed_run_every_update_is_settled(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    asked = [(await send(stage, "a", key), key) for key in ("k1", "k2")]
    replies = (Reply(1, "completed", b"\xc3", None),)

    assert await stage.commit(worker, turn(run, 1, replies=replies, close=completed())) == [DONE]

    assert sorted(await stage.store.inbox.answers([*asked, (10**12, "k")])) == [
        answered(run, "k1", "completed", b"\xc3"),
        answered(run, "k2", "completed"),
        answered(10**12, "k", "absent"),
    ]


async def test_a_stuck_run_says_so_to_whoever_awaits_its_answer(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    await send(stage, "a", "k")

    await stage.store.runs.set_stuck(worker, run, 1, report="why", build="1")

    assert await stage.store.inbox.answers([(run, "k")]) == [
        answered(run, "k", "stuck", report="why")
    ]


# From SQL


async def signal(connection: asyncpg.Connection[Any], *given: Any) -> None:
    places = ", ".join(f"${n}" for n in range(1, len(given) + 1))
    await connection.execute(f"select durable.signal({places})", *given)


async def test_a_signal_from_sql_is_what_python_would_send(stage: Stage) -> None:
    started = await stage.start("a")
    value = {"carrier": "DHL", "parcels": [1, 2.5, None]}

    await signal(await stage.stranger(), "a", "shipped", json.dumps(value))

    (read,) = await stage.store.inbox.read([(started.run, 0)])
    assert (read.kind, read.name) == ("signal", "shipped")
    assert read.payload is not None
    assert decode(read.payload) == value


async def test_a_signal_from_sql_with_a_key_is_accepted_once(stage: Stage) -> None:
    started = await stage.start("a")
    session = await stage.stranger()
    for _ in range(2):
        await signal(session, "a", "shipped", "1", "mine")
        await signal(session, "a", "shipped")

    keys = [key for _, _, key in await stage.inbox(started.run)]
    assert len(keys) == 3
    assert keys.count("sent/mine") == 1


async def test_a_signal_from_sql_to_nobody_says_so(stage: Stage) -> None:
    worker, session = await stage.worker(), await stage.stranger()
    with pytest.raises(asyncpg.NoDataFoundError, match="no run with the id 'a'"):
        await signal(session, "a", "shipped")
    (run,) = await stage.born(worker, "a")
    await stage.commit(worker, turn(run, 1, close=completed()))
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="'a' is completed"):
        await signal(session, "a", "shipped")


async def test_a_signal_from_sql_is_undone_by_a_roll_back(stage: Stage) -> None:
    started, session = await stage.start("a"), await stage.stranger()
    transaction = session.transaction()
    await transaction.start()
    await signal(session, "a", "shipped")
    await transaction.rollback()
    assert await stage.inbox(started.run) == []


async def test_a_start_with_a_message_waits_for_whoever_holds_its_id(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    from durable._store.postgres import line

    monkeypatch.setattr(line, "WAIT_SECONDS", 0.05)
    holder = await stage.stranger()
    async with holder.transaction():
        await holder.execute("select pg_advisory_xact_lock(durable.id_key('a'))")
        with pytest.raises(StoreUnavailable, match="id 'a'"):
            await stage.store.runs.start(new_run("a"), first=UPDATE)
    started = await stage.store.runs.start(new_run("a"), first=UPDATE)
    assert await stage.inbox(started.run) == [(1, "update", "k")]


# A message, and the claim of who goes on with it


SMALL, LARGE = b"\xc3", bytes(20_000)


async def put_away(stage: Stage, worker: UUID, *ids: str) -> list[int]:
    runs = await stage.born(worker, *ids)
    for run in runs:
        await stage.commit(worker, turn(run, 1, park=parked()))
    return runs


async def handed(stage: Stage, worker: UUID, id: str, key: str) -> tuple[Delivered, list[Claimed]]:
    given: list[Claimed] = []
    letter = Letter("signal", "shipped", key, SMALL)
    taker = Taker(worker, "v", given.append)
    return await stage.store.inbox.deliver(id, letter, taker=taker), given


async def test_a_run_that_waits_is_claimed_as_it_is_sent_something(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await put_away(stage, worker, "a")

    sent, (claimed,) = await handed(stage, worker, "a", "k")

    assert sent == Delivered(run, "accepted", "waiting", is_taken=True)
    assert (claimed.run, claimed.id, claimed.claim) == (run, "a", 2)
    assert (claimed.length, claimed.noted, claimed.last_seq) == (2, False, 1)
    assert [tuple(each)[:5] for each in claimed.messages] == [(run, 1, "signal", "shipped", SMALL)]
    assert list(claimed.messages) == await stage.store.inbox.read([(run, 0)])
    assert claimed.unread(0) == list(claimed.messages)
    assert await stage.store.inbox.mail(worker) == {}, "it has what came with the claim"
    (owned,) = await stage.store.runs.owned(worker)
    assert (owned.run, owned.claim) == (run, 2)


async def test_what_may_not_go_on_here_is_sent_its_message_and_no_more(stage: Stage) -> None:
    worker = await stage.worker()
    await stage.start("new")
    put_aside, another, owned, again = await put_away(stage, worker, "held", "else", "owned", "k")
    await stage.store.runs.pause("held", True)
    await stage.send("owned", "before")
    assert [each.run for each in await stage.store.runs.claim(worker, limit=9)][-1] == owned
    assert (await handed(stage, worker, "k", "k"))[0].is_taken
    dead, stranger = await stage.worker(), await stage.worker(workflows=["refund"])
    await stage.store.workers.take_over(dead)

    for by, id in [(worker, "held"), (stranger, "else"), (dead, "else"), (worker, "owned")]:
        sent, given = await handed(stage, by, id, f"to {id} from {by}")
        assert (sent.state, sent.is_taken, given) == ("accepted", False, [])
    assert (await handed(stage, worker, "nobody", "k"))[0] == Delivered(None, "absent", None)

    await stage.store.runs.hand_back(worker, [HandBack(again, 2, None, None, None)])
    sent, given = await handed(stage, worker, "k", "k")
    assert (sent.run, sent.is_taken, given) == (again, False, []), "it was sent that before"
    assert await stage.inbox(again) == [(1, "signal", "k")]
    assert await stage.inbox(put_aside) == [(1, "signal", f"to held from {worker}")]
    assert len(await stage.inbox(another)) == 2


async def test_of_a_run_that_a_stranger_has_locked_nothing_is_claimed_but_the_message_arrives(
    stage: Stage,
) -> None:
    worker = await stage.worker()
    (run,) = await put_away(stage, worker, "a")
    holder = await stage.stranger()
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("select from durable.run where run = $1 for update", run)
    sending = asyncio.create_task(handed(stage, worker, "a", "k"))
    await stage.until_waiting("query like $1", "%durable: deliver */%", sending)  # that is aside
    await transaction.rollback()

    sent, given = await sending

    assert (sent.state, sent.is_taken, given) == ("accepted", False, [])
    assert await stage.inbox(run) == [(1, "signal", "k")]


async def test_a_claim_brings_a_few_small_messages_along(stage: Stage) -> None:
    worker = await stage.worker()
    few, none, many, large = await put_away(stage, worker, "few", "none", "many", "large")
    await stage.observer.execute("update durable.run set due_at = now() where run = $1", none)
    for number in range(11):
        await stage.send("many", f"{number}")
    for key, payload in [("1", SMALL), ("2", LARGE), ("3", SMALL)]:
        await stage.store.inbox.deliver("large", Letter("signal", "shipped", key, payload))
    await stage.send("few", "1")
    await stage.send("few", "2")

    claims = {each.run: each for each in await stage.store.runs.claim(worker, limit=9)}

    told = {run: [each.seq for each in claims[run].messages] for run in claims}
    assert told == {few: [1, 2], none: [], many: [], large: [1, 3]}
    assert {run for run in claims if claims[run].unread(0) is None} == {many, large}
    assert [each.seq for each in claims[few].unread(1) or ()] == [2]


# Many messages


def sent_to(*ids: str) -> list[tuple[str, Letter, None]]:
    return [(id, Letter("signal", "shipped", f"{n}", SMALL), None) for n, id in enumerate(ids)]


async def test_many_messages_have_an_answer_each_and_keep_their_order(stage: Stage) -> None:
    open_, other = (await stage.start("open")).run, (await stage.start("a")).run
    (closed,) = await stage.born(worker := await stage.worker(), "closed")
    await stage.commit(worker, turn(closed, 1, close=completed()))
    sent = sent_to("open", "nobody", "closed", "a", "open")

    answers = await stage.store.inbox.deliver_many(sent)

    took, other_took = (
        Delivered(open_, "accepted", "pending"),
        Delivered(other, "accepted", "pending"),
    )
    assert answers == [took, None, Delivered(closed, "closed", "completed"), other_took, took]
    assert await stage.inbox(open_) == [(1, "signal", "0"), (2, "signal", "4")]
    assert await stage.store.inbox.deliver_many(sent) == answers, "they were sent again"
    assert len(await stage.inbox(open_)) == 2


async def test_what_a_stranger_holds_and_what_cannot_be_written_keeps_no_other_waiting(
    stage: Stage,
) -> None:
    held, free = (await stage.start("held")).run, (await stage.start("free")).run
    holder = await stage.stranger()
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("select from durable.run where run = $1 for update", held)

    answers = await stage.store.inbox.deliver_many(sent_to("held", "free"))

    assert answers == [None, Delivered(free, "accepted", "pending")]
    await transaction.rollback()
    assert await stage.inbox(held) == []
    bad = ("held", Letter("signal", "\0", "k", SMALL), None)
    assert await stage.store.inbox.deliver_many([bad, *sent_to("free")]) == [None, None]


async def test_many_messages_whose_answer_is_lost_arrive_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = (await stage.start("a")).run
    line, lost = stage.store.inbox._line, list[bool]()  # type: ignore[attr-defined]
    fetch = line.fetch

    async def loses_the_first(*query: Any) -> Any:
        rows = await fetch(*query)
        lost.append(query[-1])
        if len(lost) == 1:
            raise Unavailable("lost")
        return rows

    monkeypatch.setattr(line, "fetch", loses_the_first)
    answers = await stage.store.inbox.deliver_many(sent_to("a"))

    assert (answers, lost) == ([Delivered(run, "accepted", "pending")], [False, True])
    assert await stage.inbox(run) == [(1, "signal", "0")]

    async def refuses_the_second(*query: Any) -> Any:
        lost.append(query[-1])
        raise Unavailable("lost") if len(lost) == 1 else asyncpg.LockNotAvailableError("held")

    lost.clear()
    monkeypatch.setattr(line, "fetch", refuses_the_second)
    with pytest.raises(Unavailable, match="held"):  # nobody knows whether the first has arrived
        await stage.store.inbox.deliver_many(sent_to("a"))
