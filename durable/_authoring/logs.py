"""``ctx.log``: log lines of a workflow, each let out once.

A line is part of its turn: it appears when that turn is recorded, and not again when the
turn is replayed.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from .._core.commands import Say
from .._core.replayer import Replayer

log = logging.getLogger("durable.workflow")


class RunLog(logging.LoggerAdapter[logging.Logger]):
    """The logger ``durable.workflow``, with all that a logger takes: ``ctx.log.info("at %d", n,
    extra={"page": n})``, ``ctx.log.exception("no answer")``."""

    def __init__(self, replayer: Replayer) -> None:
        super().__init__(log)
        self._replayer = replayer

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        if kwargs.get("exc_info") is True:
            kwargs["exc_info"] = sys.exception()
        self._replayer.say(level, str(msg), args, kwargs)


def write(said: Say, facts: dict[str, Any]) -> None:
    """Let a line out. One that a logger, or somebody's filter, does not take costs itself alone."""
    try:
        more: Any = said.more | {"extra": (said.more.get("extra") or {}) | facts}
        log.log(said.level, said.message, *said.args, **more)
    except Exception:
        log.exception("a line of a workflow, %r, cannot be logged", said.message, extra=facts)
