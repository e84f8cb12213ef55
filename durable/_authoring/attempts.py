"""What an activity may know about itself: ``durable.attempt()``."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from contextvars import ContextVar
from datetime import datetime

from ..errors import InvalidCall


class Attempt:
    """One try of one activity.

    Attributes:
        id: the caller's id of the run.
        activity: the name of the activity.
        number: from 1; counts the tries of this process, so a takeover begins anew.
        deadline: when ``timeout`` ends this attempt, or None.
    """

    __slots__ = ("_cancelled", "_key", "activity", "deadline", "id", "number")

    def __init__(
        self,
        *,
        id: str,
        activity: str,
        number: int,
        deadline: datetime | None,
        key: Callable[[], str],
        cancelled: Callable[[], bool],
    ) -> None:
        self.id = id
        self.activity = activity
        self.number = number
        self.deadline = deadline
        self._key = key
        self._cancelled = cancelled

    @property
    def idempotency_key(self) -> str:
        """A key for the outside world: the same for every attempt of this call, in every
        process, after crashes and retries; different for every other call."""
        return self._key()

    @property
    def cancelled(self) -> bool:
        """Whether the workflow no longer waits for this. Threads must ask: they cannot be
        interrupted."""
        return self._cancelled()


# What makes the attempt when somebody asks for it: most activities never do.
_current: ContextVar[Callable[[], Attempt]] = ContextVar("durable_attempt")


def attempt() -> Attempt:
    """The attempt that is running here, in an activity or in what it calls.

    Raises:
        InvalidCall: not inside an activity.
    """
    try:
        return _current.get()()
    except LookupError:
        raise InvalidCall(
            "durable.attempt() was called outside of an activity: only a function that a worker "
            "runs for `ctx.activity(...)` has an attempt."
        ) from None


def enter(current: Callable[[], Attempt]) -> None:
    """Make ``current()`` the attempt of this task and the threads it starts."""
    _current.set(current)


def idempotency_key(seed: bytes, activity: str, digest: bytes, nth: int) -> str:
    """HMAC of the run's random seed over activity, input and how many such calls came before:
    stable when code is reordered, and unique across databases that share a provider."""
    message = activity.encode() + b"\0" + digest + nth.to_bytes(8, "big")
    return hmac.new(seed, message, hashlib.sha256).hexdigest()[:32]
