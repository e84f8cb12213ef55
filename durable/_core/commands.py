"""What workflow code asks for: imperative names, immutable, no behaviour.

``Run``, ``Wait`` and ``Promise`` stay open until an event answers their ``op``, ``Receive`` until
a message comes; ``Drop`` takes one of them back. ``Send``, ``Publish``, ``Reply`` and ``Spawn`` are
effects: they are written with the turn that asked for them, or not at all. A child answers when it
ends; of the others only a refusal is ever told. ``Patched`` is noted in the row of the turn itself.
``Complete``, ``Fail``, ``Stop`` and ``Continue`` end the run and come last. ``Say`` is a log line,
which may be let out only when the turn that said it is written.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeAlias

import msgspec


class Run(msgspec.Struct, frozen=True, gc=False):
    """Run an activity, or a transaction. ``call`` is the shell's: the core only carries it.

    One is made per step, so it is made in C; the same goes for its answer."""

    op: int
    kind: str  # "activity" or "transaction"
    name: str
    digest: bytes
    site: str  # file:line of the workflow's code
    call: Any


class Wait(NamedTuple):
    """Answer at ``due``, not earlier."""

    op: int
    due: datetime
    site: str

    @property
    def digest(self) -> bytes:
        """What a recorded timer is compared by: its due time in microseconds."""
        return micros(self.due).to_bytes(8, "big", signed=True)


class Receive(NamedTuple):
    """Take the next message of this name. Asks nothing of the shell: all messages are fed."""

    op: int
    name: str
    site: str


class Promise(NamedTuple):
    """Somebody outside will answer. ``expected`` is the shell's, as ``call`` is."""

    op: int
    name: str
    site: str
    expected: Any

    @property
    def kind(self) -> str:
        return "promise"

    @property
    def digest(self) -> bytes:
        """It is asked for with nothing."""
        return b""


class Send(NamedTuple):
    """A message to another run. ``payload`` is the shell's: the core only carries it."""

    op: int
    to: str  # its id
    kind: str
    name: str
    digest: bytes
    site: str
    payload: Any
    child: int | None = None  # the op of the child that it goes to, whatever its id


class Spawn(NamedTuple):
    """Start a child run. An effect, and open until the child has ended."""

    op: int
    kind: str  # "child"
    name: str  # of its workflow
    to: str  # the id that the code has given it; "" if none
    digest: bytes
    site: str
    call: Any
    is_kept: bool  # by a handle: not everybody waits for what they have started


class Publish(NamedTuple):
    """Show a value to whoever looks. The core only carries it."""

    op: int
    kind: str  # "state" or "stream"
    name: str
    site: str
    value: Any

    @property
    def to(self) -> str:
        return ""

    @property
    def digest(self) -> bytes:
        """What a replay shows is thrown away, so it may be put in other words."""
        return b""


class Reply(NamedTuple):
    """The answer of an update. ``payload`` is the shell's."""

    op: int
    seq: int  # of the update
    kind: str  # completed, failed, rejected
    name: str
    digest: bytes
    site: str
    payload: Any

    @property
    def to(self) -> str:
        """To whoever has sent it."""
        return str(self.seq)


class Patched(NamedTuple):
    """The row of this turn carries the patch's id."""

    id: str


class Drop(NamedTuple):
    """Nobody waits for this op any more."""

    op: int


class Say(NamedTuple):
    level: int
    message: str
    args: tuple[Any, ...]
    more: dict[str, Any]  # what else a logger takes, by its name there


class Complete(NamedTuple):
    value: Any


class Fail(NamedTuple):
    """``failed_at`` is the position of the recorded failure that the error rests on;
    None if the code raised by itself."""

    error: BaseException
    failed_at: int | None


class Stop(NamedTuple):
    """The run was asked to cancel, and did."""

    reason: str | None


class Continue(NamedTuple):
    """The run goes on as a new one. ``unread`` are the positions of messages that it has been fed
    and nobody has received."""

    call: Any
    unread: tuple[int, ...]


Open: TypeAlias = Run | Wait | Receive | Promise | Spawn
Close: TypeAlias = Complete | Fail | Stop | Continue
Effect: TypeAlias = Send | Publish | Reply | Spawn
Request: TypeAlias = Open | Drop | Say
Command: TypeAlias = Request | Effect | Patched | Close

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(moment: datetime) -> int:
    """Whole microseconds since 1970, exactly (floats would round)."""
    delta = moment - EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
