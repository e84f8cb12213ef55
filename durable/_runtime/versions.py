"""What a run's replay depends on, noted with each run: the loop's own rules, Python's minor
version (asyncio changes between them), and anyio's."""

from __future__ import annotations

import functools
import sys

from .._core.shims import LOOP_VERSION


@functools.cache
def versions() -> str:
    """``loop 1, python 3.12, anyio 4.9.0``"""
    from importlib.metadata import version  # brings along a parser of e-mail, and that takes time

    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return f"loop {LOOP_VERSION}, python {python}, anyio {version('anyio')}"


def differing(recorded: str | None) -> str:
    """What to add to the report of a divergence: nothing, unless the run was begun under
    other versions."""
    if recorded in (None, versions()):
        return ""
    return (
        f"\nThe run was begun under {recorded}, and this is {versions()}: between those, asyncio "
        "itself differs where cancellations race. A worker under the former may continue it."
    )
