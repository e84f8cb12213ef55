"""Values as hypothesis draws them: all that comes back as itself, without an annotation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

ZONES = [ZoneInfo(key) for key in ("Europe/Berlin", "America/St_Johns", "Asia/Kolkata", "UTC")]

BORDERS = [
    sign * 2**bits + beside
    for bits in (7, 8, 15, 16, 31, 32, 63, 64)
    for sign in (1, -1)
    for beside in (-1, 0, 1)
]

zones: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.just(UTC),
    st.builds(lambda m: timezone(timedelta(minutes=m)), st.integers(-1439, 1439)),
    st.sampled_from(ZONES),
)
ints = st.one_of(
    st.integers(),
    st.integers(-(2**200), 2**200),
    st.sampled_from(BORDERS),
)
datetimes = st.datetimes(
    min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29), timezones=zones
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    ints,
    st.floats(),
    st.text(),
    st.binary(),
    datetimes,
    st.dates(),
    st.times(timezones=zones),
    st.timedeltas(),
    st.decimals(),
    st.uuids(),
)
hashable = st.recursive(
    scalars.filter(lambda each: not (hasattr(each, "is_snan") and each.is_snan())),
    lambda inner: st.one_of(
        st.tuples(inner, inner), st.frozensets(inner, max_size=3), st.lists(inner).map(tuple)
    ),
    max_leaves=4,
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.lists(inner, max_size=5).map(tuple),
        st.sets(hashable, max_size=5),
        st.frozensets(hashable, max_size=5),
        st.dictionaries(hashable, inner, max_size=5),
    ),
    max_leaves=12,
)


def shape(value: Any) -> Any:
    """A value with its types, so that 1, 1.0 and True differ, NaN equals itself, and a set's
    order does not count."""
    kind = type(value).__name__
    if isinstance(value, list | tuple):
        return kind, [shape(each) for each in value]
    if isinstance(value, set | frozenset):
        return kind, sorted((shape(each) for each in value), key=repr)
    if isinstance(value, dict):
        return kind, [(shape(key), shape(each)) for key, each in value.items()]
    if isinstance(value, datetime):
        return kind, value.replace(tzinfo=None), repr(value.tzinfo), value.utcoffset()
    return kind, repr(value.replace(fold=0) if hasattr(value, "fold") else value)
