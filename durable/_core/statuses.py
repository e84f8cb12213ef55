"""Run statuses and their legal moves, as a table.

The ``check`` on ``run.status`` in ``schema.sql`` repeats the names; a test compares the two.
"""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """Where a run stands; what to do about each is in ``docs/operations.md``."""

    PENDING = "pending"  # due, or delayed: waits for a worker
    RUNNING = "running"  # a worker owns it
    WAITING = "waiting"  # parked until a timer or a message is due
    STUCK = "stuck"  # no code here can continue it
    UNSERVED = "unserved"  # no live worker knows its workflow
    PAUSED = "paused"  # somebody asked it to hold
    COMPLETED = "completed"  # the function returned
    FAILED = "failed"  # the function raised
    CANCELLED = "cancelled"  # was asked to stop, and did
    TERMINATED = "terminated"  # was not asked
    CONTINUED = "continued"  # went on as a new run, with a fresh journal


_OUTSIDE = frozenset({Status.TERMINATED})

NEXT: dict[Status, frozenset[Status]] = {
    Status.PENDING: _OUTSIDE | {Status.RUNNING, Status.UNSERVED, Status.PAUSED},
    Status.RUNNING: frozenset(Status) - {Status.RUNNING, Status.UNSERVED},
    Status.WAITING: _OUTSIDE | {Status.RUNNING, Status.UNSERVED, Status.PAUSED},
    Status.STUCK: _OUTSIDE | {Status.PENDING, Status.PAUSED},
    Status.UNSERVED: _OUTSIDE | {Status.PENDING, Status.RUNNING, Status.PAUSED},
    Status.PAUSED: _OUTSIDE | {Status.PENDING},
    Status.COMPLETED: frozenset(),
    Status.FAILED: frozenset({Status.PENDING}),  # retry
    Status.CANCELLED: frozenset(),
    Status.TERMINATED: frozenset(),
    Status.CONTINUED: frozenset(),
}

CLOSED = frozenset(
    {Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.TERMINATED, Status.CONTINUED}
)
OPEN = frozenset(Status) - CLOSED


def may_become(old: Status, new: Status) -> bool:
    """Whether the table allows the move."""
    return new in NEXT[old]
