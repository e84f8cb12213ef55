"""How a function is called, on the wire: arguments to a payload and back, by its annotations.

The same call gives the same bytes whether an argument came by position or by name, so that
its digest tells whether replay asks for the same. Defaults are not filled in: a new
parameter with a default leaves old calls as they are.

The payload is an array of the positional arguments; keywords that cannot be positional
follow as its last element, under an extension type of their own.
"""

from __future__ import annotations

import functools
import inspect
import logging
import sys
import types
import typing
from collections.abc import Callable
from typing import Any, TypeAlias

from ..errors import DecodeError, EncodeError, InvalidCall, shorten
from . import values
from .by_hand import Fitter
from .conversion import fitter

Args: TypeAlias = tuple[Any, ...]
Kwargs: TypeAlias = dict[str, Any]

log = logging.getLogger("durable")

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_UNLIMITED = sys.maxsize

# Combinations of types that one function is called with: a few, unless somebody plays tricks.
SHAPES_MAX = 64


class Signature:
    """Made once per function. ``skip`` leaves out first parameters: ctx, or a connection.

    An annotation that cannot be resolved is told of; its values come back as the standard types
    they were written as.
    """

    def __init__(self, fn: Callable[..., Any], *, skip: int = 0) -> None:
        self.name: str = getattr(fn, "__name__", repr(fn))
        self._path = f"{self.name}()"
        self._result_path = f"the result of {self.name}()"
        self._fn = inspect.unwrap(fn)
        signature = _signature(fn)
        parameters = list(signature.parameters.values())[skip:]
        positional = [each for each in parameters if each.kind in _POSITIONAL]
        self._signature = signature.replace(parameters=parameters)
        self._names = tuple(each.name for each in positional)
        self._required = sum(each.default is each.empty for each in positional)
        # Up to the first that can only be positional, a name may stand for a position.
        self._by_name = frozenset(p.name for p in positional if p.kind is not p.POSITIONAL_ONLY)
        self._star = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
        self._stars = next((p.name for p in parameters if p.kind is p.VAR_KEYWORD), None)
        named = [each for each in parameters if each.kind is each.KEYWORD_ONLY]
        self._named = frozenset(each.name for each in named)
        self._named_required = frozenset(p.name for p in named if p.default is p.empty)
        self._count_max = len(positional) if self._star is None else _UNLIMITED
        self._kept_calls: dict[tuple[type, ...], bool] = {}  # by types of arguments

    def encode_call(self, args: Args, kwargs: Kwargs) -> bytes:
        """
        Raises:
            InvalidCall: the arguments do not fit the function.
            EncodeError, PayloadTooLarge: one of them cannot be recorded.
        """
        if kwargs:
            args, kwargs = self._by_position(args, kwargs)
        if kwargs or not self._required <= len(args) <= self._count_max or self._named_required:
            args, kwargs = self._bound(args, kwargs)
        call = [*args, values.Keywords(kwargs)] if kwargs else list(args)
        try:
            return values.encode(call, path=self._path)
        except EncodeError as error:
            raise self._culprit(args, kwargs) or error from None

    def decode_call(self, payload: bytes) -> tuple[Args, Kwargs]:
        """
        Raises:
            DecodeError: the recorded arguments do not fit the parameters any more.
        """
        call = values.decode(payload)
        if type(call) is not list:
            raise DecodeError(expected=f"a call of {self.name}()", why="it is no list of arguments")
        kwargs: Kwargs = call.pop() if call and type(call[-1]) is values.Keywords else {}
        if kwargs or not self._required <= len(call) <= self._count_max or self._named_required:
            self._check(call, kwargs)
        name: str | None = None
        value: Any = None
        try:
            for index, name, fit in self._positional_fitters:  # noqa: B007 - for the error
                if index >= len(call):
                    break
                value = call[index]
                call[index] = fit(value)
            if self._star in self._fitters:
                name, fit = self._star, self._fitters[self._star]
                for index, value in enumerate(call[len(self._names) :], len(self._names)):
                    call[index] = fit(value)
            for name, value in kwargs.items():
                known = name in self._named or name in self._by_name
                kwargs[name] = self._fitters.get(name if known else self._stars, _as_it_is)(value)
        except DecodeError as error:
            expected = f"{error.expected} in {self.name}({name}={shorten(value)})"
            raise DecodeError(expected=expected, why=error.why) from None
        return tuple(call), kwargs

    def encode_whole(self, payload: bytes) -> bytes:
        """A recorded call with its defaults filled in, each value as its annotation has it.

        Raises:
            CodecError: it does not fit the function.
        """
        args, kwargs = self.decode_call(payload)
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return values.encode([*bound.args, values.Keywords(sorted(bound.kwargs.items()))])

    def encode_result(self, value: Any) -> bytes:
        """
        Raises:
            EncodeError, PayloadTooLarge: it cannot be recorded.
        """
        return values.encode(value, path=self._result_path)

    def record_result(self, value: Any) -> tuple[bytes, Any]:
        """The payload of a result, and what decoding it gives.

        Raises:
            EncodeError, PayloadTooLarge: it cannot be recorded.
            DecodeError: it does not fit the annotation.
        """
        if type(value) in self._kept_results:
            plain = values.encode_plain(value)
            if plain is not None:
                return plain, value
        payload = values.encode(value, path=self._result_path)
        return payload, self.decode_result(payload)

    def record_call(self, args: Args, kwargs: Kwargs) -> tuple[bytes, Args | None]:
        """The payload of a call; and its arguments if they are known to come back as the very
        objects they are: positional, immutable, each of just the type that its annotation names.

        Raises:
            InvalidCall, EncodeError, PayloadTooLarge: as ``encode_call``.
        """
        kinds = tuple(map(type, args))
        if not kwargs and self._kept_calls.get(kinds):
            payload = values.encode_plain(args)
            if payload is not None:
                return payload, args
        payload = self.encode_call(args, kwargs)
        if not kwargs and len(self._kept_calls) < SHAPES_MAX:
            hints, names = self._hints, self._names
            self._kept_calls[kinds] = len(args) <= len(names) and all(
                _keeps(hints.get(name, Any), kind) for name, kind in zip(names, kinds, strict=False)
            )
        return payload, None

    def decode_result(self, payload: bytes) -> Any:
        """
        Raises:
            DecodeError: the recorded value does not fit the annotation any more.
        """
        value = values.decode(payload)
        fit = self._fitters.get("return")
        return value if fit is None else fit(value)

    def __str__(self) -> str:
        """As one would write it: ``charge(card: str, cents: int)``."""
        hints = self._hints
        parameters = [
            each.replace(annotation=hints.get(each.name, each.annotation))
            for each in self._signature.parameters.values()
        ]
        empty = inspect.Signature.empty
        return (
            f"{self.name}{self._signature.replace(parameters=parameters, return_annotation=empty)}"
        )

    # Binding

    def _by_position(self, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        """Names to positions, as far as they follow those that are given."""
        positions, rest = list(args), dict(kwargs)
        for name in self._names[len(args) :]:
            if name not in rest or name not in self._by_name:
                break
            positions.append(rest.pop(name))
        return tuple(positions), rest

    def _bound(self, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        """The slow and thorough way, with the good error; keywords in a fixed order."""
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise InvalidCall(f"{self.name}() {error}; its signature is {self}") from None
        return bound.args, dict(sorted(bound.kwargs.items()))

    def _check(self, args: list[Any], kwargs: Kwargs) -> None:
        """The function may have changed since the call was recorded."""
        try:
            self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise DecodeError(
                expected=str(self), why=f"{error}. Were its parameters changed?"
            ) from None

    def _culprit(self, args: Args, kwargs: Kwargs) -> EncodeError | None:
        """``charge()[1].lines`` as ``charge(order=...).lines``."""
        count = len(self._names)
        pairs = [
            (self._names[i] if i < count else f"{self._star}[{i - count}]", value)
            for i, value in enumerate(args)
        ]
        for name, value in [*pairs, *kwargs.items()]:
            try:
                values.encode(value, path=f"{self.name}({name}=...)")
            except EncodeError as error:
                return error
        return None

    # Annotations, found on first use: a class may be defined after the function that names it.

    @functools.cached_property
    def _fitters(self) -> dict[str | None, Fitter]:
        """Per parameter; none for those that take anything."""
        return {name: fitter(each) for name, each in self._hints.items() if each is not Any}

    @functools.cached_property
    def _kept_results(self) -> frozenset[type]:
        hint = self._hints.get("return", Any)
        return frozenset(kind for kind in values.SCALARS if _keeps(hint, kind))

    @functools.cached_property
    def _positional_fitters(self) -> tuple[tuple[int, str, Fitter], ...]:
        numbered = enumerate(self._names)
        return tuple((i, n, self._fitters[n]) for i, n in numbered if n in self._fitters)

    @functools.cached_property
    def _hints(self) -> dict[str, Any]:
        annotations = {each.name: each.annotation for each in self._signature.parameters.values()}
        annotations["return"] = self._signature.return_annotation
        resolved: dict[str, Any] = {}
        for name, annotation in annotations.items():
            if annotation is not inspect.Parameter.empty:
                try:
                    resolved[name] = _resolved(annotation, self._fn)
                except Exception as error:  # noqa: BLE001 - a name under TYPE_CHECKING, a typo
                    log.warning(
                        "the annotation of %r of %s() cannot be resolved (%s: %s): its values come "
                        "back as plain standard types. Is it imported under TYPE_CHECKING only?",
                        name, self.name, type(error).__name__, error,
                    )  # fmt: skip
        return resolved


def _as_it_is(value: Any) -> Any:
    return value


def _keeps(hint: Any, kind: type) -> bool:
    return kind in values.SCALARS and (hint is kind or hint is Any)


def _signature(fn: Callable[..., Any]) -> inspect.Signature:
    try:
        if sys.version_info >= (3, 14):
            import annotationlib

            return inspect.signature(fn, annotation_format=annotationlib.Format.FORWARDREF)
        return inspect.signature(fn)
    except ValueError:  # a builtin that does not tell
        return inspect.signature(lambda *args, **kwargs: None)  # noqa: ARG005


def first_annotation(fn: Any) -> Any:
    """That of a function's first parameter: a type, or the text of one that cannot be found."""
    first = next(iter(_signature(fn).parameters.values()), None)
    if first is None:
        return None
    try:
        return _resolved(first.annotation, fn)
    except Exception:  # noqa: BLE001 - imported for types alone, or a type to checkers only
        return first.annotation


def _resolved(annotation: Any, fn: Any) -> Any:
    """One annotation as a type, seen from where the function was written."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    if not hasattr(fn, "__globals__") and not isinstance(fn, types.MethodType):
        fn = getattr(type(fn), "__call__", fn)  # noqa: B004 - its method, not whether it has one
    code = getattr(fn, "__code__", None)
    local: dict[str, Any] = {}
    if code is not None and fn.__closure__:
        for name, cell in zip(code.co_freevars, fn.__closure__, strict=True):
            try:
                local[name] = cell.cell_contents
            except ValueError:  # not yet assigned
                continue
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    hints = typing.get_type_hints(
        holder, globalns=getattr(fn, "__globals__", {}), localns=local, include_extras=True
    )
    return hints["it"]
