"""The process-wide patches of asyncio, each with its reason; inert outside a workflow.

- ``as_completed``: makes a set of the *coroutines* it is given, which hash by
  address, so their tasks would be born in another order in every process.
- ``wait``: forbids coroutines, and an ``Operation`` is one as well as a future.
- ``wait_for`` (3.11): starts a second timer and task where later versions use
  ``asyncio.timeout``; a run recorded on 3.11 would count its operations differently.

The originals are replaced in ``asyncio`` and ``asyncio.tasks``. Code that took the name
before Durable was imported keeps the original.
"""

from __future__ import annotations

import asyncio
import asyncio.tasks
import sys
from collections.abc import Awaitable, Iterable, Iterator
from typing import Any, TypeVar

from ..errors import ConfigurationError
from .loop import running_loop

T = TypeVar("T")

# Bump when the order in which a program runs changes: replay depends on it.
LOOP_VERSION = 1

_as_completed = asyncio.as_completed
_wait = asyncio.wait
_wait_for = asyncio.wait_for


def _ordered_as_completed(
    fs: Iterable[Awaitable[T]], *, timeout: float | None = None
) -> Iterator[Any]:
    if running_loop() is not None:
        fs = [asyncio.ensure_future(each) for each in dict.fromkeys(fs)]
    return _as_completed(fs, timeout=timeout)


async def _wait_with_operations(
    fs: Iterable[Any],
    *,
    timeout: float | None = None,
    return_when: str = asyncio.ALL_COMPLETED,
) -> tuple[set[Any], set[Any]]:
    loop = running_loop()
    if loop is None:
        return await _wait(fs, timeout=timeout, return_when=return_when)
    futures = list(fs)
    if not futures or not all(isinstance(each, asyncio.Future) for each in futures):
        return await _wait(futures, timeout=timeout, return_when=return_when)  # it knows why not
    inner = asyncio.tasks._wait  # type: ignore[attr-defined]
    done, pending = await inner(set(futures), timeout, return_when, loop)
    return done, pending


async def _modern_wait_for(fut: Awaitable[T], timeout: float | None) -> T:
    """``asyncio.wait_for`` as Python 3.12 and later have it."""
    if running_loop() is None:
        return await _wait_for(fut, timeout)
    if timeout is not None and timeout <= 0:
        future = asyncio.ensure_future(fut)
        if future.done():
            return future.result()
        future.cancel()
        try:
            return await future
        except asyncio.CancelledError as error:
            raise TimeoutError from error
    async with asyncio.timeout(timeout):
        return await fut


def _replace(name: str, by: Any) -> None:
    setattr(asyncio, name, by)
    setattr(asyncio.tasks, name, by)


def check_python() -> None:
    """Refuse, in words, a Python on which the loop has not been proved.

    Raises:
        ConfigurationError: Python 3.14 or later.
    """
    if sys.version_info >= (3, 14):
        raise ConfigurationError(
            f"Python {sys.version_info.major}.{sys.version_info.minor} is newer than the loop "
            "of Durable has been proved on (3.11 to 3.13): replay could differ from the "
            "original. Run it on one of those."
        )


_replace("wait", _wait_with_operations)
_replace("as_completed", _ordered_as_completed)
if sys.version_info < (3, 12):
    _replace("wait_for", _modern_wait_for)
