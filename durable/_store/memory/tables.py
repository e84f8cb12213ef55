"""The tables of ``schema.sql`` as dicts, and the one lock that makes each verb atomic.

Nobody here waits for anybody: a verb takes the lock, does all it does and lets go. So there
are no races to see, and nothing is ever left out for a stranger's lock; what two sessions do
to each other is shown on Postgres alone.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from types import CoroutineType
from typing import Any, Concatenate, NamedTuple, ParamSpec, Protocol, TypeVar
from uuid import UUID

from ...errors import LeaseLost
from ..protocol import Hint, Item, JournalRow, Message, Note, Recorded, Registration, Reply

P = ParamSpec("P")
R = TypeVar("R")

LIVELY = frozenset({"pending", "running", "waiting", "unserved"})  # a message makes these due
CLAIMABLE = frozenset({"pending", "waiting"})


@dataclass(slots=True, kw_only=True)
class Run:
    """A row of ``run``; see there for each column."""

    run: int
    id: str
    workflow: str
    queue: str
    priority: int
    status: str
    seed: bytes
    created_at: datetime
    current: bool = True
    previous: int | None = None
    due_at: datetime | None = None
    deadline: datetime | None = None
    worker: UUID | None = None
    claim: int = 0
    last_seq: int = 0
    read_seq: int = 0
    versions: str | None = None
    waits_for: str | None = None
    waits_at: str | None = None
    length_at_claim: int = 0
    on_trial: int = 0
    crashes: int = 0
    report: str | None = None
    build: str | None = None
    unfit: tuple[str, ...] = ()
    stuck_at: datetime | None = None
    paused_at: datetime | None = None
    started_at: datetime | None = None
    closed_at: datetime | None = None
    parent_run: int | None = None
    parent_op: int | None = None
    on_parent_close: str | None = None
    depth: int = 0
    origins: str | None = None

    def make_due(self, moment: datetime) -> None:
        self.due_at = moment if self.due_at is None else min(self.due_at, moment)


@dataclass(slots=True)
class Result:
    """A row of ``result``."""

    result: bytes | None
    failure: bytes | None
    failed_at: int | None
    next_op: int
    reason: str | None = None
    heir: int | None = None


@dataclass(slots=True)
class Worker:
    """A row of ``worker``. ``holds_lock``: its heartbeat's connection stands."""

    registration: Registration
    started_at: datetime
    beat_at: datetime
    state: str = "live"
    holds_lock: bool = True

    def serves(self, run: Run) -> bool:
        served = self.registration
        suits = run.build in (None, served.build) and served.build not in run.unfit
        is_live = self.state == "live" and suits
        return is_live and run.workflow in served.workflows and run.queue in served.queues


class StreamRow(NamedTuple):
    """A row of ``stream``: what a reader gets, and the key of its commit."""

    item: Item
    key: bytes


def _machine() -> datetime:
    return datetime.now(UTC)


class Tables:
    """One database. ``now`` is its ``durable.now()``; leases go by the clock of its machine."""

    def __init__(
        self, now: Callable[[], datetime] = _machine, machine: Callable[[], datetime] = _machine
    ) -> None:
        self.now = now
        self.machine = machine
        self.lock = threading.RLock()  # heartbeats come from threads
        self.up_since = machine()
        self.run: dict[int, Run] = {}
        self.input: dict[int, tuple[bytes, bytes]] = {}  # arguments and their digest
        self.result: dict[int, Result] = {}
        self.journal: defaultdict[int, list[JournalRow]] = defaultdict(list)
        self.voids: dict[tuple[int, int], int] = {}
        self.inbox: defaultdict[int, dict[str, Message]] = defaultdict(dict)  # by sender's key
        self.outcome: dict[tuple[int, int], Recorded] = {}
        self.attempt: dict[tuple[int, int], tuple[UUID, Note]] = {}
        self.answer: dict[tuple[int, int], Reply] = {}
        self.state: dict[tuple[int, str], tuple[int, bytes]] = {}  # version and value
        self.stream: defaultdict[tuple[int, str], list[StreamRow]] = defaultdict(list)
        self.worker: dict[UUID, Worker] = {}
        self.listeners: dict[Hint, dict[Any, Callable[[], object]]] = {hint: {} for hint in Hint}
        self.farewell: dict[int, int] = {}
        self.children: defaultdict[int, set[int]] = defaultdict(set)  # the index run_child
        self._named: dict[str, int] = {}  # the index run_id
        self._keys = 0

    def next_key(self) -> int:
        self._keys += 1
        return self._keys

    def insert(self, run: Run, input: bytes, digest: bytes) -> None:
        """Nothing if its key or its id is taken."""
        if run.run not in self.run and run.id not in self._named:
            self.run[run.run] = run
            self.input[run.run] = (input, digest)
            self._named[run.id] = run.run
            if run.parent_run is not None:
                self.children[run.parent_run].add(run.run)

    def named(self, id: str) -> Run | None:
        """The run that the id names now."""
        key = self._named.get(id)
        return None if key is None else self.run[key]

    def retire(self, run: Run) -> None:
        """The id is free for another run."""
        run.current = False
        del self._named[run.id]

    def delete(self, run: Run) -> None:
        """With all that belongs to it."""
        key = run.run
        if run.current:
            self.retire(run)
        for table in (self.run, self.input, self.result, self.journal, self.inbox):
            table.pop(key, None)
        self.farewell.pop(key, None)
        if run.parent_run is not None:
            self.children[run.parent_run].discard(key)
        of_runs: list[dict[Any, Any]] = [self.voids, self.outcome, self.attempt, self.answer,
                                         self.state, self.stream]  # fmt: skip
        for pairs in of_runs:
            for pair in [pair for pair in pairs if pair[0] == key]:
                del pairs[pair]

    def owned_by(self, worker: UUID) -> Iterator[Run]:
        return (each for each in self.run.values() if each.worker == worker)

    def fence(self, worker: UUID) -> Worker:
        """
        Raises:
            LeaseLost: the worker was declared dead.
        """
        row = self.worker.get(worker)
        if row is None or row.state != "live":
            raise LeaseLost(f"worker {worker} is not alive any more")
        return row

    def accept(
        self, run: Run, kind: str, name: str | None, key: str, payload: bytes | None, op: int | None
    ) -> None:
        """A message into an inbox, once per key."""
        inbox = self.inbox[run.run]
        if key in inbox:
            return
        moment = self.now()
        run.last_seq += 1
        inbox[key] = Message(run.run, run.last_seq, kind, name, payload, moment, op)
        # Only a cancel lets a delayed run begin before its time.
        if run.status in LIVELY and (run.started_at is not None or kind == "cancel"):
            run.make_due(moment)

    def inherit(self, heir: int, old: int, *, continues: bool) -> None:
        """As in publish.sql."""
        for run, name in [each for each in self.stream if each[0] == old]:
            last = self.stream[run, name][-1].item.seq
            mark = StreamRow(Item(last, None, None, None), b"")
            self.stream.setdefault((heir, name), [mark])
        for run, name in [each for each in self.state if each[0] == old and continues]:
            self.state[heir, name] = self.state[run, name]

    def close(self, run: Run, status: str, result: Result) -> None:
        run.status, run.closed_at = status, self.now()
        run.worker = run.due_at = run.waits_for = run.waits_at = None
        self.result[run.run] = result


class _Noun(Protocol):
    _tables: Tables


N = TypeVar("N", bound=_Noun)


def verb(
    method: Callable[Concatenate[N, P], R],
) -> Callable[Concatenate[N, P], CoroutineType[Any, Any, R]]:
    """An atomic verb. Others get their turn before it, as while a statement is on its way."""

    @functools.wraps(method)
    async def atomic(self: N, *args: P.args, **kwargs: P.kwargs) -> R:
        await asyncio.sleep(0)
        with self._tables.lock:
            return method(self, *args, **kwargs)

    return atomic  # type: ignore[return-value]  # mypy wants `self` to be without a name
