"""Queries: the code of a run, and what is recorded of it, give the answer; nothing is written.

A run that is live here answers itself, between two turns that are both written. Any other is
replayed from its journal into a copy, which is thrown away.
"""

from __future__ import annotations

import asyncio

from . import _many
from ._authoring.definitions import workflow_of
from ._client import client
from ._client.starting import unhurried
from ._runtime import rows
from ._runtime.instance import Instance
from ._store.verbs import Store
from .errors import InvalidCall, RunNotFound


class Client(_many.Client):
    __doc__ = client.Client.__doc__

    async def _replayed(self, run: int, query: str) -> bytes:
        instance = await copy_of(run, self.store)
        try:
            return ask(instance, query)
        finally:
            instance.replayer.close()


async def copy_of(run: int, store: Store) -> Instance:
    """The run as it is recorded.

    Raises:
        NotRegistered: this process does not know its workflow.
        Divergence, DecodeError: its code does not fit its journal.
    """
    found = await store.runs.look(run)
    if found is None:
        raise RunNotFound(id=str(run))
    definition = workflow_of(found.workflow)
    history = rows.read(await store.journal.read([(run, 0)]))
    copy = Instance(
        run,
        id=found.id,
        claim=found.claim,
        seed=found.seed,
        definition=definition,
        input=found.input,
        origins=found.origins,
    )
    async for row in unhurried(history.rows):
        copy.replay([row])
    return copy


async def settled(instance: Instance) -> bool:
    """Whether all that the run has been fed is written. What it is about to write is waited for."""
    while instance.in_flight and not instance.lost:
        await asyncio.sleep(0.001)
    return not instance.lost and instance.position > 0 and instance.report is None


def ask(instance: Instance, query: str) -> bytes:
    """
    Raises:
        InvalidCall: the run does not answer it, or has not begun.
    """
    if instance.position == 0:
        raise InvalidCall(f"Run {instance.id!r} has not begun: it knows nothing yet.")
    answer: bytes = instance.replayer.updates.ask(query)
    return answer
