"""Where the code of a run stands: the coroutines of its tasks, each with its line.

They are read off a replayed copy (``_replaying.py``): no worker is asked, and none need live. A
task is a chain of coroutines, each of which awaits the next; the last awaits a future, which tells
what is waited for.
"""

from __future__ import annotations

import asyncio
import gc
import linecache
from collections.abc import Iterator
from types import FrameType
from typing import Any, NamedTuple

from ._authoring.context import Context
from ._core import divergence
from ._core.loop import Timer
from ._core.operation import Operation
from ._core.replayer import Replayer
from ._core.sites import is_between
from .errors import shorten

MAIN = "main"

# Locals that say nothing: what the interpreter itself puts there. (Nor does `ctx`.)
_HIDDEN = ("__", "@")


class Frame(NamedTuple):
    """One coroutine of a task, and its line."""

    file: str
    line: int
    function: str
    source: str  # of that line; empty if it is not here
    locals: dict[str, str]
    frame: FrameType
    is_between: bool  # asyncio's, or ours


class Stack(NamedTuple):
    """One task of a run: what it waits for, and its coroutines from the outermost in."""

    task: str
    waits_for: str
    op: int | None  # of what it waits for, if that is an operation
    frames: tuple[Frame, ...]

    @property
    def own(self) -> list[Frame]:
        """Those of the workflow's own code."""
        return [each for each in self.frames if not each.is_between]


def stacks(replayer: Replayer) -> list[Stack]:
    """All tasks of a run that waits, in the order in which they began."""
    tasks = sorted(replayer._loop.tasks, key=hash)
    return [_stack(replayer, task) for task in tasks if not task.done()]


def _stack(replayer: Replayer, task: asyncio.Task[Any]) -> Stack:
    frames = tuple(map(_told, _frames(task.get_coro())))
    waiter = _shielded(task._fut_waiter)  # type: ignore[attr-defined]
    name = MAIN if task is replayer._main else task.get_name()
    op = _op(replayer, waiter)
    asked = getattr(waiter, "asked", None) if op is None else replayer.open[op]
    if asked is not None:  # also by what was answered just now, and is not what the code asks for
        waits_for = divergence.describe(asked)
    else:
        inner = frames[-1] if frames and frames[-1].is_between else None
        waits_for = _described(waiter, inner)
    return Stack(name, waits_for, op, frames)


def _frames(coro: Any) -> Iterator[FrameType]:
    while coro is not None:
        for kind, awaits in (("cr", "await"), ("ag", "await"), ("gi", "yieldfrom")):
            frame = getattr(coro, f"{kind}_frame", None)
            if frame is not None:
                yield frame
                coro = getattr(coro, f"{kind}_{awaits}")
                break
        else:
            coro = next((each for each in gc.get_referents(coro) if _has_frame(each)), None)


def _has_frame(each: Any) -> bool:
    """Who steps through a generator refers to it, and says so to the collector alone."""
    return any(getattr(each, f"{kind}_frame", None) is not None for kind in ("cr", "ag", "gi"))


def _told(frame: FrameType) -> Frame:
    code = frame.f_code
    shown = {name: shorten(value) for name, value in frame.f_locals.items()
             if not (name.startswith(_HIDDEN) or isinstance(value, Context))}  # fmt: skip
    source = linecache.getline(code.co_filename, frame.f_lineno).strip()
    return Frame(code.co_filename, frame.f_lineno, code.co_qualname, source, shown, frame,
                 is_between(code.co_filename))  # fmt: skip


def _shielded(waiter: Any) -> Any:
    """What stands behind ``asyncio.shield``: its callbacks know."""
    for callback, *_ in getattr(waiter, "_callbacks", None) or ():
        for cell in getattr(callback, "__closure__", None) or ():
            if isinstance(cell.cell_contents, asyncio.Future):
                return cell.cell_contents
    return waiter


def _op(replayer: Replayer, waiter: Any) -> int | None:
    """The operation that a future stands for, if it is one that is still open."""
    if isinstance(waiter, Operation):
        return waiter.op if waiter.op in replayer.open else None
    # `asyncio.sleep` waits for a plain future, which a timer will resolve.
    return next((op for op, timer in replayer._waiting.items()
                 if isinstance(timer, Timer) and any(each is waiter for each in timer.args)),
                None)  # fmt: skip


def _described(waiter: Any, inner: Frame | None) -> str:
    if isinstance(waiter, asyncio.Task):
        return f"task {waiter.get_name()!r}"
    children = getattr(waiter, "_children", None)
    if children is not None:
        left = sum(not each.done() for each in children)
        return f"{left} of the {len(children)} in a gather"
    return f"asyncio's {inner.function}" if inner is not None else "a future of its own"
