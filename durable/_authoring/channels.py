"""Channels: typed objects, declared once, by which the world talks with a run.

``ctx`` uses them on the inside, a handle on the outside. A channel is its kind and its name; the
type of what goes through it is checked on the way in and on the way out.
"""

from __future__ import annotations

import functools
import sys
import typing
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar, get_args, overload

from .._codec import values
from .._codec.conversion import fitter
from ..errors import DecodeError, DefinitionError, InvalidCall, shorten
from . import registry

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
A = TypeVar("A")
R = TypeVar("R")
A_contra = TypeVar("A_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)

_declared: dict[tuple[str, str], list[Channel]] = {}


class Channel:
    """What all kinds have in common. ``types`` are those between the brackets, in order; Any where
    none are given."""

    kind: ClassVar[str]
    __orig_class__: Any  # set by `typing` when it is made as Kind[...]("name")

    def __init__(self, name: str) -> None:
        if not registry.is_name(name):
            raise DefinitionError(
                f"{type(self).__name__}({name!r:.100}): a channel is named by a text of 1 to "
                f"{registry.NAME_MAX} characters, without NUL."
            )
        self.name = name
        self.place, self._scope = _place()
        _declared.setdefault((self.kind, name), []).append(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    @functools.cached_property
    def types(self) -> tuple[Any, ...]:
        """
        Raises:
            DefinitionError: a name in quotes that its module does not have.
        """
        given = get_args(getattr(self, "__orig_class__", None)) or (Any, Any)
        said = SimpleNamespace(__annotations__={str(n): each for n, each in enumerate(given)})
        try:
            return tuple(typing.get_type_hints(said, self._scope, None, True).values())
        except NameError as error:
            raise DefinitionError(
                f"The {self.kind} {self.name!r} at {self.place}: {error}."
            ) from None

    def encode(self, value: Any, nth: int = 0) -> bytes:
        """
        Raises:
            InvalidCall: the value is not of the channel's type.
            EncodeError, PayloadTooLarge: it cannot be recorded.
        """
        payload = values.encode(value, path=f"{self.kind} {self.name!r}")
        try:
            self.decode(payload, nth)
        except DecodeError as error:
            raise InvalidCall(
                f"{shorten(value)} does not fit {error.expected}: {error.why}. Nothing was sent."
            ) from None
        return payload

    def decode(self, payload: bytes, nth: int = 0) -> Any:
        """
        Raises:
            DecodeError: it does not fit the channel's type.
        """
        try:
            return fitter(self.types[nth])(values.decode(payload))
        except DecodeError as error:
            raise DecodeError(
                expected=f"{error.expected} in {self.kind} {self.name!r}", why=error.why
            ) from None


class Signal(Channel, Generic[T_co]):
    """A message to a run, which it takes when it likes: sent, kept in order, received exactly once.

    Example:
        shipped = Signal[Parcel]("shipped")

        parcel = await ctx.receive(shipped)                                # inside
        await app.handle("order-42").signal(shipped, Parcel("JJD0001"))    # outside
    """

    kind = "signal"

    if TYPE_CHECKING:
        exact: list[tuple[T_co, None]]  # a list is of just its type: see Exact

    @overload
    def __call__(self: Signal[None], /, *, key: str | None = None) -> Message[None]: ...
    @overload
    def __call__(self: Exact[T, None], value: T, /, *, key: str | None = None) -> Message[None]: ...
    def __call__(self, value: Any = None, /, *, key: str | None = None) -> Message[None]:
        """A message to send, as ``start(..., message=shipped(parcel))`` does; see there."""
        return Message(self, self.encode(value), key)


class Update(Channel, Generic[A_contra, R_co]):
    """A question to a run that may change it: taken by a handler of its code, which answers.

    Example:
        add = Update[Item, int]("add")

        ctx.on(add, put_in, check=is_sold_here)                            # inside
        count = await app.handle("cart-7").update(add, Item("socks"))      # outside
    """

    kind = "update"

    if TYPE_CHECKING:
        exact: list[tuple[A_contra, R_co]]  # a list is of just its type: see Exact

    @overload
    def __call__(self: Update[None, R_co], /, *, key: str | None = None) -> Message[R_co]: ...
    @overload
    def __call__(self, value: A_contra, /, *, key: str | None = None) -> Message[R_co]: ...
    def __call__(self, value: Any = None, /, *, key: str | None = None) -> Message[R_co]:
        """A message to send, as ``start(..., message=add(item))`` does; see there."""
        return Message(self, self.encode(value), key)


class Query(Channel, Generic[R_co]):
    """A question to a run that changes nothing, answered from what is recorded of it.

    Example:
        content = Query[list[Item]]("content")

        ctx.answer(content, lambda: items)                                 # inside
        items = await app.handle("cart-7").query(content)                  # outside
    """

    kind = "query"

    if TYPE_CHECKING:
        exact: list[tuple[None, R_co]]


class Exact(Protocol[A, R]):
    """For type checkers: a channel that takes values, or answers, of just its type. Who reads
    may take them for something wider."""

    name: str
    exact: list[tuple[A, R]]

    def encode(self, value: Any, nth: int = 0) -> bytes: ...


class Message(Generic[R_co]):
    """A value for a signal or an update, checked and ready to be sent, as often as it takes: a run
    takes it once. Made by calling the channel: ``shipped(parcel)``."""

    __slots__ = ("channel", "key", "payload")

    def __init__(self, channel: Channel, payload: bytes, key: str | None) -> None:
        if key is not None and not registry.is_name(key):
            raise InvalidCall(
                f"key={key!r:.300}: it must be a text of 1 to {registry.NAME_MAX} characters, "
                "without NUL."
            )
        self.channel = channel
        self.payload = payload
        self.key = key  # None: whoever sends it first makes one

    def __repr__(self) -> str:
        return f"<Message for {self.channel!r}>"


def expect(channel: object, kind: type[Channel]) -> None:
    """
    Raises:
        InvalidCall: it is no channel of this kind.
    """
    if not isinstance(channel, kind):
        told = f"{shorten(channel)} is no {kind.__name__}, which this call takes"
        raise InvalidCall(f"{told}: give the object itself.")


def check() -> None:
    """
    Raises:
        DefinitionError: one name stands for channels of one kind and several types.
    """
    for (kind, name), channels in _declared.items():
        by_place = {each.place: each for each in channels}  # a reload replaces
        _declared[kind, name] = kept = list(by_place.values())
        for other in kept[1:]:
            if other.types != kept[0].types:
                raise DefinitionError(
                    f"The {kind} {name!r} is declared twice, of different types: {_told(kept[0])} "
                    f"at {kept[0].place}, {_told(other)} at {other.place}. Give one another name."
                )


def _told(channel: Channel) -> str:
    return str(getattr(channel, "__orig_class__", "without one")).replace("durable._authoring.", "")


def _place() -> tuple[str, dict[str, Any]]:
    """Where a channel is declared, and the names that its module has."""
    frame = sys._getframe(2)
    while frame.f_globals.get("__name__") in (__name__, "typing"):
        assert frame.f_back is not None
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}", frame.f_globals
