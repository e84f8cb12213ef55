"""The user's own classes: to plain values, and back by annotation.

msgspec does the work for dataclasses, named tuples, typed dicts, enums, attrs, its own
structs and unions of these. Pydantic models join if the user has imported pydantic.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import msgspec

from ..errors import DecodeError

NOTHING = object()


def to_plain(value: Any) -> Any:
    """What a value of a user's class holds, one level deep; ``NOTHING`` if it is none."""
    if isinstance(value, type):
        return NOTHING
    if dataclasses.is_dataclass(value):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.asdict(value)
    if hasattr(type(value), "__attrs_attrs__"):
        return {each.name: getattr(value, each.name) for each in type(value).__attrs_attrs__}
    pydantic = sys.modules.get("pydantic")
    if pydantic is not None and isinstance(value, pydantic.BaseModel):
        return value.model_dump()
    if isinstance(value, tuple):  # a named one
        return tuple(value)
    return NOTHING


def convert(value: Any, expected: Any) -> Any:
    """``value`` as ``expected``, strictly: no number becomes a text, no text a number.

    Raises:
        DecodeError: it does not fit.
    """
    pydantic = sys.modules.get("pydantic")
    try:
        if pydantic is not None and _is_model(expected, pydantic):
            return expected.model_validate(value)
        return msgspec.convert(value, expected, strict=True, dec_hook=_decode_other)
    except TypeError as error:
        if "is not supported" in str(error) or "may not contain" in str(error):
            return value  # an annotation that says nothing we could check
        raise DecodeError(expected=_name(expected), why=str(error)) from None
    except Exception as error:  # noqa: BLE001 - pydantic's, or a user's __post_init__
        raise DecodeError(expected=_name(expected), why=str(error)) from None


def _decode_other(expected: Any, value: Any) -> Any:
    """For types that msgspec does not know: it is one already, or a model."""
    pydantic = sys.modules.get("pydantic")
    if pydantic is not None and _is_model(expected, pydantic):
        return expected.model_validate(value)
    if isinstance(expected, type) and not isinstance(value, expected):
        raise ValueError(f"it is {type(value).__qualname__}, not {expected.__qualname__}")
    return value


def _is_model(expected: Any, pydantic: Any) -> bool:
    return isinstance(expected, type) and issubclass(expected, pydantic.BaseModel)


def _name(expected: Any) -> str:
    return getattr(expected, "__qualname__", None) or str(expected)
