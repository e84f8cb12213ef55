"""Whose the turns of a run are: a fork shares its first turns with the run that it came from.

In those its code is who it was then: ``ctx.id``, the tokens of promises and the ids of children are
what they were, or the code would ask for something else. From there on it is the fork. So is a run
that was brought in from another database, where it had another key.

A origins is ``[[until, run, id], ...]``: the turns of events before the position ``until`` are
those of that run. It is kept as JSON in the run's row.
"""

from __future__ import annotations

import json
from typing import TypeAlias

Origins: TypeAlias = list[tuple[int, int, str]]


def read(text: str | None) -> Origins:
    return [] if text is None else [(until, run, id) for until, run, id in json.loads(text)]


def who(origins: Origins, events: int, own: tuple[int, str]) -> tuple[int, str]:
    """Who the code is in the turn that makes its journal so long."""
    for until, run, id in origins:
        if events <= until:
            return run, id
    return own
