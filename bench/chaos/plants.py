"""Bugs to plant, each as one might have written it: ``--plant NAME``. Chaos that does not find
them proves nothing by finding nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from durable._runtime import claimer, committer, timers
from durable._store.postgres import outcomes
from durable._store.postgres.journal import Journal
from durable._store.protocol import Unavailable, Verdict
from tests.proof.planting import planted


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Plant:
    """``sql`` replaces a function of the database; ``in_worker`` changes every process."""

    sql: Callable[[], str] | None = None
    in_worker: Callable[[], None] = _nothing


def _unfenced() -> str:
    """A zombie writes on: neither its life nor its claim is looked at."""
    return planted(
        "commit",
        ("where w.worker = by_worker and w.state = 'live' for key share;\n    if not found then",
         "where w.worker = by_worker for key share;\n    if false then"),
        ("        where r.worker = by_worker and r.claim = a.claim\n        order by r.run for key",
         "        order by r.run for key"),
    )  # fmt: skip


def _lost_wake_up() -> str:
    """A run is put away though a message has come meanwhile."""
    wrong = ("where r.run = p.run and r.last_seq = p.seen and", "where r.run = p.run and")
    return planted("commit", wrong)


def _not_sent_again() -> None:
    """No answer to a commit is taken for success."""
    right = Journal.commit

    async def commit(self: Any, worker: Any, advances: Any, **more: Any) -> list[Verdict]:
        try:
            return await right(self, worker, advances, **more)
        except Unavailable:
            return [Verdict.DONE] * len(advances)

    Journal.commit = commit  # type: ignore[method-assign]


def _ghosts() -> None:
    """What is marked as this worker's is never compared with what it knows."""

    async def none(_: Any) -> None:
        pass

    claimer.reconcile = none  # type: ignore[attr-defined, assignment]


def _early() -> None:
    """Timers go by a clock that is ahead."""
    arm, by = timers.Timers.arm, timedelta(seconds=0.2)
    timers.Timers.arm = (  # type: ignore[method-assign]
        lambda self, run, op, due: arm(self, run, op, due - by))  # fmt: skip


def _let_out_early() -> None:
    """Attempts begin while the commit that asks for them is under way."""
    right = committer.Committer._send

    async def send(self: Any, batch: Any) -> None:
        for instance, _ in batch:
            self._on_written.__self__._let_out(instance, parked=False)
        await asyncio.sleep(0.02)
        await right(self, batch)

    committer.Committer._send = send  # type: ignore[method-assign]


def _split_effects() -> None:
    """A transaction's outcome is recorded in another transaction than its effects."""
    right = outcomes.Backend.record

    async def record(self: Any, worker: Any, **facts: Any) -> None:
        await self.connection.execute("commit; begin")
        await right(self, worker, **facts)

    outcomes.Backend.record = record  # type: ignore[method-assign]


PLANTS = {
    "unfenced": Plant(sql=_unfenced),
    "lost-wake-up": Plant(sql=_lost_wake_up),
    "not-sent-again": Plant(in_worker=_not_sent_again),
    "ghosts": Plant(in_worker=_ghosts),
    "early-timers": Plant(in_worker=_early),
    "let-out-early": Plant(in_worker=_let_out_early),
    "split-effects": Plant(in_worker=_split_effects),
}
