"""Who sends something where its receiver may go on: the run is claimed as it gets the message.

A signal to a run that waits would be delivered first, and the run be claimed when its worker has
been told: two round trips. Where sender and worker are one process they are one, unless other
runs are due here, or other calls wait for the connection: then many are claimed at a time.
"""

from __future__ import annotations

import logging
from uuid import UUID

from ._runtime.versions import versions
from ._runtime.worker import LiveWorker
from ._store.protocol import Claimed, Taker
from .errors import StoreUnavailable

log = logging.getLogger("durable.worker")


def taker(worker: LiveWorker) -> Taker | None:
    """The worker, if it would go on at once; None if that run had better take its turn."""
    claimer, me = worker.claimer, worker.registration.worker
    if claimer.backlog or claimer.busy() or not worker.room:
        return None

    def give(claimed: Claimed) -> None:
        claimer.loading.add(claimed.run)  # from now on it is known as ours
        worker.own(_go_on(worker, me, claimed))

    return Taker(me, versions(), give)


async def _go_on(worker: LiveWorker, me: UUID, claimed: Claimed) -> None:
    try:
        await worker.claimer.load(me, [claimed])
    except StoreUnavailable as error:  # it is adopted when what is ours is compared
        log.warning("the database did not answer a load: %s", error, extra={"id": claimed.id})
