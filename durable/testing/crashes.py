"""What a test may do to the worker of its environment."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from .._app import Durable
from .._authoring.context import Context
from .._client.handle import Handle
from ..errors import InvalidCall
from .awaited import in_attempt
from .everywhere import Survived, Trial

if TYPE_CHECKING:
    from .cast import Cast
    from .crashing import Moment
    from .environment import Environment
    from .worker import EnvironmentWorker

R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class Crashes(Durable, ABC):
    """The part of an environment in which its worker dies."""

    _cast: Cast

    async def crash(self) -> None:
        """Let the worker die, as if its process had been killed, and take over its runs: attempts
        end where they are, and nothing is left but what is written. Returns when its runs stand
        again where they stood.

        Raises:
            InvalidCall: from inside an activity: see ``crash_before`` and ``crash_after``.

        Example:
            handle = await durable.start(order, "visa")
            await durable.advance(hours=1)
            await durable.crash()
            assert await handle.result() == "shipped"
        """
        if in_attempt():
            raise InvalidCall(
                "An activity cannot end its own worker like this: say beforehand that it dies, by "
                "crash_before(activity) or crash_after(activity)."
            )
        self._environment_worker().die()
        await self._come_to_rest()

    def crash_before(self, activity: Callable[..., Any], /) -> None:
        """Let the worker die when the next attempt of an activity, or of a transaction, has begun
        and has not acted. Once; call it twice for two.

        Raises:
            NotRegistered: it is neither.

        Example:
            durable.crash_before(charge)
            assert await durable.run(order, "visa") == "shipped"
        """
        self._cast.doom(activity, "before")

    def crash_after(self, activity: Callable[..., Any], /) -> None:
        """Let the worker die when an attempt of an activity has acted and returned, and before its
        result is written: so it acts twice, under one idempotency key. A transaction is not run
        again: its outcome stands in the database. Once; call it twice for two.

        Raises:
            NotRegistered: it is neither.

        Example:
            durable.crash_after(charge)
            await durable.run(order, "visa")
            first, second = durable.calls(charge)
            assert first.key == second.key
        """
        self._cast.doom(activity, "after")

    async def crash_everywhere(
        self,
        workflow: Callable[[Context, *Ts], Coroutine[Any, Any, R]],
        /,
        *args: *Ts,
        meanwhile: Callable[[Environment, Handle[R]], Awaitable[object]] | None = None,
        check: Callable[[Environment, Handle[R]], Awaitable[object]] | None = None,
    ) -> Survived[R]:
        """Run a workflow without a crash, and then once for each moment at which its worker may
        die: before and after each of its writes, and those of its children. Each time it must come
        to the same: the same end, the same journals, and no call under another idempotency key.

        Each time in an environment of its own, made as this one is and with its stand-ins as they
        were put; time passes by itself there, and what happens there is not seen here. So a
        workflow of twenty steps is run about forty times. Runs that ``meanwhile`` starts need an
        ``id=``.

        Args:
            workflow, args: as in ``start``.
            meanwhile: what the world does while it runs: an async function that gets the
                environment and the handle; sends signals, lets time pass. The result is awaited
                after it.
            check: what must hold at the end, instead of coming to the same: an async function
                that gets the environment and the handle, and asserts.

        Raises:
            CrashDifference: (an AssertionError) the first difference, in words.
            Stalled: without a crash, it never ends.

        Example:
            durable.stand_in(charge, returns="tx-1")
            survived = await durable.crash_everywhere(order, "visa", 999)
            assert survived.result == "shipped"
        """
        trial = Trial[R](self._repeated, workflow, args, meanwhile, check)
        return await trial.survive()

    @abstractmethod
    def _environment_worker(self) -> EnvironmentWorker: ...

    @abstractmethod
    async def _come_to_rest(self) -> None: ...

    @abstractmethod
    def _repeated(self, moment: Moment | None) -> Environment:
        """Another one like this, whose worker dies at that moment."""
