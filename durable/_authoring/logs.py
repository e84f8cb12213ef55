"""``ctx.log``: log lines of a workflow, each let out once.

A line is part of its turn: it appears when that turn is recorded, and not again when the
turn is replayed.
"""

from __future__ import annotations

import logging
from typing import Any

from .._core.replayer import Replayer


class RunLog:
    """The familiar methods of a logger, on the logger ``durable.workflow``."""

    __slots__ = ("_replayer",)

    def __init__(self, replayer: Replayer) -> None:
        self._replayer = replayer

    def log(self, level: int, message: str, *args: Any) -> None:
        self._replayer.say(level, message, args)

    def debug(self, message: str, *args: Any) -> None:
        self.log(logging.DEBUG, message, *args)

    def info(self, message: str, *args: Any) -> None:
        self.log(logging.INFO, message, *args)

    def warning(self, message: str, *args: Any) -> None:
        self.log(logging.WARNING, message, *args)

    def error(self, message: str, *args: Any) -> None:
        self.log(logging.ERROR, message, *args)
