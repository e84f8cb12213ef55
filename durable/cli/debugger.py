"""A debugger for recorded runs: pdb, or another one of its kind, around a replay.

The code of the workflow runs here as it does in a worker, event by event; the debugger sees the
lines of the user's own code and steps over ours, asyncio's and the standard library's. Between
two events no code runs: all coroutines wait. To stop there is to look at their frames from outside,
as one looks at those of an exception; whatever command goes on feeds the next event.
"""

from __future__ import annotations

import importlib
import linecache
import os
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

import click

from .._core.sites import is_between
from ..errors import DurableError, InvalidCall
from .output import clean, clean_lines

if TYPE_CHECKING:
    from .._replaying import Copy
    from .._stacks import Stack
    from .._store.protocol import JournalRow

DEFAULT = "pdb:Pdb"

_STDLIB = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))


def is_own(file: str) -> bool:
    """Whether a file is the user's, or of a library of his."""
    is_library = file.startswith(_STDLIB) and "site-packages" not in file
    return not (is_between(file) or is_library or file == __file__ or file.startswith("<"))


class Stepping:
    """What a debugger of recorded runs does otherwise than its base class, which is chosen when it
    is started."""

    copy: Copy
    stack: list[tuple[FrameType, int]]

    def stop_here(self, frame: FrameType) -> bool:
        base: Any = super()
        return is_own(frame.f_code.co_filename) and base.stop_here(frame)

    def get_stack(
        self, f: FrameType | None, t: TracebackType | None
    ) -> tuple[list[tuple[FrameType, int]], int]:
        """Without the frames that feed the event: they are not what is looked for."""
        base: Any = super()
        stack, index = base.get_stack(f, t)
        ours = [n for n, (frame, _) in enumerate(stack) if frame.f_code.co_filename == __file__]
        shown = [each for each in stack[ours[-1] + 1 if ours else 0 :] if _is_shown(each)]
        return (shown, len(shown) - 1) if shown else (stack, index)

    def user_call(self, frame: FrameType, argument_list: Any) -> None:
        """Each time that a coroutine goes on it is called: its next line is soon enough."""

    def user_return(self, frame: FrameType, return_value: Any) -> None:
        """To await is to return, for now. Only who asked for it (``return``) is told."""
        base: Any = super()
        if frame is base.__getattribute__("returnframe"):
            base.user_return(frame, return_value)

    def do_tasks(self, arg: str) -> None:
        """tasks
        Show the tasks of the run, what each waits for and where.
        """
        for each in self._tasks():
            click.echo(clean(f"{each.task} waits for {each.waits_for}{_at(each)}"))

    def do_task(self, arg: str) -> None:
        """task NAME
        Look at the coroutines of that task: `up` and `down` go through them.
        """
        chosen = [each for each in self._tasks() if each.task == arg.strip() and each.own]
        if not chosen:
            names = ", ".join(each.task for each in self._tasks() if each.own)
            click.echo(f"There is no task {arg.strip()!r} with lines of yours. There are: {names}.")
            return
        base: Any = self
        base.setup(None, traceback_of(chosen[0]))
        base.print_stack_entry(self.stack[-1])

    def _tasks(self) -> list[Stack]:
        from .._stacks import stacks

        return stacks(self.copy.instance.replayer)


def _is_shown(entry: tuple[FrameType, int]) -> bool:
    return is_own(entry[0].f_code.co_filename)


def made(name: str, copy: Copy) -> Any:
    """A debugger of that class, ``module:Class``.

    Raises:
        InvalidCall: there is no such class.
    """
    module, _, attribute = name.partition(":")
    try:
        base: Any = importlib.import_module(module)
        for each in attribute.split("."):
            base = getattr(base, each)
        debugger = type("Debugger", (Stepping, base), {})()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise InvalidCall(
            f"--pdbcls {name!r} names no debugger ({error}). It is a module and a class in it, as "
            "in IPython.terminal.debugger:TerminalPdb."
        ) from error
    debugger.copy = copy
    debugger.nosigint = True  # Ctrl-C ends it, as it ends every other command
    return debugger


def set_breaks(debugger: Any, copy: Copy, places: Sequence[str]) -> None:
    """
    Raises:
        InvalidCall: one of them is no line of a file that is here.
    """
    own = copy.definition.fn.__code__.co_filename
    for place in places:
        name, _, number = place.rpartition(":")
        if not number.isdecimal():
            raise InvalidCall(f"--break {place!r}: it is a file and a line, as in shop.py:41.")
        file = _file(name, own)
        refused = debugger.set_break(file, int(number))
        if refused:
            raise InvalidCall(f"--break {place!r}: {refused}.")


def _file(name: str, own: str) -> str:
    """The file that is meant: the workflow's own if none is named; a path; or the end of the path
    of a module that is imported."""
    if not name or Path(own).match(name):
        return own
    if Path(name).exists():
        return str(Path(name).resolve())
    files = {getattr(each, "__file__", None) for each in list(sys.modules.values())}
    fitting = sorted(each for each in files if each and Path(each).match(name) and is_own(each))
    return fitting[0] if fitting else name


def traceback_of(stack: Stack) -> TracebackType | None:
    """The coroutines of a task as a debugger takes frames that do not run: the outermost first."""
    made: TracebackType | None = None
    for each in reversed(stack.own):
        made = TracebackType(made, each.frame, max(0, each.frame.f_lasti), each.line)
    return made


class Session:
    """One run, fed event by event under a debugger; None: whichever is attached already."""

    def __init__(self, copy: Copy, debugger: Any | None) -> None:
        self._copy = copy
        self._debugger = debugger
        self.misfit: Exception | None = None  # the code does not fit, as was told

    def run(self, to: int | None, *, waits_for_break: bool) -> None:
        """Feed all events. Stop at the first line; or after position ``to``; or only at breaks; and
        where the run stands at the end."""
        debugger = self._debugger
        if debugger is not None:
            debugger.reset()
            debugger.botframe = sys._getframe()
            if to is None and not waits_for_break:
                debugger.set_step()
            else:
                debugger.set_continue()
        hook = sys.breakpointhook
        if debugger is not None and "PYTHONBREAKPOINT" not in os.environ:
            sys.breakpointhook = self._breakpoint
        try:
            self._feed_all(to)
        finally:
            sys.breakpointhook = hook

    @property
    def is_over(self) -> bool:
        """Somebody has had enough."""
        return self._debugger is not None and bool(self._debugger.quitting)

    def _feed_all(self, to: int | None) -> None:
        rows = self._copy.history.fed
        for row in rows:
            if self.is_over or not self._fits(row):
                return
            is_last = row is rows[-1]
            if not self.is_over and (is_last or (to is not None and row.position >= to)):
                after = "all that is recorded" if is_last else f"position {row.position}"
                self._stand(f"After {after}.")
                to = None

    def _fits(self, row: JournalRow) -> bool:
        """Feed one event. If the code does not fit it, look at where the one before has led it."""
        from .._replaying import told

        try:
            self._traced(lambda: self._copy.feed(row))
        except DurableError as error:
            if not self.is_over:
                self.misfit = error
                said = told(error, self._copy.history)
                click.echo(clean_lines(f"durable: {said}"), err=True)
                self._stand("It stands where the event before has led it:")
            return False
        return True

    def _traced(self, feed: Callable[[], None]) -> None:
        if self._debugger is None:
            feed()
            return
        before = sys.gettrace()
        sys.settrace(self._debugger.trace_dispatch)
        try:
            feed()
        finally:
            sys.settrace(before)

    def _stand(self, when: str) -> None:
        """Look at where the code waits."""
        from .._stacks import stacks

        tasks = [each for each in stacks(self._copy.instance.replayer) if each.own]
        if self._debugger is None or not tasks:
            return
        shown = tasks[0]
        others = f" (one of {len(tasks)} tasks: `tasks`, `task NAME`)" if len(tasks) > 1 else ""
        click.echo(clean(f"{when} {shown.task} waits for {shown.waits_for}{others}"))
        self._debugger.interaction(None, traceback_of(shown))

    def _breakpoint(self, *_: Any, **__: Any) -> None:
        """``breakpoint()`` in the user's code."""
        frame = sys._getframe(1)
        assert self._debugger is not None
        self._debugger.set_step()
        frame.f_trace = self._debugger.trace_dispatch
        sys.settrace(self._debugger.trace_dispatch)


def check_source(copy: Copy) -> None:
    """
    Raises:
        InvalidCall: there are no lines to show.
    """
    file = copy.definition.fn.__code__.co_filename
    if not linecache.getlines(file):
        raise InvalidCall(
            f"The source of workflow {copy.definition.name!r} is not here ({file}), so there are "
            "no lines to stop at. Run this where the code lies as files; `durable stack` and "
            "`durable debug --locals` do without."
        )


def _at(stack: Stack) -> str:
    return f", at {stack.own[-1].file}:{stack.own[-1].line}" if stack.own else ""
