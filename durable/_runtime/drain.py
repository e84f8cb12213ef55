"""How a worker leaves: attempts get their grace, what is known is written, and each run goes back
as soon as nothing of it is under way here, so that one long attempt holds up no other run.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .worker import LiveWorker

log = logging.getLogger("durable.worker")

# A draining worker has this long, beyond its grace, to write what is known and hand back.
WRITE_SECONDS = 5.0

# It looks this often for runs that nothing holds here any more, in seconds, and tries so often to
# give back the last ones.
LOOK_SECONDS, LAST_TRIES = 0.05, 20


async def drain(worker: LiveWorker) -> None:
    """Nothing is claimed or begun any more. Bounded even if the database is away."""
    over = asyncio.Event()
    leaving = asyncio.ensure_future(_hand_back_idle(worker, over))
    cut = await worker.attempts.drain(worker.options.grace)
    over.set()
    if cut:
        log.warning("%d attempts were cut off while draining; they begin anew", len(cut))
    try:
        async with asyncio.timeout(worker.options.grace + WRITE_SECONDS):
            await leaving
            while _is_unsettled(worker):
                await asyncio.sleep(0.005)
            for _ in range(LAST_TRIES):
                await worker.chores.hand_back(list(worker.active.values()))
                if not (worker.active or worker.claimer.busy()):
                    break
                await asyncio.sleep(LOOK_SECONDS)  # a stranger holds some, or nobody answers
    except Exception as error:  # noqa: BLE001 - it leaves, whatever the database says
        log.warning("draining was cut short (%r); others take the runs over", error)


async def _hand_back_idle(worker: LiveWorker, over: asyncio.Event) -> None:
    while not over.is_set():
        busy = worker.attempts.runs()
        idle = [each for each in worker.active.values() if each.is_idle and each.run not in busy]
        for each in idle:  # the answer may be lost: no news may move what may be gone
            each.holding = True
        await worker.chores.hand_back(idle)
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await over.wait()


def _is_unsettled(worker: LiveWorker) -> bool:
    """Whether a claim or a commit is under way: who owns what is not known yet."""
    flying = any(each.in_flight for each in worker.active.values())
    return flying or worker.committer.busy() or worker.claimer.busy()
