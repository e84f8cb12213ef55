"""How a function is called, on the wire: arguments to a payload and back, by its annotations.

The same call gives the same bytes whether an argument came by position or by name, so that
its digest tells whether replay asks for the same. Defaults are not filled in: a new
parameter with a default leaves old calls as they are.

The payload is an array of the positional arguments; keywords that cannot be positional
follow as its last element, under an extension type of their own.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable
from typing import Any

from ..errors import DecodeError, EncodeError, InvalidCall
from . import conversion, values

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Signature:
    """Made once per function. ``skip`` leaves out first parameters: ctx, or a connection."""

    __slots__ = (
        "_annotations", "_count", "_is_odd", "_name", "_names", "_required", "_result_path",
        "_returns", "_signature", "_star",
    )  # fmt: skip

    def __init__(self, fn: Callable[..., Any], skip: int) -> None:
        signature = inspect.signature(fn)
        parameters = list(signature.parameters.values())[skip:]
        hints = _hints(fn)
        positional = [each for each in parameters if each.kind in _POSITIONAL]
        self._signature = signature.replace(parameters=parameters)
        self._name = getattr(fn, "__name__", repr(fn))
        self._result_path = f"the result of {self._name}()"
        self._names = tuple(each.name for each in positional)
        self._count = len(positional)
        self._required = sum(each.default is each.empty for each in positional)
        # With *args, **kwargs or keyword-only parameters, binding is inspect's business.
        self._is_odd = len(positional) != len(parameters)
        self._annotations = {each.name: hints.get(each.name, Any) for each in parameters}
        returns = hints.get("return", Any)
        self._returns = type(None) if returns is None else returns
        self._star = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)

    @classmethod
    def of(cls, fn: Callable[..., Any], *, skip: int = 0) -> Signature:
        return cls(fn, skip)

    def encode_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """
        Raises:
            InvalidCall: the arguments do not fit the function.
            EncodeError, PayloadTooLarge: one of them cannot be recorded.
        """
        if kwargs or self._is_odd or not self._required <= len(args) <= self._count:
            args, kwargs = self._bound(args, kwargs)
        call = [*args, values.Keywords(kwargs)] if kwargs else list(args)
        try:
            return values.encode(call, path=self._name)
        except EncodeError as error:
            raise self._renamed(error) from None

    def decode_call(self, payload: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """
        Raises:
            DecodeError: the recorded arguments do not fit the annotations any more.
        """
        call = values.decode(payload)
        if type(call) is not list:
            raise DecodeError(expected=f"a call of {self._name}()", why="it is no array")
        kwargs = call.pop() if call and type(call[-1]) is values.Keywords else {}
        for index, value in enumerate(call):
            name = self._names[index] if index < self._count else self._star
            call[index] = self._fitted(name, value)
        return tuple(call), {name: self._fitted(name, each) for name, each in kwargs.items()}

    def encode_result(self, value: Any) -> bytes:
        """
        Raises:
            EncodeError, PayloadTooLarge: it cannot be recorded.
        """
        return values.encode(value, path=self._result_path)

    def decode_result(self, payload: bytes) -> Any:
        """
        Raises:
            DecodeError: the recorded value does not fit the annotation any more.
        """
        return values.decode(payload, self._returns)

    def _fitted(self, name: str | None, value: Any) -> Any:
        expected = self._annotations.get(name or "", Any)
        if expected is Any or type(value) is expected:
            return value
        return conversion.fitter(expected)(value)

    def _bound(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise InvalidCall(
                f"{self._name}() {error}; its signature is {self._name}{self._signature}"
            ) from None
        return bound.args, bound.kwargs

    def _renamed(self, error: EncodeError) -> EncodeError:
        """``charge[1].lines`` as ``charge(cents).lines``."""
        match = _INDEX.match(error.path[len(self._name) :])
        if match is None or int(match[1]) >= self._count:
            return error
        path = f"{self._name}({self._names[int(match[1])]}){match[2]}"
        return EncodeError(path=path, value=error.value, why=error.why)


_INDEX = re.compile(r"\[(\d+)\](.*)", re.DOTALL)


def _hints(fn: Callable[..., Any]) -> dict[str, Any]:
    """Annotations as types. One that cannot be resolved says nothing: its value comes back as
    the standard types it was written with."""
    try:
        return typing.get_type_hints(fn)
    except Exception:  # noqa: BLE001 - a name under TYPE_CHECKING, a forward reference
        return {
            name: each
            for name, each in getattr(fn, "__annotations__", {}).items()
            if not isinstance(each, str)
        }
