"""Attempts of ``ctx.transaction``: user code and its recorded result in one commit.

    begin; fn(conn, ...); fence and outcome row; commit

The fence and the row under unique (run, op) come last of all. After a lost commit the old
backend is ended first, and then the row tells: it is there, or nothing happened.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg

from .._codec.failures import decode_failure
from .._store.protocol import Unavailable
from ..errors import DurableError, InvalidCall
from .attempts import Work, encoded

if TYPE_CHECKING:
    from .worker import LiveWorker

# SQLSTATEs of conflicts between transactions: nothing is wrong with the code, try again.
_CONFLICTS = frozenset({"40001", "40P01"})
_CONFLICT_PAUSE = 0.02


class Transactions:
    """Runs one attempt of one transaction: a ``Runner``."""

    def __init__(self, worker: LiveWorker) -> None:
        self._worker = worker

    async def __call__(self, work: Work) -> tuple[bytes, Any]:
        store = self._worker.store
        if work.instance.loaded:
            recorded = await self._recorded(work)
            if recorded is not None:
                return recorded
        while True:
            try:
                async with store.outcomes.connection() as connection:
                    return await self._attempt(work, connection)
            except asyncpg.UniqueViolationError as error:
                recorded = await self._recorded(work)
                if recorded is None:
                    raise error
                return recorded
            except asyncpg.PostgresError as error:
                if error.sqlstate not in _CONFLICTS:
                    raise
                await asyncio.sleep(_CONFLICT_PAUSE)
            except Unavailable:
                await self._settle_unknown(work)
                recorded = await self._recorded(work)
                if recorded is not None:
                    return recorded

    async def _attempt(self, work: Work, connection: Any) -> tuple[bytes, Any]:
        definition, worker = work.call.definition, self._worker
        args, kwargs = definition.signature.decode_call(work.call.input)
        worker.attempts.enter(work)
        async with connection.transaction():
            value = await definition.fn(connection, *args, **kwargs)
            payload, seen = encoded(definition.signature, value)
            if not connection.is_in_transaction():
                raise InvalidCall(
                    f"Transaction {definition.name!r} ended the transaction it runs in: leave "
                    "commit and rollback to ctx.transaction()."
                )
            await worker.store.outcomes.record(
                connection,
                worker=worker.registration.worker,
                run=work.instance.run,
                claim=work.instance.claim,
                op=work.command.op,
                name=definition.name,
                digest=work.command.digest,
                result=payload,
            )
        return payload, seen

    async def _recorded(self, work: Work) -> tuple[bytes, Any] | None: ...
    async def _settle_unknown(self, work: Work) -> None: ...
