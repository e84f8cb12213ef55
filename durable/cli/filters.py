"""Which runs are meant: the options of every command that takes many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from .._core.statuses import Status
from .moments import moment

F = TypeVar("F", bound=Callable[..., Any])

STATUSES = tuple(status.value for status in Status)


def filter_options(command: F) -> F:
    for each in reversed(
        (
            click.option(
                "--status", type=click.Choice(STATUSES), help="only runs that stand like this"
            ),
            click.option("--workflow", help="only runs of this workflow"),
            click.option("--queue", help="only runs of this queue"),
            click.option("--id-prefix", metavar="TEXT", help="only ids that begin so"),
            click.option("--parent", metavar="ID", help="only children of this run"),
            click.option("--created-since", type=moment, help="not older than that"),
            click.option("--created-until", type=moment, help="older than that"),
            click.option("--closed-since", type=moment, help="ended then or later"),
            click.option("--closed-until", type=moment, help="ended before that"),
        )
    ):
        command = each(command)
    return command
