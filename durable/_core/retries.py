"""How often to try again, and when: a policy, and a pure verdict on one failure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

Duration: TypeAlias = float | int | timedelta


def seconds(duration: Duration, *, what: str) -> float:
    """A duration as seconds; refuses what no clock can wait for.

    Raises:
        ValueError: negative, infinite or not a number.
        TypeError: a text.
    """
    if isinstance(duration, str):
        raise TypeError(f"{what} is {duration!r}; it must be seconds or a timedelta")
    length = duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
    if not 0 <= length < float("inf"):
        raise ValueError(f"{what} is {duration!r}; it must be a finite time, not negative")
    return length


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """When a failed attempt is followed by another.

    ``attempts`` counts all tries, the first included; None tries for ever. The n-th pause is
    ``delay * growth ** (n - 1)`` seconds, at most ``delay_max``, shortened by up to half by
    chance so that what failed together does not come back together. ``retry_if`` may
    refuse: it gets the exception and answers whether another attempt makes sense.

        @activity(retry=Retry(attempts=10, delay=0.5, delay_max=30))
    """

    attempts: int | None = 5
    delay: Duration = 1
    growth: float = 2
    delay_max: Duration = 60
    retry_if: Callable[[Exception], bool] | None = None

    def __post_init__(self) -> None:
        if self.attempts is not None and self.attempts < 1:
            raise ValueError(f"attempts={self.attempts}: there must be at least one")
        if self.growth < 1:
            raise ValueError(f"growth={self.growth}: pauses must not shrink; use 1 or more")
        seconds(self.delay, what="delay")
        seconds(self.delay_max, what="delay_max")


# A pause longer than this is a pause in name only; it also keeps growth ** n finite.
_EXPONENT_MAX = 64


def verdict(
    policy: Retry, attempt: int, *, retryable: bool, chance: float, left: float | None = None
) -> float | None:
    """Seconds to pause after attempt number ``attempt`` (from 1) has failed; None: give up.

    ``chance`` in [0, 1) is the jitter: the pause is between half and all of its length.
    ``left`` is what remains of the time for all attempts, in seconds; None: it has no end.
    """
    if not retryable or (policy.attempts is not None and attempt >= policy.attempts):
        return None
    delay = seconds(policy.delay, what="delay")
    grown = delay * policy.growth ** min(attempt - 1, _EXPONENT_MAX)
    pause = min(grown, seconds(policy.delay_max, what="delay_max")) * (1 - chance / 2)
    return pause if left is None or pause < left else None
