"""The same random calls on the store in memory and on Postgres: the same answers, and the same
tables after each. What the simulation shows of the one is so of the other.

A call is drawn with the tables in memory at hand, so that most make sense; both stores get the very
same arguments. What two sessions do to each other at once is not tried here, but in ``races.py``.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from durable._store.family import Heir, NewChild
from durable._store.memory.tables import Run
from durable._store.protocol import (
    Advance,
    Claimed,
    Close,
    Delivered,
    Delivery,
    Effects,
    HandBack,
    Letter,
    Note,
    Park,
    Publish,
    Registration,
    Reply,
    Taker,
)
from durable._store.verbs import Store

from .stage import NOW, birth, new_run, row
from .twins import Both

IDS = ("a", "b", "c")
EXISTING = ("use", "reject", "after_close", "after_failure", "replace")
WORKERS = [UUID(int=n) for n in (1, 2)]
ids, existing, few = st.sampled_from(IDS), st.sampled_from(EXISTING), st.integers(0, 3)

# What a commit wants beside its rows.
WANTED = ("close", "fail", "park", "send", "child", "heir", "publish", "note", "reply", "ended")

# Of a commit: which run, how many events, what beside them, what is wrong, and another run's turn.
turns = st.tuples(
    few, st.integers(0, 2), st.sets(st.sampled_from(WANTED), max_size=3),
    st.sampled_from(["", "", "", "", "", "claim", "after", "worker"]), st.booleans(),
)  # fmt: skip
worker_numbers = st.integers(0, len(WORKERS) - 1)


class Calls(RuleBasedStateMachine):
    both: Both
    loop: asyncio.Runner

    def __init__(self) -> None:
        super().__init__()
        self._numbers = 0
        self._sent: tuple[UUID, list[Advance]] | None = None
        self.loop.run(self.both.begin())
        for n in range(len(WORKERS)):
            self.begin_worker(n)

    def ask(self, call: Callable[[Store], Awaitable[Any]]) -> Any:
        return self.loop.run(self.both.ask(call))

    def _pick(self, pick: int, *, owned: bool = False) -> Run | None:
        runs = [run for run in self.both.tables.run.values() if run.worker or not owned]
        return runs[pick % len(runs)] if runs else None

    def _next(self) -> int:
        self._numbers += 1
        return self._numbers

    @invariant()
    def tables_are_alike(self) -> None:
        self.loop.run(self.both.compare())

    # Workers

    @rule(n=worker_numbers)
    def begin_worker(self, n: int) -> None:
        told = Registration(
            WORKERS[n], f"host:{n}", "", 0, 0, ("order",), ("default",), str(n), 15.0
        )
        self.loop.run(self.both.register(told))

    @rule(n=worker_numbers, rarely=st.integers(0, 4))
    def take_over(self, n: int, rarely: int) -> None:
        if rarely == 4:
            self.ask(lambda store: store.workers.take_over(WORKERS[n]))

    @rule(n=worker_numbers, rarely=st.integers(0, 4))
    def deregister(self, n: int, rarely: int) -> None:
        if rarely == 4:
            self.ask(lambda store: store.workers.deregister(WORKERS[n]))

    # Starts, and what people do

    @rule(id=ids, policy=existing, digest=few, delay=st.sampled_from([None, 5]),
          deadline=st.sampled_from([None, 20]), first=st.booleans())  # fmt: skip
    def start(self, id: str, policy: str, digest: int, delay: int | None, deadline: int | None,
              first: bool) -> None:  # fmt: skip
        new = new_run(
            id,
            policy,
            input_digest=b"digest" if digest else b"other",
            begins_after=None if delay is None else timedelta(seconds=delay),
            ends_after=None if deadline is None else timedelta(seconds=deadline),
        )
        letter = Letter("signal", "shipped", "first", b"\xc3") if first else None
        for _ in range(2):  # the second time after a lost answer
            self.ask(lambda store: store.runs.start(new, first=letter))

    @rule(
        id=ids, key=few, kind=st.sampled_from(["signal", "update", "cancel"]), meant=st.booleans(),
        by=st.none() | worker_numbers,
    )  # fmt: skip
    def deliver(self, id: str, key: int, kind: str, meant: bool, by: int | None) -> None:
        run = self._pick(key) if meant else None
        letter = Letter(kind, "shipped", f"{kind} {key}", b"\xc3")
        to = run.run if run else None

        async def sent(store: Store) -> tuple[Delivered, list[Claimed]]:
            given: list[Claimed] = []
            taker = None if by is None else Taker(WORKERS[by], "1", given.append)
            name = run.id if run else id
            return await store.inbox.deliver(name, letter, meant=to, taker=taker), given

        self.ask(sent)

    @rule(ids=st.lists(ids, min_size=1, max_size=3), key=few, meant=st.booleans())
    def deliver_many(self, ids: list[str], key: int, meant: bool) -> None:
        run = self._pick(key) if meant else None
        to = run.run if run else None
        sent = [(id, Letter("signal", "shipped", f"many {key} {n}", b"\xc3"), to)
                for n, id in enumerate(ids)]  # fmt: skip
        for _ in range(2):  # the second time after a lost answer
            self.ask(lambda store: store.inbox.deliver_many(sent))

    @rule(id=ids, verb=st.sampled_from(["retry", "terminate", "hold", "resume"]))
    def people(self, id: str, verb: str) -> None:
        asks: dict[str, Callable[[Store], Awaitable[Any]]] = {
            "retry": lambda store: store.runs.retry(id),
            "terminate": lambda store: store.runs.terminate(id, "enough"),
            "hold": lambda store: store.runs.pause(id, True),
            "resume": lambda store: store.runs.pause(id, False),
        }
        self.ask(asks[verb])

    @rule(seconds=st.sampled_from([1, 6, 30]))
    def time_passes(self, seconds: int) -> None:
        self.loop.run(self.both.pass_time(seconds))

    # What workers do

    @rule(n=worker_numbers)
    def claim(self, n: int) -> None:
        runs = self.both.tables.run.values()
        if sum(run.crashes >= 2 and run.worker is None for run in runs) < 2:  # which first is open
            self.ask(lambda store: store.runs.claim(WORKERS[n], limit=50, versions="1"))

    @rule(n=worker_numbers, id=ids, key=few)
    def bear(self, n: int, id: str, key: int) -> None:
        (run,) = self.ask(lambda store: store.runs.keys(1))
        begun = Effects(birth=birth(id))
        self._commit(WORKERS[n], [Advance(run, 1, [row(run, 0, "started", at=self.both.now)], None,
                                          begun)])  # fmt: skip

    @rule(turns=st.lists(turns, min_size=1, max_size=4))
    def commit(self, turns: list[tuple[int, int, set[str], str, bool]]) -> None:
        for pick, rows, wanted, wrong, more in turns:
            run = self._pick(pick, owned=True)
            if run is None or run.worker is None:
                self._take(pick)
                continue
            advances = [self._advance(run, rows, wanted, wrong)]
            other = self._pick(pick + 1, owned=True)
            if more and other is not None and other is not run and other.worker == run.worker:
                advances.append(self._advance(other, 1, set(), ""))
            worker = run.worker
            if wrong == "worker":
                worker = next(each for each in WORKERS if each != run.worker)
            self._commit(worker, advances)
            self.tables_are_alike()

    def _take(self, pick: int) -> None:
        """Somebody lives, and gets something to do."""
        n = pick % len(WORKERS)
        self.begin_worker(n)
        new = new_run(IDS[pick % len(IDS)], "after_close")
        self.ask(lambda store: store.runs.start(new))
        self.claim(n)

    @rule()
    def send_again(self) -> None:
        if self._sent is not None:
            self._commit(*self._sent)

    def _commit(self, worker: UUID, advances: list[Advance]) -> None:
        self._sent = worker, advances
        verdicts = self.ask(lambda store: store.journal.commit(worker, advances))
        for each in verdicts if isinstance(verdicts, list) else [verdicts.__name__]:
            event(str(each))  # pytest --hypothesis-show-statistics

    def _advance(self, run: Run, rows: int, wanted: set[str], wrong: str) -> Advance:
        tables, key = self.both.tables, run.run
        journal = tables.journal[key]
        rows = max(rows, 1) if not journal or wanted & {"close", "fail", "heir"} else rows
        read = max((each.seq or 0 for each in journal), default=0)
        written = []
        for position in range(len(journal), len(journal) + rows):
            is_signal = position and read < run.last_seq
            read += bool(is_signal)
            facts: dict[str, Any] = {"op": None, "seq": read} if is_signal else {}
            kind = "started" if not position else "signal" if is_signal else "activity"
            at = max(self.both.now, journal[-1].at if journal else NOW)
            written.append(row(key, position, kind, at=at, **facts))
        after = os.urandom(16) if wrong == "after" else journal[-1].key if journal else None
        claim = run.claim + (wrong == "claim")
        return Advance(key, claim, written, after, self._effects(run, written, wanted))

    def _effects(self, run: Run, written: list[Any], wanted: set[str]) -> Effects:
        tables, key, now = self.both.tables, run.run, self.both.now
        effects, n = Effects(), self._next()
        if "child" in wanted:
            new = NewChild(n, IDS[n % 3] if n % 2 else f"child {n}", bool(n % 2), "order", None,
                           None, os.urandom(16), b"\x90", b"digest", None, None,
                           ("cancel", "terminate", "abandon")[n % 3])  # fmt: skip
            effects.children = (new,)
        has_children = bool(tables.children.get(key) or effects.children)
        family: dict[str, Any] = {"parent": run.parent_run, "has_children": has_children}
        if "heir" in wanted:
            effects.close = Close("continued", None, None, None, n + 1, **family)
            effects.heir = Heir(os.urandom(16), b"\x91\x01", ())
        elif "close" in wanted:
            effects.close = Close("completed", b"\xc0", None, None, n + 1, **family)
        elif "fail" in wanted:
            failed_at = written[-1].position if n % 2 else None
            effects.close = Close("failed", None, b"\x80", failed_at, n + 1, **family)
        elif "park" in wanted:
            due = (None, now + timedelta(seconds=5), now)[n % 3]
            effects.park = Park(due, run.last_seq - (n % 5 == 0), "a signal", "shop.py:7")
        if "send" in wanted:
            effects.deliveries = (Delivery(None, "signal", "shipped", f"{key}:{n}", b"\xc3", n,
                                           IDS[n % 3]),)  # fmt: skip
        if "publish" in wanted:
            told = written[0].key if written else os.urandom(16)
            effects.publishes = (Publish("state", "s", b"\x01", told),
                                 Publish("stream", "t", b"\x02", told))  # fmt: skip
        if "note" in wanted:
            effects.notes = (Note(1, "step", b"d", 1, now, now, None, None, None, n),)
        if "ended" in wanted:
            effects.ended = (1,)
        asked = [each.seq for each in tables.inbox[key].values() if each.kind == "update"]
        if "reply" in wanted and asked:
            effects.replies = (Reply(asked[n % len(asked)], "completed", b"\xc3", None),)
        return effects

    @rule(pick=few, due=st.sampled_from([None, 0, 5]))
    def hand_back(self, pick: int, due: int | None) -> None:
        run = self._pick(pick, owned=True)
        if run is not None and run.worker is not None:
            at = None if due is None else self.both.now + timedelta(seconds=due)
            back, worker = HandBack(run.run, run.claim, at, "a signal", "shop.py:7"), run.worker
            self.ask(lambda store: store.runs.hand_back(worker, [back]))

    @rule(pick=few)
    def set_stuck(self, pick: int) -> None:
        run = self._pick(pick, owned=True)
        if run is not None and run.worker is not None:
            key, worker, claim = run.run, run.worker, run.claim
            self.ask(lambda store: store.runs.set_stuck(worker, key, claim, report="no",
                                                        build=str(pick % 2)))  # fmt: skip

    @rule(pick=few, less=st.booleans())
    def clear_due(self, pick: int, less: bool) -> None:
        run = self._pick(pick, owned=True)
        if run is not None and run.worker is not None:
            worker, seen = run.worker, (run.run, max(0, run.last_seq - less))
            self.ask(lambda store: store.inbox.clear_due(worker, [seen]))

    # Chores, and what is read

    @rule(chore=st.sampled_from(["sweep_unserved", "expire", "tell_children"]))
    def chores(self, chore: str) -> None:
        self.ask(lambda store: getattr(store.runs, chore)())

    @rule(n=worker_numbers, pick=few, id=ids)
    def read(self, n: int, pick: int, id: str) -> None:
        runs = sorted(self.both.tables.run)
        sent = [(run, key) for run in runs for key in self.both.tables.inbox[run]]
        asks: list[Callable[[Store], Awaitable[Any]]] = [
            lambda store: store.runs.owned(WORKERS[n]),
            lambda store: store.runs.claims(WORKERS[n], runs),
            lambda store: store.runs.current(id),
            lambda store: store.runs.settled([*runs, 999]),
            lambda store: store.runs.outcomes(runs),
            lambda store: store.inbox.mail(WORKERS[n]),
            lambda store: store.inbox.read([(run, pick) for run in runs]),
            *([lambda store: store.inbox.answers(sent)] if sent else []),
            lambda store: store.journal.read([(run, pick) for run in runs]),
            lambda store: store.listing.counts(),
        ]
        for each in asks:
            self.ask(each)


def try_calls(dsn: str, examples: int, steps: int, *phases: Phase) -> None:
    given = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, database=None,
        print_blob=True, suppress_health_check=list(HealthCheck), phases=phases,
    )  # fmt: skip
    with asyncio.Runner() as runner:
        Calls.loop, Calls.both = runner, runner.run(Both.open(dsn))
        try:
            run_state_machine_as_test(Calls, settings=given)
        finally:
            runner.run(Calls.both.close())


@pytest.mark.parametrize(
    ("examples", "steps"), [(5, 20), pytest.param(300, 50, marks=pytest.mark.slow)]
)
@pytest.mark.timeout(3600)
def test_both_stores_answer_alike_and_hold_the_same(dsn: str, examples: int, steps: int) -> None:
    try_calls(dsn, examples, steps, Phase.generate)


def test_a_store_that_is_late_by_a_microsecond_would_be_found(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Run.make_due
    later = timedelta(microseconds=1)
    monkeypatch.setattr(Run, "make_due", lambda run, moment: right(run, moment + later))
    with pytest.raises((AssertionError, BaseExceptionGroup)):
        try_calls(dsn, 20, 25, Phase.generate)
