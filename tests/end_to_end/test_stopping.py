"""Signals that stop a worker, whenever they come."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest

from durable import Context, Worker, workflow


@workflow
async def stops_never(ctx: Context) -> None:
    await ctx.sleep(days=1)


class SignalledWhileItOpens(Worker):
    """It is told to stop when runs may be its own already."""

    async def _open(self) -> None:
        await super()._open()
        os.kill(os.getpid(), signal.SIGTERM)


class SignalledAtTheFirst(Worker):
    async def _open_database(self) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0)  # the loop hears of it
        return await super()._open_database()


@pytest.mark.parametrize("kind", [SignalledWhileItOpens, SignalledAtTheFirst])
async def test_a_signal_before_the_block_waits_for_it_counts(dsn: str, kind: type[Worker]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    async with kind(dsn, serve=[stops_never]) as worker:
        await worker.until_stopped()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_whatever_else_the_block_awaits(dsn: str, number: int) -> None:
    with pytest.raises(asyncio.CancelledError):
        async with Worker(dsn, serve=[stops_never]) as worker:
            os.kill(os.getpid(), number)
            await asyncio.Event().wait()
    assert worker._worker is None  # drained


async def test_a_block_that_ends_by_itself_leaves_the_signals_as_they_were(dsn: str) -> None:
    before = signal.getsignal(signal.SIGTERM)
    async with Worker(dsn, serve=[stops_never]):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
