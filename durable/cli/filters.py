"""Which runs are meant: the options of every command that takes many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from .._core.statuses import Status
from .moments import moment

F = TypeVar("F", bound=Callable[..., Any])

STATUSES = tuple(status.value for status in Status)

# By the names that ``client.list`` has for them.
FILTERS: dict[str, dict[str, Any]] = {
    "status": {"type": click.Choice(STATUSES), "help": "only runs that stand like this"},
    "workflow": {"help": "only runs of this workflow"},
    "queue": {"help": "only runs of this queue"},
    "id_prefix": {"metavar": "TEXT", "help": "only ids that begin so"},
    "parent": {"metavar": "ID", "help": "only children of this run"},
    "created_since": {"type": moment, "help": "not older than that"},
    "created_until": {"type": moment, "help": "older than that"},
    "closed_since": {"type": moment, "help": "ended then or later"},
    "closed_until": {"type": moment, "help": "ended before that"},
}


def filter_options(command: F) -> F:
    for name, facts in reversed(FILTERS.items()):
        command = click.option(f"--{name.replace('_', '-')}", **facts)(command)
    return command
