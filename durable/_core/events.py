"""What has happened to a run: one immutable fact each, in the past tense.

Every event but ``Voided`` makes the workflow move. ``position`` is its place in the
journal, ``at`` the only time workflow code can see. An event that answers something names
the ``op`` it answers, and carries what was asked when it was recorded, so that replay can
tell whether the code still asks for the same.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

import msgspec


class Started(NamedTuple):
    """The first event of every journal."""

    position: int
    at: datetime


class Answered(msgspec.Struct, frozen=True):
    """An activity, a transaction or a child has returned ``value``."""

    position: int
    at: datetime
    op: int
    kind: str
    name: str
    digest: bytes
    value: Any


class Failed(NamedTuple):
    """An activity, a transaction or a child has failed for good with ``error``."""

    position: int
    at: datetime
    op: int
    kind: str
    name: str
    digest: bytes
    error: BaseException


class TimerFired(NamedTuple):
    position: int
    at: datetime
    op: int
    digest: bytes


class CancelRequested(NamedTuple):
    """``reason``: why, in words, unless somebody simply asked."""

    position: int
    at: datetime
    reason: str | None = None


class Received(NamedTuple):
    """A message has come; ``value`` is opaque, and read by whoever receives it."""

    position: int
    at: datetime
    kind: str  # "signal"
    name: str
    value: Any


class Asked(NamedTuple):
    """An update has come. ``accepted``: what its check has said; None if nobody knows yet."""

    position: int
    at: datetime
    seq: int  # of the message, which its answer names
    name: str
    value: Any
    accepted: bool | None


class Refused(NamedTuple):
    """What the code asked for by ``op`` was not done: there was no such run, it was closed ...
    ``error`` is for whoever waits for that op."""

    position: int
    at: datetime
    op: int
    reason: str
    error: BaseException | None = None


class Voided(NamedTuple):
    """A retry took an event back. Its op is open again, and numbering goes on at
    ``next_op``, so that no number ever stands for two things."""

    position: int
    next_op: int


News: TypeAlias = Started | Received | Asked | CancelRequested | Refused
Event: TypeAlias = Answered | Failed | TimerFired | Voided | News
