"""A new run out of the beginning of another one's history."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from .connection import database_option, schema_option, with_client
from .modules import imported, users_code
from .output import as_json, clean, output_option

if TYPE_CHECKING:
    from .. import Client


@click.command()
@database_option
@schema_option
@output_option
@click.option("--at", required=True, type=int, help="how many events are shared: 7 keeps 0 to 6")
@click.option("--id", "new_id", metavar="ID", help="of the new run")
@click.option("--result", metavar="JSON",
              help="what the event at that position is to bring instead")  # fmt: skip
@click.argument("id")
@click.argument("modules", nargs=-1, required=True)
def fork_command(
    dsn: str | None, schema: str, output: str, at: int, new_id: str | None, result: str | None,
    id: str, modules: tuple[str, ...],
) -> None:  # fmt: skip
    """Begin a new run that shares the first events of run ID and goes on from there, as in
    `durable fork order-42 shop.orders --at 7`. The run itself stays as it is.

    MODULES define its workflow as it is now: a position from which that code cannot go on is
    refused, and a better one is named. `durable show ID` numbers the events.
    """
    given: dict[str, Any] = {}
    if result is not None:
        try:
            given["result"] = json.loads(result)
        except ValueError as error:
            raise click.UsageError(f"--result is no JSON: {error}. A text is '\"...\"'") from None
    imported(modules)

    async def use(client: Client) -> str:
        with users_code():
            return (await client.handle(id).fork(at=at, id=new_id, **given)).id

    fork = with_client(dsn, schema, use)
    if output == "json":
        click.echo(as_json({"id": fork, "of": id, "at": at}))
    else:
        shared = "event" if at == 1 else f"{at} events"
        click.echo(f"{clean(fork)} shares the first {shared} of {clean(id)} and goes on.")
