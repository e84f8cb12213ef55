"""Runs that begin anew from another one: from its start, or from somewhere in its history.

A part of ``Handle``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from .._authoring.definitions import Definition
from .._store.protocol import Hint
from ..errors import RetryRefused

if TYPE_CHECKING:
    from .client import Client

KEPT: Any = type("Kept", (), {"__repr__": lambda _: "what is recorded"})()


class Anew:
    id: str
    _client: Client
    _definition: Definition | None

    async def fork(self, *, at: int, id: str | None = None, result: object = KEPT) -> Self:
        """Begin a new run that shares the first events of this one, and goes on from there with the
        code and the data of now. This run stays as it is, open or closed: what it does, the fork
        does for itself. The way out where code was changed without a patch, or an answer was wrong.

        What is open at that point is asked for again: activities and transactions run, under the
        idempotency keys that they have in this run; timers go on. Signals and updates that came
        later are received anew. A deadline, a parent, and what the run has shown (states, streams)
        are not shared.

        Args:
            at: how many events are shared: ``at=7`` keeps 0 to 6, as ``durable show`` counts them.
            id: the name of the new run; by default this one's with ``/fork-`` and a random end.
            result: what the event at that position is to bring instead of what is recorded: of an
                activity, a transaction, a child or a promise.

        Raises:
            ForkRefused: nothing can go on from there: the code had ended, a retry took that point
                back, or a promise or a child is open whose answer goes to this run. A better
                position is named.
            Divergence, DecodeError: the code of this process does not fit what is shared.
            NotRegistered: this process does not know the workflow. Import its module.
            RunExists, RunNotFound, InvalidCall, EncodeError: the id is taken; there is no such run.

        Example:
            fork = await client.handle("order-42", order).fork(at=7, result="paid by hand")
            receipt = await fork.result()
        """
        given = () if result is KEPT else (result,)
        run, new_id = await self._client._forked(await self._resolved(), at, id, given)
        await self._client._started_elsewhere()
        return self._new(new_id, run)

    async def restart(self) -> Self:
        """Begin the same workflow with the same arguments anew, under the same id. This run is
        terminated if it is open; it is kept, and found by its handles. The new one has its queue
        and priority, no deadline, and keys of its own: what was done is done again.

        Raises:
            RetryRefused: the id names another run by now.
            RunNotFound: no such id.

        Example:
            handle = await client.handle("import-2026-01").restart()
        """
        old = await self._resolved()
        run = await self._client.store.runs.restart(self.id, old, self._client._seed(old))
        if run is None:
            raise RetryRefused(id=self.id, why="its id names another run now, started after it")
        await self._client.store.notify(Hint.ENDED)
        await self._client._started_elsewhere()
        return self._new(self.id, run)

    async def _resolved(self) -> int:
        raise NotImplementedError

    def _new(self, id: str, run: int) -> Self:
        return type(self)(self._client, id, run=run, definition=self._definition)  # type: ignore[call-arg]
