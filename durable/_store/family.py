"""Runs that come of others: children, and what a run goes on as."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple


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
    input_digest: bytes
    unread: tuple[int, ...]
