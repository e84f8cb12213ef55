"""Values to annotations that msgspec refuses, or would not give back as they were.

Slower than msgspec and only for its gaps: containers, unions and classes are taken apart
here, and each part is fitted by ``part``, which is msgspec again where that will do. A dict
becomes the class of a union whose fields it names most fully; if two fit equally well, that is
an error, never a guess. What was recorded wins over what a ``__post_init__`` makes of it.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterable
from typing import (
    Annotated,
    Any,
    Final,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Required,
    TypeAlias,
    TypeVar,
    Union,
    get_args,
)

import msgspec

from ..errors import DecodeError, shorten

Fitter: TypeAlias = Callable[[Any], Any]
Part: TypeAlias = Callable[[Any], Fitter]  # an annotation to what fits values to it

# Classes of values, and annotations: a large application has hundreds.
CACHED_MAX = 4096

# What may come back as a list or a tuple, a set or a frozenset: as it went in.
_ABSTRACT: dict[Any, type] = {
    collections.abc.Sequence: list, collections.abc.Collection: list,
    collections.abc.Iterable: list, collections.abc.Set: set,
}  # fmt: skip
_ARRAYS: dict[Any, type] = _ABSTRACT | {
    list: list, collections.abc.MutableSequence: list,
    set: set, collections.abc.MutableSet: set, frozenset: frozenset,
}  # fmt: skip
_MAPS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_WRAPPERS = (Annotated, Final, Required, NotRequired)
_POST_INITS = ("__post_init__", "__attrs_post_init__")


def convert(value: Any, expected: Any, part: Part) -> Any:
    """``value`` as ``expected``.

    Raises:
        Exception: any, if it does not fit.
    """
    expected = _bare(expected)
    origin, args = _origin(expected), get_args(expected)
    if origin is Union or origin is types.UnionType:
        return _one_of(value, args, part)
    if origin is Literal:
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
        return _member(value, origin, part)
    if is_model(origin):
        return _model(value, origin)
    if field_names(origin) is not None:
        return _instance(value, expected, part)
    if isinstance(value, origin):
        return value
    return _derived(value, origin, args, part)


def is_unfaithful(expected: Any, seen: set[Any]) -> bool:
    """Whether msgspec would give back something else than what was written."""
    expected = _bare(expected)
    origin = _origin(expected)
    if expected in seen or origin is Literal or is_model(origin):
        return False
    seen.add(expected)
    if isinstance(origin, type) and (
        issubclass(origin, enum.Flag)  # it knows the single flags only
        or origin in _ABSTRACT
        or any(hasattr(origin, each) for each in _POST_INITS)
    ):
        return True
    inner = [hint for _, _, hint in _shape(expected).fields] if field_names(origin) else []
    return any(is_unfaithful(each, seen) for each in (*get_args(expected), *inner))


def _bare(expected: Any) -> Any:
    """An annotation without what only names or describes it."""
    while True:
        origin, args = typing.get_origin(expected), get_args(expected)
        if origin in _WRAPPERS:
            expected = args[0]
        elif isinstance(expected, NewType):
            expected = expected.__supertype__
        elif isinstance(expected, TypeVar):
            expected = expected.__bound__ or Any
        elif type(origin or expected).__name__ == "TypeAliasType":  # type X = ...
            expected = expected.__value__[args] if args else expected.__value__
        else:
            return expected


def _origin(expected: Any) -> Any:
    return typing.get_origin(expected) or expected


# Parts


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
        raise DecodeError(
            expected=error.expected, why=f"{why} - at `${step}{rest or '`'}"
        ) from None
    return fitted


def _tuple(value: Any, args: tuple[Any, ...], part: Part) -> tuple[Any, ...]:
    if len(args) == 2 and args[1] is ...:
        args = (args[0],) * len(value)
    if len(args) != len(value):
        raise ValueError(f"Expected {len(args)} items, got {len(value)}")
    return tuple(_each((i, part(arg), value[i]) for i, arg in enumerate(args)))


def _one_of(value: Any, members: Iterable[Any], part: Part) -> Any:
    ranked = sorted(((_strangeness(value, each), each) for each in members), key=lambda r: r[0])
    reasons: list[str] = []
    found: list[tuple[int, Any, Any]] = []
    for strangeness, member in ranked:
        if found and strangeness > found[0][0]:
            break
        try:
            made = part(member)(value)
        except DecodeError as error:
            reasons.append(error.why.replace(" - at `", " at `"))
            continue
        if found and not (type(made) is type(found[0][1]) and made == found[0][1]):
            raise ValueError(
                f"it fits {name_of(found[0][2])} as well as {name_of(member)}; give each a field "
                "that tells them apart, such as kind: Literal['...']"
            )
        found.append((strangeness, made, member))
    if not found:
        raise ValueError(f"it fits no member of the union: {'; '.join(reasons)}")
    return found[0][1]


def _strangeness(value: Any, member: Any) -> int:
    """How badly a value seems to fit: the fields that it lacks and those it has too many."""
    member = _bare(member)
    origin = _origin(member)
    if isinstance(value, dict):
        names = field_names(origin) if isinstance(origin, type) else None
        keys = getattr(origin, "__struct_encode_fields__", names)
        return len(set(keys) ^ set(value)) or -1 if keys is not None else 0
    return -1 if type(value) is origin or (value is None and member is None) else 0


def _literal(value: Any, args: tuple[Any, ...]) -> Any:
    for each in args:
        written = each.value if isinstance(each, enum.Enum) else each
        if type(written) is type(value) and written == value:
            return each
    raise ValueError(f"it is none of {', '.join(map(repr, args))}")


def _member(value: Any, expected: Any, part: Part) -> Any:
    try:
        return expected(value)
    except ValueError as error:
        for each in expected:  # of one whose values are of a user's class
            if field_names(type(each.value)) and part(type(each.value))(value) == each.value:
                return each
        raise ValueError(str(error)) from None


def _model(value: Any, expected: Any) -> Any:
    """Not strictly: an enum has been written as its value."""
    if isinstance(value, expected):
        return value
    code = expected.model_validate.__func__.__code__
    if "by_name" in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
        return expected.model_validate(value, strict=False, by_name=True, by_alias=True)
    return expected.model_validate(value, strict=False)  # pydantic before 2.11: no aliases


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
    arguments: dict[str, str]  # attribute to argument of the class
    required: frozenset[str]  # of a typed dict
    tag: dict[str, Any]
    row: tuple[str, ...] | None  # what its array holds, if it is written as one


@functools.lru_cache(CACHED_MAX)
def _shape(expected: Any) -> _Shape:
    kind: Any = _origin(expected)
    names = field_names(kind) or ()
    keys = getattr(kind, "__struct_encode_fields__", names)
    hints = _hints(expected)
    fields = tuple(zip(keys, names, (hints.get(name, Any) for name in names), strict=True))
    init: Any = getattr(kind, "__attrs_attrs__", None)
    if init is None and hasattr(kind, "__dataclass_fields__"):
        init = dataclasses.fields(kind)
    # A class does not see these itself where annotations are texts.
    may_lack = {name for _, name, each in fields if typing.get_origin(each) is NotRequired}
    config: Any = getattr(kind, "__struct_config__", None)
    tag = {} if config is None or config.tag is None else {config.tag_field: config.tag}
    is_row = issubclass(kind, tuple) or (config is not None and config.array_like)
    return _Shape(
        fields,
        {n: n for n in names}
        if init is None
        else {each.name: getattr(each, "alias", each.name) for each in init if each.init},
        frozenset(getattr(kind, "__required_keys__", ())) - may_lack,
        tag,
        (*tag, *keys) if is_row else None,
    )


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
    missing = shape.required - value.keys()
    if missing:
        raise ValueError(f"Object missing required field `{min(missing)}`")
    there = [each for each in shape.fields if each[0] in value]
    fitted = _each((key, part(hint), value[key]) for key, _, hint in there)
    found = dict(zip([name for _, name, _ in there], fitted, strict=True))
    arguments = {shape.arguments[k]: v for k, v in found.items() if k in shape.arguments}
    if issubclass(kind, tuple | dict):
        return kind(**arguments)
    try:
        made = kind(**arguments)
    except TypeError:
        if len(found) < len(shape.fields):
            raise
        made = kind.__new__(kind)  # it asks for what is no field: an InitVar
    put: Any = object.__setattr__
    if issubclass(kind, msgspec.Struct):
        put = msgspec.structs.force_setattr
    for name, each in found.items():
        put(made, name, each)
    return made


def _hints(expected: Any) -> dict[str, Any]:
    """The annotations of a class and its bases, type variables filled in class by class."""
    kind: Any = _origin(expected)
    known = dict(zip(getattr(kind, "__parameters__", ()), get_args(expected), strict=False))
    hints: dict[str, Any] = {}
    for base in reversed(vars(kind).get("__orig_bases__", kind.__bases__)):
        if isinstance(_origin(base), type) and _origin(base) is not Generic:
            hints |= _hints(_filled(base, known))
    resolved = typing.get_type_hints(kind, include_extras=True)
    return hints | {name: _filled(resolved[name], known) for name in inspect.get_annotations(kind)}


def _filled(hint: Any, known: dict[Any, Any]) -> Any:
    if isinstance(hint, TypeVar):
        return known.get(hint, hint)
    parameters: Any = () if isinstance(hint, type) else getattr(hint, "__parameters__", ())
    generic: Any = hint
    return generic[tuple(known.get(each, each) for each in parameters)] if parameters else hint


def _field_names(kind: Any) -> tuple[str, ...] | None:
    """The attributes that a user's class consists of; None if it is no such class."""
    if not isinstance(kind, type):
        return None
    names: Any = None
    if dataclasses.is_dataclass(kind):
        names = [each.name for each in dataclasses.fields(kind)]
    elif issubclass(kind, msgspec.Struct):
        names = kind.__struct_fields__
    elif hasattr(kind, "__attrs_attrs__"):
        names = [each.name for each in kind.__attrs_attrs__]
    elif issubclass(kind, tuple):
        names = getattr(kind, "_fields", None)
    elif issubclass(kind, dict) and hasattr(kind, "__required_keys__"):  # a TypedDict
        names = kind.__annotations__
    elif is_model(kind):
        names = getattr(kind, "model_fields", None)
    return None if names is None else tuple(names)


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
