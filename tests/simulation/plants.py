"""Bugs that a simulation must find, or it proves nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from unittest import mock

from durable._runtime import claimer
from durable._runtime.lease import Lease
from durable._store.memory import tables as memory
from durable._store.memory.inbox import Inbox
from durable._store.memory.journal import Journal
from durable._store.protocol import Verdict

from .process import SimulatedClock


def no_fence() -> Any:
    """Who was declared dead writes on, and claims."""
    anybody = SimpleNamespace(serves=lambda _: True)
    return mock.patch.object(memory.Tables, "fence", lambda t, w: t.worker.get(w) or anybody)


def blind_commit() -> Any:
    """A commit does not look whose run it is by now, nor what stands in its journal."""

    def verdict(self: Any, worker: Any, advance: Any) -> Any:
        return None if advance.run in self._tables.run else Verdict.LOST

    return mock.patch.object(Journal, "_verdict", verdict)


def doubled_letters() -> Any:
    """A message that is sent again is taken again."""
    right = Inbox._deliver

    def deliver(self: Any, id: str, letter: Any, *more: Any) -> Any:
        return right(self, id, letter._replace(key=os.urandom(8).hex()), *more)

    return mock.patch.object(Inbox, "_deliver", deliver)


def lost_mail() -> Any:
    """What came since the owner's last look is taken for read."""

    def clear_due(self: Any, worker: Any, seen: Any) -> None:
        for key, _ in seen:
            run = self._tables.run.get(key)
            if run is not None and run.worker == worker:
                run.due_at = None

    def park(self: Any, advance: Any) -> bool:
        run, wanted = self._tables.run[advance.run], advance.effects
        if wanted is not None and wanted.park is not None:
            wanted.park = wanted.park._replace(seen=run.last_seq)
        return bool(right(self, advance))

    right = Journal._park
    return _both(
        mock.patch.object(Inbox, "clear_due", memory.verb(clear_due)),
        mock.patch.object(Journal, "_park", park),
    )


def early_timers() -> Any:
    """The clock runs ahead of the database's."""
    right = SimulatedClock.now

    def now(self: Any) -> Any:
        return right(self) + timedelta(seconds=0.2)

    return mock.patch.object(SimulatedClock, "now", now)


def no_deadline() -> Any:
    """A worker that hears nothing begins attempts all the same."""
    return mock.patch.object(Lease, "may_begin", lambda _: None)


def ghosts() -> Any:
    """Nobody looks for what was claimed and answered to nobody."""

    async def nothing(_: Any) -> None:
        return None

    return mock.patch.object(claimer, "reconcile", nothing)


@contextmanager
def _both(one: Any, other: Any) -> Iterator[None]:
    with one, other:
        yield


# With the faults that bring them out.
PLANTS: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "no_fence": (no_fence, ["a_process_stands_still", "a_loop_is_held", "fog"]),
    "blind_commit": (blind_commit, ["fog"]),
    "doubled_letters": (doubled_letters, ["fog"]),
    "lost_mail": (lost_mail, ["fog", "mud"]),
    "early_timers": (early_timers, ["mud"]),
    "no_deadline": (no_deadline, ["heartbeats_stop", "heartbeats_are_cut_off"]),
    "ghosts": (ghosts, ["fog"]),
}
