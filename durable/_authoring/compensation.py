"""``Compensation``: what to undo if the rest fails."""

from __future__ import annotations

from contextlib import AsyncExitStack
from types import TracebackType

from ..errors import Evicted


class Compensation(AsyncExitStack):
    """An ``AsyncExitStack`` that runs its callbacks only when the block fails.

    They run last in, first out, each even if another raised; the error goes on. A block
    that ends well, and a run that is only put away from memory, undo nothing.

    Example:
        async with Compensation() as undo:
            payment = await ctx.activity(charge, card)
            undo.push_async_callback(ctx.activity, refund, payment)
            await ctx.activity(ship, parcel)
    """

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if exc is None or isinstance(exc, Evicted):
            self.pop_all()
            return False
        return bool(await super().__aexit__(exc_type, exc, traceback))
