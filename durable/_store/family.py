"""Runs to be begun: by a client, as a child, or as what another run goes on as."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple


class NewRun(NamedTuple):
    """A run to be started, if its id is free or ``if_exists`` allows it. Times are times, or
    lengths from now; the deadline's is counted from when the run may begin."""

    id: str
    workflow: str
    queue: str
    priority: int
    input: bytes
    input_digest: bytes
    if_exists: str
    explicit_id: bool  # False: a random id, which needs no lock
    seed: bytes  # tells a start that is sent again from another one
    begins_at: datetime | None = None
    begins_after: timedelta | None = None
    ends_at: datetime | None = None
    ends_after: timedelta | None = None
    build: str | None = None  # whose workers alone may take it


class NewChild(NamedTuple):
    """A run that is started by the commit of its parent's turn. The parent and the op name it: it
    is started once."""

    op: int
    id: str
    explicit_id: bool  # given by the code
    workflow: str
    queue: str | None  # None: its parent's; likewise
    priority: int | None
    seed: bytes
    input: bytes
    input_digest: bytes
    begins_at: datetime | None
    deadline: datetime | None
    on_parent_close: str  # cancel, terminate, abandon


class Heir(NamedTuple):
    """The run that a run goes on as. It gets the messages that nobody has received: of those that
    were read, the ones at these positions of the journal."""

    seed: bytes
    input: bytes
    unread: tuple[int, ...]
