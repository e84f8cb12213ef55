"""Attempts of ``ctx.transaction``: user code and its recorded result in one commit.

    begin; fn(conn, ...); fence and outcome row; commit

The fence and the row under unique (run, op) come last of all. After a lost commit the old
transaction is seen over first, and then the row tells: it is there, or nothing happened.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
from typing import TYPE_CHECKING, Any

from .._authoring import attempts as authoring
from .._store.protocol import Recorded, Unavailable
from .._store.verbs import Backend
from ..errors import DecodeError, Divergence, InvalidCall, LeaseLost
from .limits import TimedOut, within
from .work import Disowned, Unfit, Work, arguments, encoded

if TYPE_CHECKING:
    from .worker import LiveWorker

log = logging.getLogger("durable.activity")

# SQLSTATEs of conflicts between transactions: nothing is wrong with the code, try again, with
# pauses that double up to a second. What conflicts so often in a row has failed in this attempt.
_CONFLICTS = frozenset({"40001", "40P01"})
_CONFLICTS_MAX = 10
_CONFLICT_PAUSE, _CONFLICT_PAUSE_MAX = 0.02, 1.0
_UNIQUE = "23505"
_LOST_PAUSE = 0.1


class Transactions:
    """Runs one attempt of one transaction: a ``Runner``."""

    def __init__(self, worker: LiveWorker) -> None:
        self._worker = worker

    async def __call__(self, work: Work) -> tuple[bytes, Any]:
        outcomes = self._worker.store.outcomes
        # A run that was loaded may have done it already, in another process.
        recorded = await self._recorded(work) if work.may_have_run else None
        conflicts = 0
        while recorded is None:
            backend: Backend | None = None
            try:
                async with outcomes.backend(work.call.definition.library) as backend:
                    attempt = functools.partial(self._attempt, work, backend)
                    return await within(work, self._worker.clock, attempt)
            except TimedOut:  # maybe while it committed
                recorded = await self._after_lost_connection(work, backend)
                if recorded is None:
                    raise
            except Unavailable as error:
                log.warning("transaction %r of run %r: %s; trying again", work.command.name,
                            work.instance.id, error, extra=work.facts)  # fmt: skip
                recorded = await self._after_lost_connection(work, backend)
            except Exception as error:
                state = sqlstate(error)
                if state == _UNIQUE:
                    recorded = await self._recorded(work)
                if recorded is None and state not in _CONFLICTS:  # the user's own, if unique
                    raise
                if recorded is None:
                    conflicts += 1
                    if conflicts == _CONFLICTS_MAX:
                        raise
                    await _yield(work, conflicts, error)
        return recorded

    async def _attempt(self, work: Work, backend: Backend) -> tuple[bytes, Any]:
        definition, instance = work.call.definition, work.instance
        args, kwargs = arguments(work.call)
        authoring.enter(work)
        async with backend.transaction(definition.options.isolation):
            async with backend.handed() as given:
                value = await definition.fn(given, *args, **kwargs)
            payload, seen = encoded(definition.signature, value)
            if not backend.is_in_transaction():
                raise InvalidCall(
                    f"Transaction {definition.name!r} ended the transaction it runs in: leave "
                    "commit and rollback to ctx.transaction()."
                )
            try:
                await backend.record(
                    self._worker.registration.worker,
                    run=instance.run,
                    claim=instance.claim,
                    op=work.command.op,
                    outcome=Recorded(definition.name, work.command.digest, payload),
                )
            except LeaseLost as error:
                raise Disowned from error
        return payload, seen

    async def _recorded(self, work: Work) -> tuple[bytes, Any] | None:
        """What an earlier attempt has committed.

        Raises:
            Unfit: it was recorded for another call, or does not fit its annotation any more.
        """
        recorded = await self._worker.store.outcomes.read(work.instance.run, work.command.op)
        if recorded is None or recorded.result is None:
            return None
        if (recorded.name, recorded.digest) != (work.command.name, work.command.digest):
            error: Exception = Divergence(
                position=work.instance.position,
                recorded=f"the outcome of transaction {recorded.name!r} under op {work.command.op}",
                asked=f"transaction {work.command.name!r}, or other arguments",
                kind="begun",
                site=work.command.site,
            )
            raise Unfit(str(error)) from error
        try:
            return recorded.result, work.call.definition.signature.decode_result(recorded.result)
        except DecodeError as error:
            raise Unfit(f"the outcome of transaction {recorded.name!r}: {error}") from error

    async def _after_lost_connection(
        self, work: Work, backend: Backend | None
    ) -> tuple[bytes, Any] | None:
        """End the transaction whose commit is unknown, see it over, and look for the outcome."""
        outcomes = self._worker.store.outcomes
        while True:
            await asyncio.sleep(_LOST_PAUSE)
            try:
                if backend is None or await outcomes.settle(backend):
                    return await self._recorded(work)
            except Unavailable:
                continue  # the database is still away


async def _yield(work: Work, conflicts: int, error: Exception) -> None:
    """Let whoever it met go first."""
    pause = min(_CONFLICT_PAUSE * 2 ** (conflicts - 1), _CONFLICT_PAUSE_MAX)
    pause *= random.uniform(0.5, 1.5)  # noqa: S311 - so that two do not meet again
    log.warning("transaction %r of run %r met another one (%s); trying again in %.2f s, %d of %d",
                work.command.name, work.instance.id, error, pause, conflicts, _CONFLICTS_MAX,
                extra=work.facts)  # fmt: skip
    await asyncio.sleep(pause)


def sqlstate(error: Exception) -> str | None:
    """Of an error of a driver, or of SQLAlchemy around one."""
    state = getattr(getattr(error, "orig", error), "sqlstate", None)
    return state if isinstance(state, str) else None
