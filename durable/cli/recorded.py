"""One recorded run, found in a database or in a file, and the code to replay it with."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import RunNotFound
from .connection import database_option, schema_option, with_client
from .modules import imported

if TYPE_CHECKING:
    from .. import Client
    from ..testing import History

F = TypeVar("F", bound=Callable[..., Any])


def recorded_run(command: F) -> F:
    """The arguments of a command that replays one run."""
    for each in (
        click.option("--file", type=click.Path(exists=True, dir_okay=False),
                     help="a file of exported histories, instead of a database"),
        schema_option,
        database_option,
        click.argument("modules", nargs=-1, required=True),
        click.argument("id"),
    ):  # fmt: skip
        command = each(command)
    return command


def found(
    id: str, modules: tuple[str, ...], dsn: str | None, schema: str, file: str | None
) -> History:
    """The history of the run; its workflow is imported by then.

    Raises:
        RunNotFound: there is no such run, there or in the file.
    """
    from ..testing import History

    imported(modules)
    if file is not None:
        for history in History.load(file):
            if history.id == id:
                return history
        raise RunNotFound(id=id, where=file)

    async def use(client: Client) -> History:
        return await History.of(client, id)

    known: History = with_client(dsn, schema, use)
    return known
