"""The ``state`` and ``stream`` tables in memory: ``publish.sql``, ``streams.sql``; and
``promise.sql``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..protocol import Item, News, Publish, Watched
from .family import latest
from .tables import StreamRow, Tables, verb

PAGE_ITEMS = 500


def publish(tables: Tables, run: int, publishes: Iterable[Publish]) -> None:
    before = {name: rows[-1].key for (of, name), rows in tables.stream.items()
              if of == run and rows}  # fmt: skip
    for kind, name, value, key, op, attempt in publishes:
        if kind == "state":
            version, _ = tables.state.get((run, name), (0, b""))
            tables.state[run, name] = version + 1, value or b""
        elif before.get(name) != key:
            rows = tables.stream[run, name]
            seq = rows[-1].item.seq + 1 if rows else 1
            rows.append(StreamRow(Item(seq, value, op, attempt), key))


class Streams:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    @verb
    def news(self, watched: Sequence[Watched]) -> list[News]:
        news = [self._news(each) for each in watched]
        return [each for each in news if each is not None]

    def _news(self, watched: Watched) -> News | None:
        tables, where = self._tables, (watched.run, watched.name)
        run = tables.run.get(watched.run)
        items: list[Item] = []
        if run is not None and watched.kind == "state" and where in tables.state:
            version, value = tables.state[where]
            items = [Item(version, value, None, None)] if version > watched.after else []
        elif run is not None and watched.kind == "stream" and where in tables.stream:
            rows = (row.item for row in tables.stream[where] if row.item.seq > watched.after)
            items = [each for each in rows if not _is_beginning(each)][:PAGE_ITEMS]
        if run is not None and run.closed_at is None and not items:
            return None
        return News(watched, items, None if run is None else run.status)

    @verb
    def state(self, run: int, name: str) -> bytes | None:
        found = self._tables.state.get((latest(self._tables, run) or run, name))
        return None if found is None else found[1]

    @verb
    def origin(self, run: int, name: str, after: int) -> int:
        before = {each.heir: run for run, each in self._tables.result.items()}
        while run in before and (rows := self._tables.stream.get((run, name))):
            if rows[0].item.seq <= after:
                break
            run = before[run]
        return run

    @verb
    def successor(self, run: int) -> int | None:
        ended = self._tables.result.get(run)
        return None if ended is None else ended.heir


def _is_beginning(item: Item) -> bool:
    return item.value is None and item.op is None
