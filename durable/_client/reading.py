"""What runs show, read from outside: one page after another, in bounded memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .._authoring.channels import expect
from .._authoring.streams import State, Stream
from .._store.protocol import News, Watched
from ..errors import InvalidCall, RunNotFound, shorten

if TYPE_CHECKING:
    from .client import Client

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StreamItem(Generic[T]):
    """One place in a stream: a value, or the beginning of another attempt.

    Attributes:
        offset: of this item: ``after=`` it, the next reader goes on.
        is_reset: an activity that has published here is tried again, and what its earlier
            attempts have published (of the same ``op``) is void. Such an item has no value.
        op: which activity of the run published it; None: the workflow itself did.
        attempt: of that activity.
    """

    offset: int
    is_reset: bool
    op: int | None
    attempt: int | None
    _value: Any

    @property
    def value(self) -> T:
        """
        Raises:
            InvalidCall: it is a reset.
        """
        if self.is_reset:
            raise InvalidCall(
                f"Item {self.offset} of the stream is a reset, which has no value: another attempt "
                "begins. Ask `item.is_reset` first."
            )
        value: T = self._value
        return value


async def state(client: Client, run: int, state: State[T]) -> T | None:
    expect(state, State)
    payload = await client.store.streams.state(run, state.name)
    return None if payload is None else state.decode(payload)


async def changes(
    client: Client, resolve: Callable[[], Awaitable[int]], state: State[T]
) -> AsyncGenerator[T, None]:
    expect(state, State)
    async for item in _pages(client, Watched(await resolve(), state.kind, state.name, 0)):
        yield state.decode(item.value or b"")


async def items(
    client: Client, resolve: Callable[[], Awaitable[int]], stream: Stream[T], after: int
) -> AsyncGenerator[StreamItem[T], None]:
    expect(stream, Stream)
    if type(after) is not int or not 0 <= after < 2**63:
        raise InvalidCall(f"after={shorten(after)} is no offset: 0, or that of an item.")
    run = await client.store.streams.origin(await resolve(), stream.name, after)
    async for seq, value, op, attempt in _pages(
        client, Watched(run, stream.kind, stream.name, after)
    ):
        read = None if value is None else stream.decode(value)
        yield StreamItem(seq, value is None, op, attempt, read)


async def _pages(client: Client, watched: Watched) -> AsyncGenerator[Any, None]:
    while True:
        news: News = await client.waits.news.answer(watched)
        if news.status is None:
            raise RunNotFound(id=str(watched.run))
        for item in news.items:
            yield item
            watched = watched._replace(after=item.seq)
        if news.items:
            continue
        successor = await client.store.streams.successor(watched.run)
        if successor is None:
            return
        watched = watched._replace(run=successor)
