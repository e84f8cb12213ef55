"""Moments and lengths of time that callers give, checked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from .._core.retries import Duration, seconds
from ..errors import InvalidCall


class Times(NamedTuple):
    """When a run begins, and when it is cancelled: at a time, or so long from now. What counts from
    when it begins is its deadline."""

    begins_at: datetime | None = None
    begins_after: timedelta | None = None
    ends_at: datetime | None = None
    ends_after: timedelta | None = None


def times(options: Mapping[str, Any], now: datetime) -> Times:
    """As ``delay``, ``at`` and ``deadline`` say.

    Raises:
        InvalidCall: they cannot be.
    """
    delay, at, deadline = options.get("delay"), options.get("at"), options.get("deadline")
    begins_at = begins_after = ends_at = ends_after = None
    if at is not None and delay is not None:
        raise InvalidCall("delay= and at= both say when the run begins: give one of them.")
    begins = now
    if at is not None:
        begins = begins_at = aware(at, "at")
    elif delay is not None:
        begins_after = length(delay, "delay", begins)
        begins += begins_after
    if isinstance(deadline, datetime):
        ends_at = aware(deadline, "deadline")
        if begins_at is not None and ends_at <= begins_at:
            raise InvalidCall(f"deadline={ends_at} is not after at={begins_at}.")
    elif deadline is not None:
        ends_after = length(deadline, "deadline", begins)
    return Times(begins_at, begins_after, ends_at, ends_after)


def length(given: Duration, what: str, since: datetime) -> timedelta:
    """
    Raises:
        InvalidCall: it is no length of time, or leads beyond the calendar.
    """
    try:
        length = timedelta(seconds=seconds(given, what="it"))
        _ = since + length
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidCall(f"{what}={given!r:.100} cannot be: {error}.") from None
    return length


def aware(when: datetime, what: str) -> datetime:
    """
    Raises:
        InvalidCall: ``when`` has no time zone, or is beyond the calendar.
    """
    try:
        if when.utcoffset() is not None:
            return when.astimezone(UTC)
    except (OverflowError, AttributeError):  # beyond the calendar; or no datetime at all
        pass
    raise InvalidCall(
        f"{what}={when!r} is not a moment: a time without a zone means another one on each "
        "machine. Give it one, as in datetime(2026, 1, 1, tzinfo=UTC)."
    )
