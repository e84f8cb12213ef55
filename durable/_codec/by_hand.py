"""Values to annotations that msgspec refuses, or would not give back as they were.

Slower than msgspec and only for its gaps: containers, unions and classes are taken apart
here, and each part is fitted by ``part``, which is msgspec again where that will do. A dict
becomes the class of a union whose fields it names most fully; if two fit equally well, that is
an error, never a guess. What was recorded wins over what a ``__post_init__`` makes of it.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import sys
import types
import typing
from collections import abc
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeAlias, TypeVar, get_args

import msgspec

from ..errors import DecodeError, shorten

Fitter: TypeAlias = Callable[[Any], Any]
Part: TypeAlias = Callable[[Any], Fitter]  # an annotation to what fits values to it

# Classes of values, and annotations: a large application has hundreds.
CACHED_MAX = 4096

# What may come back as a list or a tuple, a set or a frozenset: as it went in.
_ABSTRACT = {abc.Sequence: list, abc.Collection: list, abc.Iterable: list, abc.Set: set}
_EXACT = {
    list: list,
    set: set,
    frozenset: frozenset,
    abc.MutableSequence: list,
    abc.MutableSet: set,
}
_ARRAYS: dict[Any, type] = {**_ABSTRACT, **_EXACT}
_MAPS = (dict, abc.Mapping, abc.MutableMapping)
_WRAPPERS = (typing.Annotated, typing.Final, typing.Required, typing.NotRequired)


def convert(value: Any, expected: Any, part: Part) -> Any:
    """``value`` as ``expected``.

    Raises:
        Exception: any, if it does not fit.
    """
    expected = _bare(expected)
    origin, args = _origin(expected), get_args(expected)
    if origin in (typing.Union, types.UnionType):
        return _one_of(value, args, part)
    if origin is typing.Literal:
        return _literal(value, args)
    if not isinstance(origin, type):
        return value  # an annotation that says nothing that could be checked
    if origin in _ARRAYS and isinstance(value, list | tuple | set | frozenset):
        fit = part(args[0] if args else Any)
        kind = type(value) if isinstance(value, origin) else _ARRAYS[origin]
        return kind(_each((i, fit, each) for i, each in enumerate(value)))
    if origin in _MAPS and args and isinstance(value, dict):
        keys = _each((key, part(args[0]), key) for key in value)
        fitted = _each((key, part(args[1]), each) for key, each in value.items())
        return dict(zip(keys, fitted, strict=True))
    if origin is tuple and isinstance(value, list | tuple):
        return _tuple(value, args, part)
    if issubclass(origin, enum.Enum):
        kind = type(next(iter(origin)).value)
        return origin(part(kind)(value) if field_names(kind) else value)
    if is_model(origin):  # not strictly: an enum has been written as its value
        model: Any = origin
        return model.model_validate(value, strict=False, by_name=True, by_alias=True)
    if field_names(origin) is not None:
        return _instance(value, expected, part)
    if isinstance(value, origin):
        return value
    return _derived(value, origin, args, part)


def is_unfaithful(expected: Any, seen: set[Any]) -> bool:
    """Whether msgspec would give back something else than was written."""
    expected = _bare(expected)
    origin = _origin(expected)
    if expected in seen or origin is typing.Literal or is_model(origin):
        return False
    seen.add(expected)
    if isinstance(origin, type) and (origin in _ABSTRACT or issubclass(origin, enum.Flag)):
        return True
    if hasattr(origin, "__post_init__") or hasattr(origin, "__attrs_post_init__"):
        return True
    inner = [hint for _, _, hint in _shape(expected).fields] if field_names(origin) else []
    return any(is_unfaithful(each, seen) for each in (*get_args(expected), *inner))


def _bare(expected: Any) -> Any:
    """An annotation without what only names or describes it."""
    while True:
        origin, args = typing.get_origin(expected), get_args(expected)
        if origin in _WRAPPERS:
            expected = args[0]
        elif isinstance(expected, typing.NewType):
            expected = expected.__supertype__
        elif isinstance(expected, TypeVar):
            expected = expected.__bound__ or Any
        elif type(origin or expected).__name__ == "TypeAliasType":  # type X = ...
            expected = expected.__value__[args] if args else expected.__value__
        else:
            return expected


def _origin(expected: Any) -> Any:
    return typing.get_origin(expected) or expected


def _each(parts: Iterable[tuple[Any, Fitter, Any]]) -> list[Any]:
    """Each part fitted; an error tells at which index or name."""
    fitted: list[Any] = []
    at: Any = None
    try:
        for at, fit, value in parts:  # noqa: B007 - for the error
            fitted.append(fit(value))
    except DecodeError as error:
        step = f".{at}" if isinstance(at, str) else f"[{shorten(at, 40)}]"
        why, _, rest = error.why.partition(" - at `$")
        why = f"{why} - at `${step}{rest or '`'}"
        raise DecodeError(expected=error.expected, why=why) from None
    return fitted


def _tuple(value: Any, args: tuple[Any, ...], part: Part) -> tuple[Any, ...]:
    if len(args) == 2 and args[1] is ...:
        args = (args[0],) * len(value)
    if len(args) != len(value):
        raise ValueError(f"Expected {len(args)} items, got {len(value)}")
    return tuple(_each((i, part(arg), value[i]) for i, arg in enumerate(args)))


def _literal(value: Any, args: tuple[Any, ...]) -> Any:
    for each in args:
        written = getattr(each, "value", each)  # of an enum
        if type(written) is type(value) and written == value:
            return each
    raise ValueError(f"it is none of {', '.join(map(repr, args))}")


def _one_of(value: Any, members: tuple[Any, ...], part: Part) -> Any:
    reasons: list[str] = []
    found: list[tuple[int, Any, Any]] = []
    ranked = [(_strangeness(value, each), each) for each in members]
    for strangeness, member in sorted(ranked, key=lambda each: each[0]):
        if found and strangeness > found[0][0]:
            break
        try:
            found.append((strangeness, member, part(member)(value)))
        except DecodeError as error:
            reasons.append(error.why.replace(" - at `", " at `"))
    if not found:
        raise ValueError(f"it fits no member of the union: {'; '.join(reasons)}")
    _, first, made = found[0]
    for _, member, other in found[1:]:
        if type(other) is not type(made) or other != made:
            raise ValueError(
                f"it fits {name_of(first)} as well as {name_of(member)}; give each a field that "
                "tells them apart, such as kind: Literal['...']"
            )
    return made


def _strangeness(value: Any, member: Any) -> int:
    """How badly a value seems to fit: the fields that it lacks and those it has too many."""
    origin = _origin(_bare(member))
    if isinstance(value, dict):
        keys = getattr(origin, "__struct_encode_fields__", field_names(origin))
        return len(set(keys) ^ set(value)) or -1 if keys is not None else 0
    return -1 if type(value) is origin or (value is None and member is None) else 0


def _derived(value: Any, expected: type, args: tuple[Any, ...], part: Part) -> Any:
    """A class derived from a standard one, which it was written as; or one written as a text."""
    kind = type(value)
    if not issubclass(expected, kind) and not (kind is str and is_text(expected)):
        raise TypeError(f"Expected `{name_of(expected)}`, got `{kind.__qualname__}`")
    if len(args) == (2 if kind is dict else 1):
        value = part(types.GenericAlias(kind, args))(value)
    return expected(value)


# Classes of the user's


class _Shape(NamedTuple):
    fields: tuple[tuple[str, str, Any], ...]  # as it is written, its attribute, its annotation
    arguments: dict[str, str]  # attribute to argument, where that is not the same
    required: frozenset[str]  # of a typed dict
    tag: dict[str, Any]
    row: tuple[str, ...] | None  # what its array holds, if it is written as one


@functools.lru_cache(CACHED_MAX)
def _shape(expected: Any) -> _Shape:
    kind: Any = _origin(expected)
    names, hints = field_names(kind) or (), _hints(expected)
    keys = getattr(kind, "__struct_encode_fields__", names)
    fields = tuple(zip(keys, names, (hints.get(name, Any) for name in names), strict=True))
    known = (
        getattr(kind, "__attrs_attrs__", ()) or getattr(kind, "__dataclass_fields__", {}).values()
    )
    arguments = {each.name: getattr(each, "alias", each.name) for each in known if each.init}
    # A class does not see these itself where annotations are texts.
    may_lack = {n for _, n, hint in fields if typing.get_origin(hint) is typing.NotRequired}
    required = frozenset(getattr(kind, "__required_keys__", ())) - may_lack
    config: Any = getattr(kind, "__struct_config__", None)
    tag = {config.tag_field: config.tag} if config and config.tag is not None else {}
    is_row = issubclass(kind, tuple) or (config and config.array_like)
    return _Shape(fields, arguments, required, tag, (*tag, *keys) if is_row else None)


def _instance(value: Any, expected: Any, part: Part) -> Any:
    """Made by its class, so that this may check it; then put as it was recorded."""
    kind, shape = _origin(expected), _shape(expected)
    if shape.row is not None and isinstance(value, list | tuple):
        if len(value) > len(shape.row):
            raise ValueError(f"Expected at most {len(shape.row)} items, got {len(value)}")
        value = dict(zip(shape.row, value, strict=False))
    if not isinstance(value, dict):
        raise TypeError(f"Expected `object`, got `{type(value).__qualname__}`")
    for key, tag in shape.tag.items():
        if value.get(key) != tag:
            raise ValueError(f"its {key} is {value.get(key)!r}, not {tag!r}")
    if missing := shape.required - value.keys():
        raise ValueError(f"Object missing required field `{min(missing)}`")
    there = [each for each in shape.fields if each[0] in value]
    fitted = _each((key, part(hint), value[key]) for key, _, hint in there)
    found = dict(zip([name for _, name, _ in there], fitted, strict=True))
    if issubclass(kind, tuple | dict):
        return kind(**found)
    known = shape.arguments or {name: name for name in found}
    try:
        made = kind(**{known[name]: each for name, each in found.items() if name in known})
    except TypeError:
        if len(found) < len(shape.fields):
            raise
        made = kind.__new__(kind)  # it asks for what is no field: an InitVar
    is_struct = issubclass(kind, msgspec.Struct)
    put: Any = msgspec.structs.force_setattr if is_struct else object.__setattr__
    for name, each in found.items():
        put(made, name, each)
    return made


def _hints(expected: Any) -> dict[str, Any]:
    """The annotations of a class and its bases, type variables filled in class by class."""
    kind: Any = _origin(expected)
    known = dict(zip(getattr(kind, "__parameters__", ()), get_args(expected), strict=False))
    hints: dict[str, Any] = {}
    for base in reversed(vars(kind).get("__orig_bases__", kind.__bases__)):
        if isinstance(_origin(base), type) and _origin(base) is not typing.Generic:
            hints |= _hints(_filled(base, known))
    resolved = typing.get_type_hints(kind, include_extras=True)
    return hints | {name: _filled(resolved[name], known) for name in inspect.get_annotations(kind)}


def _filled(hint: Any, known: dict[Any, Any]) -> Any:
    if isinstance(hint, TypeVar | type):
        return known.get(hint, hint)
    parameters: Any = getattr(hint, "__parameters__", ())
    return hint[tuple(known.get(each, each) for each in parameters)] if parameters else hint


def _field_names(kind: Any) -> tuple[str, ...] | None:
    """The attributes that a user's class consists of; None if it is no such class."""
    if not isinstance(kind, type):
        return None
    known: Any = getattr(kind, "__attrs_attrs__", None)
    if known is None and dataclasses.is_dataclass(kind):
        known = dataclasses.fields(kind)
    if known is not None:
        return tuple(each.name for each in known)
    if issubclass(kind, dict) and hasattr(kind, "__required_keys__"):  # a TypedDict
        return tuple(kind.__annotations__)
    named = "__struct_fields__" if issubclass(kind, msgspec.Struct) else "_fields"
    if issubclass(kind, msgspec.Struct | tuple):
        return getattr(kind, named, None)
    return tuple(getattr(kind, "model_fields", ())) if is_model(kind) else None


field_names: Callable[[Any], tuple[str, ...] | None] = functools.lru_cache(CACHED_MAX)(_field_names)


def is_model(kind: Any) -> bool:
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)


def is_text(kind: type) -> bool:
    """Whether its values are written as a text, and made of one again: paths, addresses."""
    return kind.__module__.partition("._")[0] in {"pathlib", "ipaddress", "pydantic.networks"}


def name_of(expected: Any) -> str:
    if isinstance(expected, type) and not hasattr(expected, "__args__"):
        return expected.__qualname__
    return str(expected).replace("typing.", "")
