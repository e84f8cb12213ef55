"""Histories, outcomes and lists."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import asyncpg
import pytest

from durable._store.postgres import journal
from durable._store.protocol import Advance, Recorded, Unavailable, Verdict
from durable.errors import LeaseLost

from .stage import Stage, completed, row, turn


@pytest.mark.parametrize(
    ("page_bytes", "page_rows"), [(1000, 10_000), (10**7, 3), (500, 2), (1, 1)]
)
async def test_histories_are_whole_however_small_the_pages(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, page_bytes: int, page_rows: int
) -> None:
    worker = await stage.worker()
    runs = await stage.born(worker, "a", "b", "c")
    for number, run in enumerate(runs):
        rows = [row(run, at, result=b"x" * (97 * at)) for at in range(1, 9 + number)]
        assert await stage.commit(worker, Advance(run, 1, rows)) == [Verdict.DONE]
    monkeypatch.setattr(journal, "PAGE_BYTES", page_bytes)
    monkeypatch.setattr(journal, "PAGE_ROWS", page_rows)

    read = await stage.store.journal.read([(runs[2], 0), (runs[0], 5), (runs[1], 99)])

    assert [(each.run, each.position) for each in read] == [
        *((runs[0], at) for at in range(5, 9)),
        *((runs[2], at) for at in range(11)),
    ]


async def test_the_patches_of_a_turn_stand_in_its_row_and_in_the_history(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    patches = ["new-price", "~mail", 'ä, "b" \\ {NULL}']
    rows = [row(run, 1, patches=patches), row(run, 2)]
    assert await stage.commit(worker, Advance(run, 1, rows)) == [Verdict.DONE]

    read = await stage.store.journal.read([(run, 0)])

    assert [each.patches for each in read] == [None, patches, None]
    history = await stage.store.listing.history("a")
    assert [each["patches"] for each in history] == [None, patches, None]


async def test_messages_are_read_after_a_cursor(stage: Stage) -> None:
    first, second = (await stage.start("a")).run, (await stage.start("b")).run
    for key in ("k1", "k2", "k3"):
        await stage.send("a", key)
    await stage.send("b", "k1")

    read = await stage.store.inbox.read([(second, 0), (first, 1)])

    assert sorted((each.run, each.seq) for each in read) == [(first, 2), (first, 3), (second, 1)]
    assert await stage.store.inbox.read([]) == []


async def test_an_outcome_stands_if_and_only_if_its_transaction_happened(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    outcomes: Any = stage.store.outcomes
    outcome = Recorded("reserve", b"d", b"\xc0")
    given: dict[str, Any] = {"worker": worker, "run": run, "claim": 1, "outcome": outcome}

    async with outcomes.backend() as backend:
        async with backend.connection.transaction():
            await backend.record(op=1, **given)
        with pytest.raises(ZeroDivisionError):
            async with backend.connection.transaction():
                await backend.record(op=2, **given)
                raise ZeroDivisionError
        with pytest.raises(asyncpg.UniqueViolationError):
            await backend.record(op=1, **given)

    recorded = await outcomes.read(run, 1)
    assert recorded is not None
    assert (recorded.name, recorded.digest, recorded.result) == ("reserve", b"d", b"\xc0")
    assert await outcomes.read(run, 2) is None


async def test_a_transaction_of_the_dead_or_of_a_lost_run_does_not_count(stage: Stage) -> None:
    worker, other = await stage.worker(), await stage.worker()
    mine, lost = await stage.born(worker, "a", "b")
    await stage.start("b", "replace")
    outcomes: Any = stage.store.outcomes
    given: dict[str, Any] = {"claim": 1, "op": 1, "outcome": Recorded("reserve", None, b"")}

    async with outcomes.backend() as backend:
        with pytest.raises(LeaseLost, match="not this worker's"):
            await backend.record(worker=worker, run=lost, **given)
        with pytest.raises(LeaseLost, match="not this worker's"):
            await backend.record(worker=other, run=mine, **given)
        await stage.store.workers.take_over(worker)
        with pytest.raises(LeaseLost, match="declared dead"):
            await backend.record(worker=worker, run=mine, **given)


async def test_neither_fence_of_a_transaction_moves_before_it_commits(stage: Stage) -> None:
    worker, judge = await stage.worker(), await stage.stranger()
    terminator = await stage.stranger()
    (run,) = await stage.born(worker, "a")
    outcomes: Any = stage.store.outcomes
    async with outcomes.backend() as backend:
        transaction = backend.connection.transaction()
        await transaction.start()
        await backend.record(worker, run=run, claim=1, op=1, outcome=Recorded("r", None, b""))
        marking = await stage.waits(
            judge, judge.fetchval("select durable.mark_dead($1, 'infinity')", worker)
        )
        lock = "select run from durable.run where run = $1 for update"
        terminating = await stage.waits(terminator, terminator.fetchval(lock, run))

        await transaction.commit()

    assert await marking
    assert await terminating == run
    assert await outcomes.read(run, 1) is not None


async def test_a_connection_that_was_interrupted_is_not_used_again(stage: Stage) -> None:
    outcomes: Any = stage.store.outcomes
    async with outcomes.backend() as backend:
        pid = backend.session.pid
    async with outcomes.backend() as backend:
        assert backend.session.pid == pid  # at rest: used again
        await backend.connection.execute("begin")
    async with outcomes.backend() as backend:
        assert backend.session.pid != pid


async def test_a_transactions_lost_session_is_unavailable_and_can_be_seen_gone(
    stage: Stage,
) -> None:
    outcomes: Any = stage.store.outcomes
    with pytest.raises(Unavailable):
        async with outcomes.backend() as backend:
            await stage.value("select pg_terminate_backend($1)", backend.session.pid)
            while True:
                await backend.connection.execute("select 1")
    while not await outcomes.settle(backend):
        continue


async def test_a_transaction_whose_commit_is_unknown_is_seen_over(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    outcomes: Any = stage.store.outcomes
    given: dict[str, Any] = {"worker": worker, "run": run, "claim": 1, "op": 1,
                             "outcome": Recorded("reserve", None, b"")}  # fmt: skip
    backend: Any = None
    with pytest.raises(Unavailable):
        async with outcomes.backend() as lent, lent.transaction():
            backend = lent
            await backend.record(**given)
            while not await outcomes.settle(backend):  # ends the session, sees it over
                continue
    assert await outcomes.read(run, 1) is None

    async with outcomes.backend() as backend, backend.transaction():
        await backend.record(**given)
    assert await outcomes.settle(backend)
    assert await outcomes.read(run, 1) is not None
    backend.xact = "999999999999"  # of a server that has failed over, and knows it no more
    assert await outcomes.settle(backend)


async def test_how_many_runs_stand_is_asked_in_one_statement(stage: Stage) -> None:
    worker = await stage.worker()
    first, second = await stage.born(worker, "a", "b")
    await stage.commit(worker, turn(first, 1, close=completed()))

    outcomes = await stage.store.runs.outcomes([first, second, 10**9])

    assert {each.run: each.status for each in outcomes} == {first: "completed", second: "running"}


async def test_lists_go_from_the_youngest_back_without_gaps(stage: Stage) -> None:
    runs = [(await stage.start(f"r{number}")).run for number in range(7)]
    await stage.start("other", workflow="another")
    listed: list[int] = []
    before: tuple[datetime, int] | None = None
    while page := await stage.store.listing.page(
        {"status": "pending", "workflow": "order"}, oldest_first=False, limit=3, beyond=before
    ):
        listed += [each["run"] for each in page]
        before = (page[-1]["created_at"], page[-1]["run"])

    assert listed == runs[::-1]


async def test_a_description_shows_payloads_readable(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    await stage.commit(worker, turn(run, 1, close=completed()))

    described = await stage.store.listing.describe("a")

    assert described is not None
    assert (described["status"], described["events"], described["worker"]) == ("completed", 2, None)
    assert await stage.store.listing.describe("nobody") is None


async def test_the_next_page_is_on_its_way_while_one_is_used(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, asked = journal.Journal._read, list[list[tuple[int, int]]]()

    async def heard(self: journal.Journal, starts: list[tuple[int, int]]) -> list[Any]:
        asked.append(starts)
        return await read(self, starts)

    monkeypatch.setattr(journal.Journal, "_read", heard)
    monkeypatch.setattr(journal, "PAGE_ROWS", 4)
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    await stage.commit(worker, Advance(run, 1, [row(run, at) for at in range(1, 9)]))
    asked.clear()
    used = []

    async for page in stage.store.journal.pages([(run, 0)]):
        used.append([each.position for each in page])
        await stage.store.runs.current("a")  # a round trip on the same line
        assert asked == [[(run, at)] for at in (0, 4, 8)][: len(used) + 1]

    assert used == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]
    assert [page async for page in stage.store.journal.pages([])] == []
