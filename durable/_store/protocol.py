"""What the runtime and the client know about the store: rows as values; ``verbs.py`` has its
verbs. All times are aware datetimes; all payloads are opaque bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

import msgspec

from ..errors import StoreError, StoreUnavailable
from .family import Heir, NewChild


class JournalRow(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One event as it stands in the journal. Many are made a second: without work for the
    garbage collector, and written as JSON in C."""

    run: int
    position: int
    kind: str
    at: datetime
    key: bytes  # 16 random bytes of the turn that was sent; equality after an unknown commit
    op: int | None = None
    name: str | None = None
    input: bytes | None = None
    result: bytes | None = None
    failure: bytes | None = None
    site: str | None = None
    digest: bytes | None = None
    seq: int | None = None  # of the inbox message that this event is, if it is one
    effects: bytes | None = None  # digest of what its turn sends; None if nothing
    patches: list[str] | None = None  # that its turn has asked for


class Birth(NamedTuple):
    """A run that is born owned: its row is inserted by the commit of its first turn."""

    id: str
    explicit_id: bool  # False: a random id, which needs no lock
    workflow: str
    queue: str
    priority: int
    seed: bytes  # 16 random bytes
    versions: str  # loop semantics, Python minor, anyio: what replay depends on
    input: bytes
    input_digest: bytes
    deadline: datetime | None = None


class Close(NamedTuple):
    """The run ends with this commit."""

    status: str  # completed, failed, cancelled, continued
    result: bytes | None
    failure: bytes | None
    failed_at: int | None  # position of the journaled failure that the run failed with
    next_op: int  # numbering after a retry goes on from here
    reason: str | None = None  # of a cancelled run: by what
    parent: int | None = None  # the run that waits for it
    has_children: bool = False  # it has begun some


class Park(NamedTuple):
    """The run gives up its worker, if it has seen all its messages (next_seq = seen)."""

    due_at: datetime | None  # when it must be claimed again; None: only by a message
    seen: int
    waits_for: str | None  # in words: "sleep until 2026-01-01 …"
    waits_at: str | None  # file:line


class Delivery(NamedTuple):
    """A message to a run, in the commit of its sender's turn."""

    target: int | None  # the run; or None, and
    kind: str
    name: str | None
    key: str  # unique per receiver: a repeated send is delivered once
    payload: bytes | None
    op: int | None = None  # the sender's op, which a refusal answers
    to: str | None = None  # the id that names it
    child: int | None = None  # or the sender's op that has begun it


class Reply(NamedTuple):
    """The answer of an update, in the commit of the turn that gave it."""

    seq: int  # of the update
    status: str  # completed, failed, rejected
    result: bytes | None
    failure: bytes | None


class Publish(NamedTuple):
    """What a run shows to others, in the order of being published."""

    kind: str  # "state", whose last value alone counts, or "stream"
    name: str
    value: bytes | None  # None: a stream's mark, that a new attempt of an activity begins
    key: bytes  # of the commit: the same for all that a run publishes in it
    op: int | None = None  # of the activity that published it; None: the workflow itself
    attempt: int | None = None


class Note(NamedTuple):
    """An activity under way, for people and for the run's next owner."""

    op: int
    name: str
    digest: bytes  # of its input
    attempt: int  # from 1: the one under way, or the last; 0: none has begun
    since: datetime  # the first attempt began
    began_at: datetime  # this one did
    failure: bytes | None
    next_at: datetime | None  # the next attempt begins; None while one is under way
    details: bytes | None  # of the latest heartbeat
    nth: int = 0  # of its worker's notes: one that comes late does not replace a newer one


class Effects(msgspec.Struct, gc=False):
    """What turns want written beside their rows."""

    birth: Birth | None = None
    close: Close | None = None
    park: Park | None = None
    children: tuple[NewChild, ...] = ()
    heir: Heir | None = None  # with a close
    deliveries: tuple[Delivery, ...] = ()
    replies: tuple[Reply, ...] = ()
    publishes: tuple[Publish, ...] = ()
    notes: tuple[Note, ...] = ()
    ended: tuple[int, ...] = ()  # ops whose notes are to go


class Advance(msgspec.Struct, gc=False):
    """What the turns of one run since its last commit want written: all or nothing.

    ``rows`` have contiguous positions; they may be empty to park, or for notes alone. The key of
    the row they follow tells whether that one still stands: positions and claims alone repeat
    after a failover that lost some."""

    run: int
    claim: int
    rows: list[JournalRow]
    after: bytes | None = None  # key of the row that must be the journal's last; None: it is empty
    effects: Effects | None = None  # most have none
    size: int = 0  # bytes of its payloads


class Verdict(StrEnum):
    """What became of one advance."""

    DONE = "done"  # written now, or by an earlier send with the same keys; still ours (or closed)
    PARKED = "parked"  # written, and no longer ours
    LEFT_OUT = "left_out"  # a row or an id was locked by a stranger: send it again, aside
    LOST = "lost"  # not ours any more, or another row stands there: drop and reload
    TAKEN = "taken"  # births only: the id names another current run


# Owners that died with a run before it is doubtful; `claim.sql` and an index say so too.
DOUBTFUL_FROM = 2


class Claimed(NamedTuple):
    run: int
    id: str
    workflow: str
    queue: str
    claim: int
    seed: bytes
    versions: str | None
    input: bytes
    crashes: int  # owners in a row that died with it while it did not move
    parent: int | None = None
    origins: str | None = None  # whose its first turns were
    length: int | None = None  # of its journal, when it was claimed; None: not known
    noted: bool = True  # whether attempts may have been noted that have not ended
    last_seq: int | None = None  # of its newest message then
    messages: tuple[Message, ...] = ()  # some of the latest

    @property
    def is_doubtful(self) -> bool:
        """Whether it may be what killed them."""
        return self.crashes >= DOUBTFUL_FROM

    def unread(self, seen: int) -> list[Message] | None:
        """Its messages after ``seen``; None if not all of them have come along."""
        new = [each for each in self.messages if each.seq > seen]
        return new if self.last_seq == seen + len(new) else None


class Message(NamedTuple):
    """One message of an inbox, in the order in which it was accepted."""

    run: int
    seq: int
    kind: str
    name: str | None
    payload: bytes | None
    at: datetime
    op: int | None = None  # the receiver's op that it answers


class Taker(NamedTuple):  # a worker that sends a message, and would go on with its run
    worker: UUID
    versions: str
    give: Callable[[Claimed], None]  # called as soon as it has been claimed


class Delivered(NamedTuple):
    """What became of a message that was sent by id."""

    run: int | None
    state: str  # accepted, closed, absent
    status: str | None  # of the run
    is_taken: bool = False  # and claimed for who sent it


class Hint(StrEnum):
    """What whoever listens is told, by the channel of Postgres. Never needed: they poll."""

    DUE = "durable"  # a run may be
    ENDED = "durable_ends"  # a run has
    PUBLISHED = "durable_published"  # a run has shown something, or answered


class Letter(NamedTuple):
    """A message as its sender writes it."""

    kind: str
    name: str | None
    key: str  # accepted once per receiver
    payload: bytes | None


class Answer(NamedTuple):
    """What became of an update, as far as that is settled."""

    run: int
    key: str
    # Its own, if `result` or `failure` is there; else of the run, which will not answer: closed in
    # some way, stuck, absent, or unknown if it has no such message.
    status: str
    result: bytes | None
    failure: bytes | None
    report: str | None  # why it is stuck
    successor: int | None  # of a run that has not answered and went on as a new one


class Watched(NamedTuple):
    """What a reader has of a state or a stream, and so what is new to it."""

    run: int
    kind: str  # state, stream
    name: str
    after: int  # of a state the version, of a stream the offset


class Item(NamedTuple):
    """A value that a run shows; None in the place of a stream's mark."""

    seq: int
    value: bytes | None
    op: int | None
    attempt: int | None


class News(NamedTuple):
    """What is new to a reader."""

    watched: Watched
    items: list[Item]  # a page of them
    status: str | None  # of the run; None: it is gone


class Answered(NamedTuple):
    """What became of an answer to a promise."""

    run: int | None
    id: str | None  # of the run
    state: str  # accepted; answered (before); closed (the run); forged, unfit (the token)
    status: str | None  # of the run
    expected: str | None  # kind of answer, as the token says


class HandBack(NamedTuple):
    """An owned run goes back to be claimed from ``due_at`` on; at once if it has mail."""

    run: int
    claim: int
    due_at: datetime | None  # None: only a message brings it back
    waits_for: str | None
    waits_at: str | None


class Started(NamedTuple):
    """The answer to a start: which run the id names now."""

    run: int
    created: bool
    status: str
    workflow: str
    input: bytes | None  # of the run that was there, if its digest is another; None if created


class Recorded(NamedTuple):
    """The outcome of a ``ctx.transaction``, as its own commit leaves it."""

    name: str
    digest: bytes | None
    result: bytes | None


class Outcome(NamedTuple):
    """How a run ended, or how it stands."""

    run: int
    id: str
    workflow: str
    status: str
    result: bytes | None
    failure: bytes | None
    report: str | None  # why it is stuck
    reason: str | None = None  # why it was cancelled, or closed from outside
    heir: int | None = None  # the run that it goes on as


class Swept(NamedTuple):
    """What a sweep has moved: runs that nobody serves any more, and those served again."""

    set_aside: int
    brought_back: int


class Beat(NamedTuple):
    """What a heartbeat learns, in its one statement."""

    alive: bool  # False: somebody declared this worker dead
    now: datetime  # the database's clock
    due_since: datetime | None  # of runs that this worker could claim, the longest due
    owned: bool  # runs are this worker's
    mail: bool  # one of them has an unread message
    overdue: bool  # a deadline has passed
    next_due: datetime | None  # when some parked or delayed run of its queues is due
    suspects: bool  # another worker's heartbeat is late
    aside: bool  # runs are due that nobody may serve, or wait for code that this worker has
    farewell: bool = False  # a run has ended whose children are to be told

    @property
    def due(self) -> bool:
        return self.due_since is not None

    @property
    def due_lag(self) -> float:
        """Seconds that the longest due run has waited; 0 if none is due."""
        return (self.now - self.due_since).total_seconds() if self.due_since else 0.0


class Suspect(NamedTuple):
    """Another worker, as a judge needs it."""

    worker: UUID
    name: str
    state: str  # live; dead: its takeover was begun and is to be finished
    host: str
    pid: int
    pid_started: int
    beat_at: datetime
    silent_for: float  # seconds
    lease: float
    lock_is_free: bool  # its heartbeat connection is gone; never True where that is unknown
    server_up_for: float


class Registration(NamedTuple):
    """What a worker tells about itself when it begins."""

    worker: UUID
    name: str  # "host:pid", for people
    host: str  # boot id and pid namespace; "" where unknown
    pid: int
    pid_started: int  # start time of the process in kernel ticks; 0 where unknown
    workflows: tuple[str, ...]
    queues: tuple[str, ...]
    build: str
    lease_seconds: float


class Unavailable(StoreUnavailable):
    """The store did not answer, or not in time: what was asked may or may not have happened."""


class Unwritable(StoreError):
    """The store refused the values themselves; nothing was written, nor ever will be."""
