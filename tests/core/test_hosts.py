"""Whose loop runs: a run's while it is fed, and the host's again afterwards."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Coroutine
from datetime import UTC, datetime
from typing import Any

import pytest

from durable._core import commands, events
from durable._core.hosts import lent
from durable._core.loop import running_loop
from durable._core.replayer import Replayer

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def started(code: Coroutine[Any, Any, Any], seed: int) -> list[commands.Command]:
    return Replayer(lambda: code, bytes([seed]) * 16).feed(events.Started(0, NOON))


async def loop_seen() -> asyncio.AbstractEventLoop | None:
    return running_loop()


async def test_a_host_that_lends_its_thread_has_its_loop_and_hooks_again() -> None:
    host, hooks = asyncio.get_running_loop(), sys.get_asyncgen_hooks()
    with lent():
        (first,) = started(loop_seen(), 1)
        (second,) = started(loop_seen(), 2)
    assert isinstance(first, commands.Complete)
    assert isinstance(second, commands.Complete)
    assert first.value is not None
    assert first.value is not second.value  # each has seen its own
    assert (asyncio.get_running_loop(), sys.get_asyncgen_hooks()) == (host, hooks)
    assert asyncio.current_task() is not None


async def test_it_has_them_again_when_something_was_raised() -> None:
    host = asyncio.get_running_loop()
    with pytest.raises(ZeroDivisionError), lent():
        started(loop_seen(), 1)
        raise ZeroDivisionError
    assert asyncio.get_running_loop() is host
    started(loop_seen(), 2)  # and one that is fed alone gives it back as well
    assert asyncio.get_running_loop() is host


async def test_a_generator_dropped_between_two_turns_is_nobodys_to_close() -> None:
    kept: list[AsyncGenerator[int, None]] = []

    async def counts() -> AsyncGenerator[int, None]:
        yield 1
        yield 2

    async def begins_one() -> int:
        kept.append(counts())
        return await anext(kept[0])

    with lent():
        (done,) = started(begins_one(), 1)
        kept.clear()  # its run's loop still counts as running, and its turn is over
        assert started(loop_seen(), 2)
    assert done == commands.Complete(1)
