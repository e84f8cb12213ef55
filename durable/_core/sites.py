"""Where in the user's code something was asked for, as ``file:line``.

The first frame that is neither ours nor of the libraries that stand between a workflow and
us. Names are looked up once per line of code.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path
from types import CodeType, FrameType

_ROOT = str(Path(__file__).resolve().parent.parent) + "/"
_BETWEEN = (
    _ROOT + "_",  # our rooms; not durable/cli, whose demo holds workflows of its own
    str(Path(asyncio.__file__).parent) + "/",
    str(Path(contextlib.__file__)),
)

# Of each code that was met: itself, so that its id stays its own; whether it is between; and the
# lines of its instructions. By id, since all that a code holds is hashed anew each time.
_met: dict[int, tuple[CodeType, bool, dict[int, str]]] = {}


def is_between(file: str) -> bool:
    """Whether it is one of those that stand between a workflow and us, or ours."""
    return file.startswith(_BETWEEN) or "/anyio/" in file


def call_site(depth: int = 1) -> str:
    """``file.py:12`` of the nearest frame of user code, or ``?``. The caller says how many
    frames, from its own on, are ours for sure: to look at each costs as much as all the rest."""
    frame: FrameType | None = sys._getframe(depth)
    while frame is not None:
        code = frame.f_code
        met = _met.get(id(code))
        if met is None:
            met = _met[id(code)] = code, is_between(code.co_filename), {}
        _, between, sites = met
        if not between:
            site = sites.get(frame.f_lasti)
            if site is None:  # the line is worked out from the instruction: once
                file = Path(code.co_filename).name.encode("utf-8", "replace").decode()
                site = sites[frame.f_lasti] = f"{file}:{frame.f_lineno}"
            return site
        frame = frame.f_back
    return "?"
