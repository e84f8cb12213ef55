"""What an attempt publishes, on its way to the commits of its run.

A publisher belongs to one op and lives in all threads at once; the owner's commits take what
has gathered. Where another attempt begins it sets a mark in each stream: what came before is
void. What a commit has taken counts as written when the next one comes; a run that is loaded
anew meanwhile publishes it again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from .._core import commands
from .._store.protocol import Publish
from ..errors import StoreUnavailable

# What an attempt may have published and the database has not taken yet.
UNWRITTEN_BYTES_MAX = 4 * 1024 * 1024
ITEM_OVERHEAD = 100


class Item(NamedTuple):
    name: str
    value: bytes | None  # None: a mark
    attempt: int


def gathered(
    effects: Iterable[commands.Effect], streaming: Mapping[int, Publisher], key: bytes
) -> tuple[Publish, ...]:
    """What a commit publishes: of a state that was set more than once its last value; and what an
    activity has published before what its result has led to."""
    streams = [
        Publish("stream", name, value, key, op, attempt)
        for op, publisher in streaming.items()
        for name, value, attempt in publisher.take()
    ]
    states: dict[str, Publish] = {}
    for each in effects:
        if isinstance(each, commands.Publish):
            publish = Publish(each.kind, each.name, each.value, key)
            if each.kind == "state":
                states[each.name] = publish
            else:
                streams.append(publish)
    return *streams, *states.values()


class Publisher:
    def __init__(self, stir: Callable[[], object], *, number: int, may_have_run: bool) -> None:
        """``stir`` is called, from any thread, when something has come."""
        self._stir = stir
        self._number = number
        self._is_first = not may_have_run
        self._marked: set[str] = set()  # streams that know of this attempt
        self._items: deque[Item] = deque()
        self._taken: list[Item] = []
        self._bytes_in = self._bytes_out = 0

    def publish(self, name: str, value: bytes) -> None:
        """
        Raises:
            StoreUnavailable: too much waits to be written already.
        """
        if self._bytes_in - self._bytes_out > UNWRITTEN_BYTES_MAX:
            raise StoreUnavailable(
                f"More than {UNWRITTEN_BYTES_MAX:,} bytes that this attempt has published wait to "
                "be written: the database is slow or away, or the activity publishes without ever "
                "letting the event loop go on (await something now and then)."
            )
        if name not in self._marked:
            self._marked.add(name)
            if not self._is_first:
                self._put(Item(name, None, self._number))
        self._put(Item(name, value, self._number))
        self._stir()

    def begin(self, number: int) -> None:
        """Another attempt begins."""
        self._number, self._is_first = number, False
        for name in sorted(self._marked):
            self._put(Item(name, None, number))
        if self._marked:
            self._stir()

    def take(self) -> Iterator[Item]:
        """What has gathered, for a commit."""
        self._taken.clear()
        while self._items:
            item = self._items.popleft()
            self._bytes_out += _size(item)
            self._taken.append(item)
            yield item

    def again(self) -> bool:
        """The run was loaded anew, and its last commit may be lost. Whether there is anything."""
        for item in reversed(self._taken):
            self._items.appendleft(item)
            self._bytes_in += _size(item)
        self._taken.clear()
        return bool(self._items)

    def _put(self, item: Item) -> None:
        self._items.append(item)
        self._bytes_in += _size(item)


def _size(item: Item) -> int:
    return ITEM_OVERHEAD + len(item.value or b"")
