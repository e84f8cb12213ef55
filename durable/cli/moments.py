"""Lengths and points of time as one types them: types of click's options."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGE = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)([smhdw])", re.ASCII)


def age(value: str) -> timedelta:
    """90s, 15m, 12h, 30d, 2w."""
    match = _AGE.fullmatch(value)
    if match is None:
        raise click.BadParameter(f"{value!r} is no length of time: write 90s, 15m, 12h, 30d or 2w.")
    return timedelta(**{_UNITS[match[2]]: float(match[1])})


def moment(value: str) -> datetime:
    """So long ago, or ISO 8601 with a zone."""
    try:
        when = datetime.now(UTC) - age(value) if _AGE.fullmatch(value) else _parsed(value)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{value!r} is no time: write an age (90s, 15m, 12h, 30d) or ISO 8601 with a zone "
            "(2026-01-01T00:00Z)."
        ) from None
    return when


def _parsed(value: str) -> datetime:
    when = datetime.fromisoformat(value)
    if when.utcoffset() is None:
        raise ValueError("it has no zone")
    return when
