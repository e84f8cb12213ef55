"""Says so when workflow code reads a clock, draws chance or sleeps by itself.

None of it is recorded, so a replay may see something else. Two ways to notice, neither of
which refuses anything:

- functions of modules are replaced by ones that ask whether a workflow is running, and warn at
  the call, however deep; a name that was imported before Durable keeps the original;
- classes written in C cannot be replaced, and some clocks are read too often to ask: what a
  workflow function itself names (``datetime.now``, ``time.monotonic``) is found by reading its
  code once, when a worker begins to serve it.

A line is told once in a process.
"""

from __future__ import annotations

import datetime as dt
import dis
import os
import random
import secrets
import sys
import sysconfig
import time
import uuid
import warnings
from asyncio import _get_running_loop, _set_running_loop
from collections.abc import Callable, Iterator
from types import CodeType, ModuleType
from typing import Any

from .._core.loop import ReplayLoop
from ..errors import WorkflowWarning

_CLOCK, _CHANCE, _UUID = "`ctx.now()`", "`ctx.random`", "`ctx.uuid4()`"
_OWN = "an activity"

# What is replaced: by module, the replacement to name, and the functions.
_REPLACED: tuple[tuple[Any, str, str], ...] = (
    (time, _CLOCK, "time time_ns"),
    (time, "`await ctx.sleep(...)`", "sleep"),
    (random, _CHANCE, ("betavariate choice choices expovariate gauss getrandbits lognormvariate "
     "normalvariate randbytes randint random randrange sample shuffle triangular uniform")),
    (secrets, _OWN, "choice randbelow randbits token_bytes token_hex token_urlsafe"),
    (os, _CHANCE, "urandom"),
    (uuid, _UUID, "uuid1 uuid4"),
)  # fmt: skip

# What is only read for: bound methods compare equal, so they can stand in a table.
_READ_FOR: dict[Any, str] = {
    dt.datetime.now: "datetime.now",
    dt.datetime.utcnow: "datetime.utcnow",  # pyright: ignore[reportDeprecated]
    dt.datetime.today: "datetime.today",
    dt.date.today: "date.today",
    time.monotonic: "time.monotonic",
    time.monotonic_ns: "time.monotonic_ns",
    time.perf_counter: "time.perf_counter",
    time.perf_counter_ns: "time.perf_counter_ns",
}

# Callers that may: they log, or are what was told already one frame further out.
_SILENT = (sysconfig.get_path("stdlib") + os.sep, os.path.dirname(os.path.dirname(__file__)))

_told: set[tuple[str, int]] = set()


class Guarded:
    """A function that asks first. No function itself: in the body of a class it must not
    become a method, as those written in C do not."""

    __slots__ = ("_advice", "_module", "_name", "_original")

    def __init__(self, original: Callable[..., Any], name: str, advice: str) -> None:
        self._module, self._name = name.split(".")
        self._original = original
        self._advice = advice

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        loop = _get_running_loop()
        if type(loop) is ReplayLoop:
            code, line = sys._getframe(1).f_code, sys._getframe(1).f_lineno
            if not code.co_filename.startswith(_SILENT):
                _set_running_loop(None)  # whoever shows the warning may read a clock
                try:
                    _tell(f"{self._module}.{self._name}", self._advice, code, line)
                finally:
                    _set_running_loop(loop)
        return self._original(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (sys.modules[self._module], self._name)

    def __getattr__(self, name: str) -> Any:  # its name, its signature
        return getattr(self._original, name)


def _tell(what: str, instead: str, code: CodeType, line: int) -> None:
    place = code.co_filename, line
    if place in _told:
        return
    warnings.warn_explicit(
        f"{what}() in a workflow, at {os.path.basename(place[0])}:{line}: it is not recorded, so "
        f"a replay sees something else. Use {instead} instead.",
        WorkflowWarning,
        *place,
    )
    _told.add(place)  # not before: as an error it is raised each time, on a replay too


def read(fn: Callable[..., Any]) -> None:
    """Warn of clocks that a workflow function itself names."""
    for code in _codes(getattr(fn, "__code__", None)):
        found: Any = None
        for each in dis.get_instructions(code):
            if each.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                found = getattr(fn, "__globals__", {}).get(each.argval)
            elif each.opname in ("LOAD_ATTR", "LOAD_METHOD") and isinstance(
                found, ModuleType | type
            ):
                found = getattr(found, each.argval, None)
            else:
                found = None
            if callable(found) and getattr(found, "__hash__", None) and found in _READ_FOR:
                line = each.positions.lineno if each.positions else None
                _tell(_READ_FOR[found], _CLOCK, code, line or code.co_firstlineno)


def _codes(code: CodeType | None) -> Iterator[CodeType]:
    if code is not None:
        yield code
        for each in code.co_consts:
            if isinstance(each, CodeType):
                yield from _codes(each)


def _install() -> None:
    for module, advice, names in _REPLACED:
        for name in names.split():
            original = getattr(module, name)
            if type(original).__name__ != Guarded.__name__:  # not twice, loaded anew
                setattr(module, name, Guarded(original, f"{module.__name__}.{name}", advice))


_install()
