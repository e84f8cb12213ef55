"""The ``run`` table in memory: the verdicts of ``start.sql``, ``claim.sql``, ``retry.sql`` and
``runs.sql``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from ...errors import InvalidCall
from ..family import NewRun
from ..protocol import (
    DOUBTFUL_FROM,
    Claimed,
    HandBack,
    Letter,
    Outcome,
    Started,
    Swept,
)
from . import family
from .tables import CLAIMABLE, Result, Run, Tables, verb
from .voiding import recorded, void

FAILURES = ("failed", "cancelled", "terminated")

# That come along with a claim. (There they are small ones, too.)
MESSAGES_MAX = 10

# As in revive_stuck: a worker that registered this long before a run got stuck is news for it.
REVIVED_BY = timedelta(seconds=5)


class Runs:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    @verb
    def keys(self, count: int) -> list[int]:
        return [self._tables.next_key() for _ in range(count)]

    @verb
    def start(self, new: NewRun, *, first: Letter | None = None, connection: Any = None) -> Started:
        refuse_connection(connection)
        answer = self._start(new)
        if first is not None and answer.created:
            self._tables.accept(self._tables.run[answer.run], *first, op=None)
        return answer

    @verb
    def start_many(
        self, new: Sequence[NewRun], *, waits: bool = True, connection: Any = None
    ) -> list[Started | None]:
        refuse_connection(connection)
        return [self._start(each) for each in new]

    def _start(self, new: NewRun) -> Started:
        tables, old = self._tables, self._tables.named(new.id)
        if old is not None:
            line = family.generations(tables, old)
            is_again = any(each.seed == new.seed for each in line)
            if is_again or not _may_follow(old, new.if_exists):
                args, digest = tables.input[line[-1].run]
                told = None if digest == new.input_digest else args
                return Started(old.run, is_again, old.status, old.workflow, told)
            if old.closed_at is None:
                self._close_from_outside(old, "replaced")
            tables.retire(old)
        moment = tables.now()
        begins = max(moment, _moment(new.begins_at, new.begins_after, moment) or moment)
        run = Run(
            run=tables.next_key(),
            id=new.id,
            workflow=new.workflow,
            queue=new.queue,
            priority=new.priority,
            status="pending",
            due_at=begins,
            deadline=_moment(new.ends_at, new.ends_after, begins),
            previous=None if old is None else old.run,
            seed=new.seed,
            build=new.build,
            created_at=moment,
        )
        tables.insert(run, new.input, new.input_digest)
        if old is not None:
            tables.inherit(run.run, old.run, continues=False)
        return Started(run.run, True, "pending", new.workflow, None)

    @verb
    def claim(
        self,
        worker: UUID,
        *,
        limit: int,
        versions: str | None = None,
        doubtful_max: int = 1,
    ) -> list[Claimed]:
        tables, moment = self._tables, self._tables.now()
        by = tables.fence(worker)
        due = sorted(
            (-run.priority, run.due_at, run.run)
            for run in tables.run.values()
            if run.worker is None and run.status in CLAIMABLE
            and run.due_at is not None and run.due_at <= moment and by.serves(run)
        )  # fmt: skip
        clear = [key for _, _, key in due if tables.run[key].crashes < DOUBTFUL_FROM]
        doubtful = [key for _, _, key in due if tables.run[key].crashes >= DOUBTFUL_FROM]
        doubtful.sort(key=lambda key: -tables.run[key].crashes)
        if doubtful and tables.run[doubtful[0]].crashes > DOUBTFUL_FROM:
            doubtful_max = min(doubtful_max, 1)
        doubtful = doubtful[: min(doubtful_max, max(1, limit // 2))]
        clear = clear[: limit - len(doubtful)]
        claimed: list[Claimed] = []
        for key in clear + doubtful:
            claimed.append(claim(tables, tables.run[key], worker, versions))
            tables.run[key].on_trial = len(doubtful) if key in doubtful else 0
        return claimed

    @verb
    def acquit(self, worker: UUID, runs: Sequence[int]) -> None:
        for run in self._tables.owned_by(worker):
            run.on_trial = 0 if run.run in runs else run.on_trial

    @verb
    def look(self, run: int) -> Claimed | None:
        found = self._tables.run.get(run)
        return None if found is None else _claimed(self._tables, found)

    @verb
    def owned(self, worker: UUID) -> list[Claimed]:
        return [_claimed(self._tables, run) for run in self._tables.owned_by(worker)]

    @verb
    def hand_back(self, worker: UUID, runs: Sequence[HandBack]) -> list[int]:
        went: list[int] = []
        for back in runs:
            run = self._owned(worker, back.run, back.claim)
            if run is None:
                continue
            if back.due_at is not None:
                run.make_due(back.due_at)
            is_due = run.due_at is not None and run.due_at <= self._tables.now()
            lively = "pending" if is_due else "waiting"
            run.worker, run.status = None, lively if run.paused_at is None else "paused"
            run.waits_for, run.waits_at = back.waits_for, back.waits_at
            went.append(run.run)
        return went

    @verb
    def set_stuck(self, worker: UUID, run: int, claim: int, *, report: str, build: str) -> bool:
        row = self._owned(worker, run, claim)
        if row is None:
            return False
        row.status, row.worker, row.due_at = "stuck", None, None
        row.report, row.stuck_at = report, self._tables.now()
        alive = {each.registration.build for each in self._tables.worker.values()
                 if each.state == "live"}  # fmt: skip
        row.unfit = (*(each for each in row.unfit if each in alive - {build}), build)
        row.crashes = min(row.crashes, DOUBTFUL_FROM)
        return True

    @verb
    def sweep_unserved(self) -> Swept:
        tables, moment, aside, back = self._tables, self._tables.now(), 0, 0
        workers = list(tables.worker.values())
        for run in tables.run.values():
            is_served = any(worker.serves(run) for worker in workers)
            if run.status in CLAIMABLE and run.worker is None:
                if run.due_at is not None and run.due_at <= moment and not is_served:
                    run.status = "unserved"
                    aside += 1
            elif run.status == "unserved" and is_served:
                run.status = "pending"
                run.make_due(moment)
                back += 1
            elif run.status == "stuck" and self._may_revive(run):
                self._reopen(run)
                back += 1
        return Swept(aside, back)

    @verb
    def current(self, id: str) -> int | None:
        run = self._tables.named(id)
        return None if run is None else run.run

    @verb
    def outcomes(self, runs: Sequence[int]) -> list[Outcome]:
        rows = [self._tables.run[key] for key in runs if key in self._tables.run]
        return [self._outcome(row) for row in rows]

    @verb
    def settled(self, runs: Sequence[int]) -> list[Outcome]:
        rows = [(key, self._tables.run.get(key)) for key in runs]
        return [
            self._outcome(row) if row is not None else _absent(key)
            for key, row in rows
            if row is None or row.closed_at is not None or row.status == "stuck"
        ]

    @verb
    def expire(self) -> int:
        moment = self._tables.now()
        late = [run for run in self._tables.run.values() if is_overdue(run, moment)]
        for run in late:
            why = f"its deadline of {run.deadline:%Y-%m-%d %H:%M:%S} UTC has passed"
            self._tables.accept(run, "cancel", why, "deadline", None, None)
            run.deadline = None
        return len(late)

    @verb
    def retry(self, id: str, meant: int | None = None) -> str | None:
        run = self._tables.named(id)
        if run is None:
            return "absent"
        if family.latest(self._tables, meant) not in (None, run.run):
            return "its id names another run now, which was started after it"
        parent = family.has_seen_failure(self._tables, run) if run.status == "failed" else None
        if parent is not None:
            goes_on = ", and goes on from there."
            take = ". Retry that one: it takes this one along."
            then = goes_on if parent.closed_at is None else take
            return f"its parent {parent.id} has seen that it failed{then}"
        return self._retry(run)

    def _retry(self, run: Run) -> str | None:
        if run.status == "failed":
            refusal = void(self._tables, run)
            if refusal is not None:
                return refusal
        elif run.status != "stuck":
            return f"it is {run.status}; only a failed or a stuck run can be retried"
        run.crashes, run.paused_at, run.unfit = 0, None, ()
        self._reopen(run)
        if is_overdue(run, self._tables.now()):
            run.deadline = None
        return family.resume(self._tables, run, self._retry)

    @verb
    def restart(self, id: str, meant: int, seed: bytes) -> int | None:
        old = self._tables.named(id)
        if old is None or old.run != family.latest(self._tables, meant):
            return None
        given = (id, old.workflow, old.queue, old.priority, *self._tables.input[old.run])
        return self._start(NewRun(*given, "replace", True, seed)).run

    @verb
    def children(self, run: int) -> list[int]:
        tables = self._tables
        found = (tables.run[key] for key in tables.children.get(run, ()))
        return [each.parent_op for each in found if each.current and each.parent_op is not None]

    @verb
    def tell_children(self) -> bool:
        return family.tell_children(self._tables, self._close_from_outside)

    @verb
    def terminate(self, id: str, reason: str | None, meant: int | None = None) -> str | None:
        meant = family.latest(self._tables, meant)
        run = self._tables.named(id) if meant is None else self._tables.run.get(meant)
        if run is None or run.closed_at is not None:
            return run.status if run else "absent"
        self._close_from_outside(run, reason)
        return None

    @verb
    def pin(self, id: str, build: str | None, meant: int | None = None) -> str | None:
        meant = family.latest(self._tables, meant)
        run = self._tables.named(id) if meant is None else self._tables.run.get(meant)
        if run is None or run.closed_at is not None:
            return run.status if run else "absent"
        run.build = build
        return None

    @verb
    def pause(self, id: str, holds: bool, meant: int | None = None) -> str | None:
        meant = family.latest(self._tables, meant)
        run = self._tables.named(id) if meant is None else self._tables.run.get(meant)
        if run is None or run.closed_at is not None:
            return run.status if run else "absent"
        if (run.paused_at is None) != holds:
            return None
        moment = self._tables.now()
        run.paused_at = moment if holds else None
        if holds and run.status in ("pending", "waiting", "unserved"):
            run.status = "paused"
        elif holds and run.status == "running":
            run.make_due(moment)
        elif run.status == "paused":
            run.status, inbox = "pending", self._tables.inbox[run.run]
            if run.started_at is not None or any(m.kind == "cancel" for m in inbox.values()):
                run.make_due(moment)
        return None

    @verb
    def claims(self, worker: UUID, runs: Sequence[int]) -> dict[int, int]:
        return {run.run: run.claim for run in self._tables.owned_by(worker) if run.run in runs}

    def _owned(self, worker: UUID, key: int, claim: int) -> Run | None:
        run = self._tables.run.get(key)
        return run if run is not None and (run.worker, run.claim) == (worker, claim) else None

    def _outcome(self, run: Run) -> Outcome:
        ended = self._tables.result.get(run.run)
        result, failure, reason, heir = (
            (ended.result, ended.failure, ended.reason, ended.heir) if ended else (None,) * 4
        )
        return Outcome(
            run.run, run.id, run.workflow, run.status, result, failure, run.report, reason, heir
        )

    def _may_revive(self, run: Run) -> bool:
        """Whether a worker of a build that has not tried is there; or has come since."""
        assert run.stuck_at is not None
        since = run.stuck_at - REVIVED_BY
        return any(
            each.serves(run) and (run.crashes < DOUBTFUL_FROM or each.started_at > since)
            for each in self._tables.worker.values()
        )

    def _reopen(self, run: Run) -> None:
        run.status = "pending" if run.paused_at is None else "paused"
        run.due_at, run.closed_at = self._tables.now(), None
        run.report = run.stuck_at = None

    def _close_from_outside(self, run: Run, why: str | None) -> None:
        tables, rows = self._tables, self._tables.journal[run.run]
        at = max([tables.now(), *(row.at for row in rows[-1:])])
        next_op = max((row.op for row in rows if row.op is not None), default=0) + 1
        rows.append(recorded(run.run, len(rows), "terminated", why, at=at))
        for key in [key for key in tables.attempt if key[0] == run.run]:
            del tables.attempt[key]
        family.close(tables, run, "terminated", Result(None, None, None, next_op, why))


def claim(tables: Tables, run: Run, worker: UUID, versions: str | None) -> Claimed:
    """It may be had, and is given."""
    length, unread = len(tables.journal[run.run]), run.last_seq - run.read_seq
    run.worker, run.status, run.due_at = worker, "running", None
    run.claim += 1
    run.started_at = run.started_at or tables.now()
    run.versions = run.versions or versions
    if length > run.length_at_claim:
        run.crashes = 0
    run.length_at_claim, run.on_trial = length, 0
    noted = any(key[0] == run.run for key in tables.attempt)
    few = tables.inbox[run.run].values() if unread <= MESSAGES_MAX else ()
    messages = tuple(each for each in few if each.seq > run.read_seq)
    return _claimed(tables, run, length, noted, run.last_seq, messages)


def _claimed(tables: Tables, run: Run, *found: Any) -> Claimed:
    args, _ = tables.input[run.run]
    return Claimed(run.run, run.id, run.workflow, run.queue, run.claim, run.seed, run.versions,
                   args, run.crashes, run.parent_run, run.origins, *found)  # fmt: skip


def refuse_connection(connection: object) -> None:
    """A transaction of Postgres cannot be joined from here.

    Raises:
        InvalidCall: a connection was given.
    """
    if connection is not None:
        raise InvalidCall(
            "connection=... joins a transaction of Postgres, and this test runs on the store in "
            "memory. Give the test a Postgres: the fixture durable_database_url, or "
            "Environment(url)."
        )


def _moment(at: datetime | None, after: timedelta | None, since: datetime) -> datetime | None:
    return at if after is None else since + after


def is_overdue(run: Run, moment: datetime) -> bool:
    return run.deadline is not None and run.deadline <= moment and run.closed_at is None


def _absent(key: int) -> Outcome:
    return Outcome(key, "", "", "absent", None, None, None)


def _may_follow(old: Run, if_exists: str) -> bool:
    """Whether the policy lets another run take the id."""
    if if_exists == "after_failure":
        return old.status in FAILURES
    return if_exists == "replace" or (if_exists == "after_close" and old.closed_at is not None)
