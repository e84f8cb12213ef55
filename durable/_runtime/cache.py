"""Parked runs that may stay in memory for a while, least recently used out first.

A run that is claimed again by the worker that parked it goes on from here without replay, if
nothing was written to its journal meanwhile. That is for runs that somebody may wake at any moment,
with a message or an answer, and for those whose replay would take long. One that only sleeps is
rebuilt from a few rows when it is due, and until then there may be any number of them: it takes no
memory.
"""

from __future__ import annotations

from collections import OrderedDict

from .._core import commands
from .instance import Instance

# About 7 KiB each, beside what they were called with: less than one busy connection pool.
INSTANCES_MAX = 1_000
BYTES_MAX = 16 * 1024 * 1024

# So many events are replayed in about half a millisecond.
LONG_FROM = 100


class Cache:
    def __init__(self, instances_max: int = INSTANCES_MAX) -> None:
        self._instances_max = instances_max
        self._kept: OrderedDict[int, Instance] = OrderedDict()
        self._bytes = 0  # of their arguments; what their code holds beside, nobody can tell

    def keep(self, instance: Instance) -> None:
        self._kept[instance.run] = instance
        self._bytes += len(instance.input)
        if not is_worth_it(instance):
            self._drop(instance.run)
        while len(self._kept) > self._instances_max or self._bytes > BYTES_MAX:
            self._drop(next(iter(self._kept)))

    def take(self, run: int) -> Instance | None:
        instance = self._kept.pop(run, None)
        if instance is not None:
            self._bytes -= len(instance.input)
        return instance

    def clear(self) -> None:
        while self._kept:
            self._drop(next(iter(self._kept)))

    def _drop(self, run: int) -> None:
        instance = self.take(run)
        assert instance is not None
        instance.lost = True
        instance.replayer.close()


def is_worth_it(instance: Instance) -> bool:
    """Whether it may be woken before it is due, or its replay takes long."""
    waits = instance.replayer.open.values()
    return instance.position >= LONG_FROM or any(type(each) is not commands.Wait for each in waits)
