"""Whether two calls ask for the same: told by a digest, and by the path to what differs.

The digest is of a canonical form, in which only what makes a difference is left:

- the order of a dict or a set is none; a tuple, a list and whatever is written as one are the
  same, and so are a dict and a class written as one;
- a moment is the same in every time zone;
- 1, 1.0, True and "1" differ; decimals differ as their texts do.

Digests are equal only if the calls are. Where they are not, the calls may still be the same to
a function that is known: ``difference`` fills in its defaults, and those of its classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ..errors import DurableError
from . import values
from .signatures import Signature


class Difference(NamedTuple):
    """``path`` leads to what is not the same, as in ``args[0].items[3].price``."""

    path: str
    before: object
    now: object


MISSING = type("Missing", (), {"__repr__": lambda _: "missing"})()


def digest(payload: bytes, args: tuple[Any, ...] | None = None) -> bytes:
    """Sixteen bytes, equal for calls that are the same. ``args`` is what the payload holds, if
    that is known. SHA-256, which Postgres has too: ``durable.start`` says the same."""
    call = values.decode(payload) if args is None else list(args)
    plain = type(call) is list and values.SCALARS.issuperset(map(type, call))
    form = payload if plain else values.encode(_canonical(call))
    return hashlib.sha256(form).digest()[:16]


def difference(before: bytes, now: bytes, signature: Signature | None) -> Difference | None:
    """The first thing in which two calls differ; None if they are the same."""
    old, new = (_whole(payload, signature) for payload in (before, now))
    if old is None or new is None:  # not for this function: as they were written
        old, new = values.decode(before), values.decode(now)
    return next(_differences(_canonical(old), _canonical(new), "args"), None)


def _whole(payload: bytes, signature: Signature | None) -> Any:
    """The call with defaults, each value as its annotation has it; None if it does not fit."""
    if signature is None:
        return None
    try:
        return values.decode(signature.encode_whole(payload))
    except DurableError:
        return None


def _canonical(value: Any) -> Any:
    kind = type(value)
    if kind is list or kind is tuple:
        return tuple([_canonical(each) for each in value])
    if isinstance(value, dict):
        pairs = [(_canonical(key), _canonical(each)) for key, each in value.items()]
        return kind(sorted(pairs, key=lambda pair: values.encode(pair[0])))
    if kind is set or kind is frozenset:
        return frozenset([_canonical(each) for each in value])
    if kind is datetime and value.tzinfo is not None:
        try:
            return value.astimezone(UTC)
        except OverflowError:  # at the ends of the calendar
            return value
    return value


def _differences(old: Any, new: Any, path: str) -> Iterator[Difference]:
    if isinstance(old, dict) and isinstance(new, dict):
        # By their bytes: a NaN is no key that could be found.
        olds, news = ({values.encode(key): each for key, each in d.items()} for d in (old, new))
        keys = {values.encode(key): key for key in (*old, *new)}
        for packed, key in keys.items():
            name = f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{key!r}]"
            pair = olds.get(packed, MISSING), news.get(packed, MISSING)
            yield from _differences(*pair, path + name)
    elif type(old) is tuple and type(new) is tuple:
        for index in range(max(len(old), len(new))):
            a, b = (each[index] if index < len(each) else MISSING for each in (old, new))
            yield from _differences(a, b, f"{path}[{index}]")
    elif old is MISSING or new is MISSING or values.encode(old) != values.encode(new):
        yield Difference(path, old, new)
