"""Parked runs that may stay in memory for a while, least recently used out first.

A run that is claimed again by the worker that parked it goes on from here without replay,
if nothing was written to its journal meanwhile.
"""

from __future__ import annotations

from collections import OrderedDict

from .instance import Instance

# About 10 KiB each; a thousand cost less than one busy connection pool.
INSTANCES_MAX = 1_000


class Cache:
    def __init__(self, instances_max: int = INSTANCES_MAX) -> None:
        self._instances_max = instances_max
        self._kept: OrderedDict[int, Instance] = OrderedDict()

    def keep(self, instance: Instance) -> None:
        self._kept[instance.run] = instance
        while len(self._kept) > self._instances_max:
            _, oldest = self._kept.popitem(last=False)
            oldest.lost = True
            oldest.replayer.close()

    def take(self, run: int) -> Instance | None:
        return self._kept.pop(run, None)

    def clear(self) -> None:
        while self._kept:
            _, instance = self._kept.popitem()
            instance.lost = True
            instance.replayer.close()
