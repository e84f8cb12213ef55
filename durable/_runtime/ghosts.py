"""What is marked as a worker's, beside what it has in memory: after a lost answer the two differ.

A claim whose answer was lost leaves a row that nobody else would ever take: it is adopted. A run
that was taken away from outside is let go of. What is on its way is neither.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from .instance import Instance

if TYPE_CHECKING:
    from .worker import LiveWorker

log = logging.getLogger("durable.worker")


async def reconcile(worker: LiveWorker) -> None:
    """Adopt what is marked as ours and is not in memory; drop what is not ours any more."""
    me, before = worker.registration.worker, dict(worker.active)
    born = {run: each for run, each in before.items() if each.birth is None}
    owned = await worker.store.runs.owned(me)
    if me != worker.registration.worker:
        return
    known = before.keys() | worker.active.keys() | worker.claimer.loading
    ghosts = [each for each in owned if each.run not in known]
    if ghosts:
        log.warning("adopting %d runs whose claim was answered to nobody", len(ghosts))
        await worker.claimer.load(me, ghosts)
    # (One that was born meanwhile is not among what was read.)
    _drop_lost(worker, born, {each.run: each.claim for each in owned})


async def drop_strays(worker: LiveWorker) -> None:
    """Let go of what is busy here for long and was closed from outside."""
    me, busy = worker.registration.worker, worker.attempts.runs(noted=True)
    before = {run: worker.active[run] for run in busy if run in worker.active}
    ours = await worker.store.runs.claims(me, list(before))
    if me == worker.registration.worker:
        _drop_lost(worker, before, ours)


def _drop_lost(worker: LiveWorker, before: Mapping[int, Instance], ours: dict[int, int]) -> None:
    for run, instance in before.items():
        settling = instance.birth is not None or instance.in_flight or instance.close
        is_here = worker.active.get(run) is instance
        if is_here and not settling and ours.get(run) != instance.claim:
            log.warning("run %r is not this worker's any more", instance.id, extra=instance.facts)
            worker.attempts.drop_run(instance)
            worker.forget(instance)
