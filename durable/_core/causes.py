"""Which recorded failure an error rests on: what a retry takes back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")

# A run fails with one of its latest failures, if with any; a poller may see thousands.
FAILURES_KEPT = 1_000


def latest(kept: tuple[T, ...], item: T) -> tuple[T, ...]:
    """The latest ``FAILURES_KEPT``, with one more. Most runs have none, which takes no memory."""
    return *kept[1 - FAILURES_KEPT :], item


def position_of(
    error: BaseException | None,
    failures: Iterable[tuple[BaseException, int]],
    seen: set[int] | None = None,
) -> int | None:
    """The position of the recorded failure that ``error`` is, or came from."""
    seen = set() if seen is None else seen
    if error is None or id(error) in seen:
        return None
    seen.add(id(error))
    for failure, position in failures:
        if failure is error:
            return position
    parts = [error.__cause__, error.__context__]
    if isinstance(error, BaseExceptionGroup):
        parts.extend(error.exceptions)
    positions = [position_of(part, failures, seen) for part in parts]
    return max((each for each in positions if each is not None), default=None)
