"""The process-wide patches of asyncio, each with its reason; inert outside a workflow.

- ``wait``: forbids coroutines, and an ``Operation`` is one as well as a future. Its sets are
  walked by hash, so futures that hash by address are refused.
- ``as_completed``: makes a set of the *coroutines* it is given, which hash by
  address, so their tasks would be born in another order in every process.
- ``all_tasks``: walks the tasks of all loops of the process.
- ``wrap_future``: a thread would wake the workflow, at any moment; refused.
- ``wait_for`` (3.11): starts a second timer and task where later versions use
  ``asyncio.timeout``; a run recorded on 3.11 would count its operations differently.
- ``gather``'s future (in ``loop.py``) and anyio's cancel scopes (in ``anyio_shims.py``)
  hash by birth.

A function keeps its identity and gets other code, so that names which were imported before
Durable hold as well. docs/determinism.md tells the same to users.
"""

from __future__ import annotations

import asyncio
import asyncio.tasks
import sys
from collections.abc import Awaitable, Iterable
from types import FunctionType
from typing import Any, TypeVar

from ..errors import NotInWorkflow
from .loop import OrderedFuture, OrderedTask, running_loop
from .refusals import refusing

T = TypeVar("T")

# Bump when the order in which a program runs changes: replay depends on it.
LOOP_VERSION = 1

# The functions as asyncio has them, by name.
originals: dict[str, Any] = {}


def _as_completed(fs: Iterable[Awaitable[T]], *, timeout: float | None = None) -> Any:
    if running_loop() is not None:
        fs = [_ordered(asyncio.ensure_future(each)) for each in dict.fromkeys(fs)]
    return originals["as_completed"](fs, timeout=timeout)


async def _wait(
    fs: Iterable[Any], *, timeout: float | None = None, return_when: str = asyncio.ALL_COMPLETED
) -> Any:
    loop = running_loop()
    if loop is None:
        return await originals["wait"](fs, timeout=timeout, return_when=return_when)
    futures = list(fs)
    if not futures or not all(isinstance(each, asyncio.Future) for each in futures):
        return await originals["wait"](futures, timeout=timeout, return_when=return_when)
    inner = asyncio.tasks._wait  # type: ignore[attr-defined]
    return await inner({_ordered(each) for each in futures}, timeout, return_when, loop)


def _ordered(future: asyncio.Future[Any]) -> asyncio.Future[Any]:
    gathering = asyncio.tasks._GatheringFuture  # type: ignore[attr-defined]
    if not isinstance(future, OrderedFuture | OrderedTask | gathering):
        raise NotInWorkflow(
            f"{future!r} hashes by its address, so a set of it has another order in every "
            "process. Inside a workflow make futures by "
            "`asyncio.get_running_loop().create_future()` and tasks by `asyncio.create_task()`."
        )
    return future


def _all_tasks(loop: Any = None) -> Any:
    ours = running_loop()
    if ours is None or loop not in (None, ours):
        return originals["all_tasks"](loop)
    return {task for task in sorted(ours.tasks, key=hash) if not task.done()}


def _wrap_future(future: Any, *, loop: Any = None) -> Any:
    if running_loop() is not None and not asyncio.isfuture(future):
        refusing("call_soon_threadsafe")()
    return originals["wrap_future"](future, loop=loop)


async def _wait_for(fut: Awaitable[T], timeout: float | None) -> T:
    """``asyncio.wait_for`` as Python 3.12 and later have it."""
    if running_loop() is None:
        return await originals["wait_for"](fut, timeout)  # type: ignore[no-any-return]
    if timeout is not None and timeout <= 0:
        future = asyncio.ensure_future(fut)
        if future.done():
            return future.result()
        await asyncio.tasks._cancel_and_wait(future, asyncio.get_running_loop())  # type: ignore[attr-defined]
        try:
            return future.result()
        except asyncio.CancelledError as error:
            raise TimeoutError from error
    async with asyncio.timeout(timeout):
        return await fut


def _take_over(original: Any, ours: Any, *, asynchronous: bool = False) -> None:
    """Give a function of asyncio's other code, which calls ours. The code looks names up in
    the original's module, so ours stands there under a name of its own."""
    name = original.__name__
    module = original.__globals__
    kept = module.get(f"_original_{name}")
    if kept is None:  # else this module is loaded anew
        kept = FunctionType(original.__code__, module, name, original.__defaults__)
        kept.__kwdefaults__ = original.__kwdefaults__
    originals[name] = module[f"_original_{name}"] = kept
    code = original.__code__
    positional = code.co_varnames[: code.co_argcount]
    keywords = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    takes = ", ".join([*positional, "*", *keywords] if keywords else positional)
    gives = ", ".join([*positional, *(f"{each}={each}" for each in keywords)])
    kind, wait = ("async def", "await ") if asynchronous else ("def", "")
    source = f"{kind} {name}({takes}):\n    return {wait}_durable_{name}({gives})\n"
    made: dict[str, Any] = {}
    exec(compile(source, __file__, "exec"), made)  # noqa: S102 - names of asyncio alone
    module[f"_durable_{name}"] = ours
    original.__code__ = made[name].__code__


_take_over(asyncio.wait, _wait, asynchronous=True)
_take_over(asyncio.as_completed, _as_completed)
_take_over(asyncio.all_tasks, _all_tasks)
_take_over(asyncio.wrap_future, _wrap_future)
if sys.version_info < (3, 12):
    _take_over(asyncio.wait_for, _wait_for, asynchronous=True)
