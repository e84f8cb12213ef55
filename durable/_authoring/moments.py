"""Moments and lengths of time that callers give, checked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from .._core.retries import Duration, seconds
from ..errors import InvalidCall


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
