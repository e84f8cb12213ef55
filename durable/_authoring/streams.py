"""What a run shows to others: ``State``, ``Stream``; and ``Promise``, which asks them."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from .._codec import values
from .._core.operation import Operation
from ..errors import PayloadTooLarge
from .channels import Channel, T

R = TypeVar("R")

# Of one value that is shown: it is for somebody's eyes, now. And of all that one turn shows.
SHOWN_BYTES_MAX = 256 * 1024
TURN_BYTES_MAX = 8 * 1024 * 1024


class _Shown(Channel):
    def encode(self, value: Any, nth: int = 0) -> bytes:
        if type(value) is self.types[nth] and (plain := values.encode_plain(value)) is not None:
            payload = plain  # comes back as the same
        else:
            payload = super().encode(value, nth)
        if len(payload) > SHOWN_BYTES_MAX:
            raise PayloadTooLarge(
                what=f"what is shown in {self.kind} {self.name!r}",
                size=len(payload),
                limit=SHOWN_BYTES_MAX,
            )
        return payload


class State(_Shown, Generic[T]):
    """What a run shows of itself: its last value counts, whoever looks, whenever. Values up to
    256 KiB.

    Example:
        progress = State[int]("progress")

        ctx.set(progress, 40)                                             # inside
        await app.handle("import-7").state(progress)                      # outside: 40
        async for percent in app.handle("import-7").changes(progress): ...
    """

    kind = "state"


class Stream(_Shown, Generic[T]):
    """Values that a run publishes, one after another, from its code or from inside an activity.
    They keep their order and their offsets, and are kept until the run is deleted. Values up to
    256 KiB.

    Example:
        tokens = Stream[str]("tokens")

        ctx.publish(tokens, "once")                                       # inside
        durable.attempt().publish(tokens, "a token")                      # in an activity
        async for item in app.handle("chat-7").stream(tokens, after=12): ...   # outside
    """

    kind = "stream"


class Promise(Operation[R]):
    """What ``ctx.promise`` returns: await it, and give its ``token`` to who is to answer."""

    __slots__ = ("token",)

    token: str
