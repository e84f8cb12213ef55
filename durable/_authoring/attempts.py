"""What an activity may know about itself: ``durable.attempt()``."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from .._codec import values
from ..errors import InvalidCall, PayloadTooLarge, shorten
from .channels import T
from .streams import Stream

# Written again and again: where one stands, not what one has.
DETAILS_BYTES_MAX = 64 * 1024


@dataclass(slots=True, eq=False, repr=False)
class Attempt:
    """One try of one activity.

    Attributes:
        id: the caller's id of the run.
        activity: the name of the activity.
        number: from 1. It goes on in another process where the database knows it: of
            attempts that ran for a second, were retried, or had their start recorded.
        deadline: when ``timeout`` or ``timeout_total`` ends this attempt, or None.
        may_have_run: whether an earlier attempt may have acted: True from the second on, and
            for what was under way when the run came from another process.
    """

    id: str
    activity: str
    number: int
    deadline: datetime | None
    may_have_run: bool
    _details: bytes | None
    _key: Callable[[], str]
    _cancelled: Callable[[], bool]
    _beat: Callable[[bytes | None], None]
    _publish: Callable[[str, bytes], None]

    @property
    def idempotency_key(self) -> str:
        """A key for the outside world: the same for every attempt of this call, in every
        process, after crashes and retries; different for every other call."""
        return self._key()

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for this attempt any more: it timed out, the workflow went on,
        or the worker stops. Threads must ask: they cannot be interrupted."""
        return self._cancelled()

    @property
    def details(self) -> Any:
        """What the latest heartbeat of this call left, by this attempt or an earlier one; None
        if none did. A process that is killed may take the last half second along."""
        return None if self._details is None else values.decode(self._details)

    def heartbeat(self, details: object = None) -> None:
        """Say that this attempt is alive, and how far it has come: the next attempt finds
        ``details``. Cheap, to be called at every step, from any thread; what is told is
        written at most twice a second. None leaves the details as they are.

        Raises:
            EncodeError, PayloadTooLarge: the details cannot be recorded, or take more than 64 KiB.

        Example:
            for n in range(durable.attempt().details or 0, len(pages)):
                fetch(pages[n])
                durable.attempt().heartbeat(n + 1)
        """
        self._beat(None if details is None else _encoded(details))

    def publish(self, stream: Stream[T], value: T, /) -> None:
        """Publish a value in a stream of the run, now: readers have it within a moment. A plain
        function, from any thread; what gathers is written together.

        At least once for each attempt. When another attempt begins, readers get a reset
        (``item.is_reset``): what the ones before have published does not count.

        Raises:
            InvalidCall: the value is not of the stream's type.
            EncodeError, PayloadTooLarge: it cannot be recorded, or takes more than 256 KiB.
            StoreUnavailable: 4 MiB of this attempt wait to be written.

        Example:
            async for token in model.stream(prompt):
                durable.attempt().publish(tokens, token)
        """
        if not isinstance(stream, Stream):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidCall(f"attempt().publish() takes a Stream, not {shorten(stream)}.")
        self._publish(stream.name, stream.encode(value))


def _encoded(details: object) -> bytes:
    payload = values.encode(details, path="the details of a heartbeat")
    if len(payload) > DETAILS_BYTES_MAX:
        raise PayloadTooLarge(
            what="the details of a heartbeat", size=len(payload), limit=DETAILS_BYTES_MAX
        )
    return payload


class Tried(Protocol):
    """What makes the attempt when somebody asks for it: most activities never do."""

    def attempt(self) -> Attempt: ...


_current: ContextVar[Tried] = ContextVar("durable_attempt")

# Make this the attempt of a task, and of the threads that it starts.
enter = _current.set


def attempt() -> Attempt:
    """The attempt that is running here, in an activity or in what it calls.

    Raises:
        InvalidCall: not inside an activity.
    """
    try:
        return _current.get().attempt()
    except LookupError:
        raise InvalidCall(
            "durable.attempt() was called outside of an activity: only a function that a worker "
            "runs for `ctx.activity(...)` has an attempt."
        ) from None


def idempotency_key(seed: bytes, activity: str, digest: bytes, nth: int) -> str:
    """HMAC of the run's random seed over activity, input and how many such calls came before:
    stable when code is reordered, and unique across databases that share a provider."""
    message = activity.encode() + b"\0" + digest + nth.to_bytes(8, "big")
    return hmac.new(seed, message, hashlib.sha256).hexdigest()[:32]
