"""What runs show: states, streams, and promises that are answered by their tokens."""

from __future__ import annotations

import json
import os
from typing import Any

import asyncpg
import pytest

from durable._codec.tokens import new_token, read_token
from durable._codec.values import decode, encode
from durable._store.protocol import Advance, Effects, Item, Publish, Verdict, Watched

from .stage import Stage, completed, parked, turn

KEY = b"k" * 16


def item(value: object, key: bytes = KEY, **of: Any) -> Publish:
    return Publish("stream", "tokens", encode(value), key, **of)


def mark(op: int, attempt: int, key: bytes = KEY) -> Publish:
    return Publish("stream", "tokens", None, key, op, attempt)


def shown(value: object, name: str = "progress") -> Publish:
    return Publish("state", name, encode(value), os.urandom(16))


def streaming(run: int, at: int, *publishes: Publish) -> Advance:
    """A commit of no event."""
    return Advance(run, 1, [], after=b"@%d" % at, effects=Effects(publishes=publishes))


async def read(stage: Stage, run: int, after: int = 0) -> list[tuple[int, Any]]:
    (news,) = await stage.store.streams.news([Watched(run, "stream", "tokens", after)])
    return [(each.seq, None if each.value is None else decode(each.value)) for each in news.items]


async def test_values_come_in_order_and_offsets_go_on(stage: Stage) -> None:
    worker = await stage.worker()
    run, other = await stage.born(worker, "a", "b")

    await stage.commit(
        worker,
        turn(run, 1, publishes=(item("a"), item("b"))),
        turn(other, 1, publishes=(item("x"),)),
    )
    await stage.commit(worker, turn(run, 2, publishes=(item("c", b"2" * 16, op=3, attempt=1),)))

    assert await read(stage, run) == [(1, "a"), (2, "b"), (3, "c")]
    assert await read(stage, run, after=1) == [(2, "b"), (3, "c")]
    assert await read(stage, other) == [(1, "x")]


async def test_a_turn_that_is_sent_again_publishes_nothing_again(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    (advance,) = await stage.chained(turn(run, 1, publishes=(item("a"), shown(1))))
    for _ in range(2):
        assert await stage.store.journal.commit(worker, [advance]) == [Verdict.DONE]
    assert await read(stage, run) == [(1, "a")]


async def test_nor_does_a_commit_without_events(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    first = streaming(run, 1, item("a", op=1, attempt=1), item("b", op=1, attempt=1))
    for _ in range(2):
        assert await stage.commit(worker, first) == [Verdict.DONE]
    again = streaming(run, 1, mark(1, 2, b"2" * 16), item("c", b"2" * 16, op=1, attempt=2))
    assert await stage.commit(worker, again) == [Verdict.DONE]

    (news,) = await stage.store.streams.news([Watched(run, "stream", "tokens", 1)])
    assert news.items == [
        Item(2, encode("b"), 1, 1), Item(3, None, 1, 2), Item(4, encode("c"), 1, 2)
    ]  # fmt: skip


async def test_who_has_lost_the_run_publishes_nothing(stage: Stage) -> None:
    worker, other = await stage.worker(), await stage.worker()
    (run,) = await stage.born(worker, "a")
    lost = streaming(run, 1, item("a"), shown(1))
    assert await stage.commit(other, lost) == [Verdict.LOST]
    assert await stage.store.streams.news([Watched(run, "stream", "tokens", 0)]) == []
    assert await stage.store.streams.state(run, "progress") is None


async def test_of_a_state_the_last_value_counts(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    watched = Watched(run, "state", "progress", 0)
    assert await stage.store.streams.news([watched]) == []

    await stage.commit(worker, turn(run, 1, publishes=(shown(1), shown("x", "other"))))
    await stage.commit(worker, turn(run, 2, publishes=(shown(2),)))
    (news,) = await stage.store.streams.news([watched])
    assert news.items == [Item(2, encode(2), None, None)]
    assert await stage.store.streams.state(run, "progress") == encode(2)
    assert await stage.store.streams.state(run, "other") == encode("x")
    assert await stage.store.streams.news([watched._replace(after=2)]) == []


async def test_a_reader_hears_of_the_end(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    await stage.commit(worker, turn(run, 1, publishes=(item("a"),), close=completed()))
    asked = [Watched(run, "stream", "tokens", 0), Watched(run, "state", "progress", 0),
             Watched(run, "stream", "tokens", 1), Watched(99, "state", "progress", 0)]  # fmt: skip
    news = await stage.store.streams.news(asked)
    assert [each.watched for each in news] == asked
    assert [(len(each.items), each.status) for each in news] == [
        (1, "completed"), (0, "completed"), (0, "completed"), (0, None)
    ]  # fmt: skip


async def test_what_was_published_is_deleted_with_its_run(stage: Stage) -> None:
    from datetime import timedelta

    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    await stage.commit(worker, turn(run, 1, publishes=(item("a"), shown(1)), close=completed()))
    deleting = {"status": None, "workflow": None, "dry_run": False}
    assert await stage.store.listing.delete(older_than=timedelta(seconds=-60), **deleting) == 1  # type: ignore[arg-type]
    (news,) = await stage.store.streams.news([Watched(run, "stream", "tokens", 0)])
    assert (news.items, news.status) == ([], None)
    assert await stage.store.streams.state(run, "progress") is None


async def test_offsets_belong_to_the_id(stage: Stage) -> None:
    """A run that is started in the place of another goes on with its offsets, and shows nothing
    of what it has shown."""
    worker = await stage.worker()
    (old,) = await stage.born(worker, "a")
    await stage.commit(
        worker, turn(old, 1, publishes=(item("a"), item("b"), shown(1)), close=completed())
    )
    run = (await stage.start("a", "after_close")).run
    (claimed,) = await stage.store.runs.claim(worker, limit=1)
    assert claimed.run == run
    await stage.commit(worker, turn(run, 0, publishes=(item("c"),)))

    assert await read(stage, run) == [(3, "c")]
    assert await stage.store.streams.state(run, "progress") is None
    assert await stage.store.streams.origin(run, "tokens", 0) == run


async def test_a_run_that_continues_another_is_read_as_one_with_it(stage: Stage) -> None:
    worker = await stage.worker()
    (first,) = await stage.born(worker, "a")
    await stage.commit(worker, turn(first, 1, publishes=(item("a"), item("b"), shown(1))))
    first_and_later = [first]
    for n in range(2):
        later = await stage.value(
            "with old as (update durable.run set status = 'continued', closed_at = now(), "
            "worker = null, current = false where id = 'a' and current returning *) "
            "insert into durable.run (run, id, previous, workflow, queue, status, worker, claim, "
            "seed, created_at) select run + 100, id, run, workflow, queue, 'running', $1, 1, seed, "
            "now() from old returning run", worker)  # fmt: skip
        await stage.observer.execute(
            "insert into durable.result (run, next_op, heir) values ($1, 1, $2)", later - 100, later
        )
        await stage.observer.execute("select durable.inherit($1, $2, true)", later, later - 100)
        await stage.commit(worker, turn(later, 0, publishes=(item(n),)))
        first_and_later.append(later)

    first, second, third = first_and_later
    streams = stage.store.streams
    assert [await read(stage, run) for run in (second, third)] == [[(3, 0)], [(4, 1)]]
    origins = [await streams.origin(third, "tokens", after) for after in (0, 1, 2, 3, 4, 9)]
    assert origins == [first, first, second, third, third, third]
    assert [await streams.successor(run) for run in (first, second, third)] == [second, third, None]
    assert await streams.state(third, "progress") == encode(1)


async def test_a_page_is_bounded_in_bytes(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    big = tuple(item("x" * 250_000) for _ in range(6))
    await stage.commit(worker, turn(run, 1, publishes=big))
    pages: list[list[tuple[int, Any]]] = []
    while not pages or pages[-1][-1][0] < len(big):
        assert await stage.value("select true")  # on Postgres alone: memory has no such bound
        pages.append(await read(stage, run, after=pages[-1][-1][0] if pages else 0))
    assert [len(page) for page in pages] == [5, 1]


# Promises

SEED = bytes(16)


async def promised(stage: Stage, expected: Any = bool) -> tuple[int, str]:
    """A parked run that has promised, and its token."""
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    assert await stage.commit(
        worker, Advance(run, 1, [], after=b"@1", effects=Effects(park=parked()))
    ) == [Verdict.PARKED]
    return run, new_token(SEED, run, 3, expected)


async def test_a_promise_is_answered_once(stage: Stage) -> None:
    run, token = await promised(stage)
    answer = stage.store.inbox.answer
    first = await answer(token, encode(True), "bool")
    assert (first.run, first.id, first.state) == (run, "a", "accepted")
    assert (await answer(token, encode(True), "bool")).state == "answered"
    assert (await answer(token, encode("no"), None)).state == "answered"

    (message,) = await stage.store.inbox.read([(run, 0)])
    assert (message.kind, message.name, message.op) == ("promise", None, 3)
    assert message.payload == encode(True)
    assert (await stage.run(run))["due_at"] is not None


async def test_it_may_be_rejected(stage: Stage) -> None:
    run, token = await promised(stage)
    assert (await stage.store.inbox.answer(token, encode("no"), None)).state == "accepted"
    (message,) = await stage.store.inbox.read([(run, 0)])
    assert (message.name, message.payload) == ("reject", encode("no"))


async def test_a_token_that_nobody_here_has_made_answers_nothing(stage: Stage) -> None:
    run, token = await promised(stage)
    told = read_token(token)
    assert told is not None
    forged = [
        new_token(b"x" * 16, run, 3, bool),
        new_token(SEED, run + 1, 3, bool),
        told._replace(op=4).text(),
        told._replace(kind="int").text(),
        told._replace(kind=None).text(),
        told._replace(mac=bytes(16)).text(),
        *(token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :] for at in (0, 15, 30)),
        token[:-1], token + "x", "", "é" * 43, "_" * 43, token.upper(),
    ]  # fmt: skip
    for each in forged:
        found = await stage.store.inbox.answer(each, encode(True), "bool")
        assert (found.state, found.run, found.id) == ("forged", None, None), each
    assert (await stage.store.inbox.answer(token, encode(True), "bool")).state == "accepted"


@pytest.mark.parametrize(
    ("expected", "kind", "state"),
    [(bool, "int", "unfit"), (bool, "other", "unfit"), (int, "bool", "unfit"),
     (int, "float", "unfit"), (float, "int", "accepted"), (str, "str", "accepted"),
     (list[int], "other", "accepted"), (list[int], "str", "accepted")],
)  # fmt: skip
async def test_the_kind_of_answer_is_in_the_token(
    stage: Stage, expected: Any, kind: str, state: str
) -> None:
    _, token = await promised(stage, expected)
    assert (await stage.store.inbox.answer(token, encode(1), kind)).state == state


async def test_a_closed_run_takes_no_answer(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    await stage.commit(worker, turn(run, 1, close=completed()))
    found = await stage.store.inbox.answer(new_token(SEED, run, 3, bool), b"\x01\xc3", "bool")
    assert (found.state, found.id, found.status) == ("closed", "a", "completed")


async def test_an_answer_that_is_sent_again_finds_its_own(stage: Stage) -> None:
    _, token = await promised(stage)
    answering = "select state from durable.answer_promise($1, $2, 'bool', false, $3)"
    assert await stage.value(answering, token, encode(True), False) == "accepted"
    assert await stage.value(answering, token, encode(True), True) == "accepted"
    assert await stage.value(answering, token, encode(False), True) == "answered"


async def test_sql_resolves_and_rejects(stage: Stage) -> None:
    run, token = await promised(stage, dict[str, int])
    value = json.dumps({"a": 1})
    assert await stage.value("select durable.resolve($1, $2)", token, value) is True
    assert await stage.value("select durable.resolve($1, $2)", token, value) is False
    assert await stage.value("select durable.reject($1, 'late')", token) is False
    (message,) = await stage.store.inbox.read([(run, 0)])
    assert decode(message.payload or b"") == {"a": 1}


async def test_sql_says_what_is_wrong_with_a_token(stage: Stage) -> None:
    run, token = await promised(stage)
    with pytest.raises(asyncpg.PostgresError, match="was not made here"):
        await stage.value("select durable.resolve($1, 'true')", token.replace(".bool", ""))
    with pytest.raises(asyncpg.PostgresError, match="takes a value of type bool"):
        await stage.value("select durable.resolve($1, '\"yes\"')", token)
    assert await stage.value("select durable.reject($1, 'no')", token) is True
    closing = "select durable.close_from_outside($1, 'test')"
    await stage.value(closing, run)
    with pytest.raises(asyncpg.PostgresError, match=r"run a has ended \(terminated\)"):
        await stage.value("select durable.resolve($1, 'true')", new_token(SEED, run, 9, bool))


async def test_a_message_is_authenticated_as_the_standard_says(stage: Stage) -> None:
    """RFC 4231, test cases 1, 2 and 4."""
    for key, message, expected in [
        (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b"),
        (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c7"),
        (bytes(range(1, 26)), b"\xcd" * 50, "82558a389a443c0ea4cc819899f2083a"),
    ]:
        made = await stage.value("select durable.hmac_sha256($1, $2)", key, message)
        assert made[:16].hex() == expected
