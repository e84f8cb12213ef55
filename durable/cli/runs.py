"""``list``, ``show``, ``retry``, ``cancel``: looking at runs, and mending them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from .._core.statuses import Status
from .connection import database_option, schema_option, with_client
from .output import EXIT_FAILED, as_json, cell, clean, output_option, table

if TYPE_CHECKING:
    from .. import Client, Description

STATUSES = tuple(status.value for status in Status)


@click.command()
@database_option
@schema_option
@output_option
@click.option("--status", type=click.Choice(STATUSES), help="only runs that stand like this")
@click.option("--workflow", help="only runs of this workflow")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000))
def list_command(
    dsn: str | None,
    schema: str,
    output: str,
    status: str | None,
    workflow: str | None,
    limit: int,
) -> None:
    """List runs, the youngest first."""

    async def use(client: Client) -> list[Description]:
        return await client.list(status=status, workflow=workflow, limit=limit)

    runs = with_client(dsn, schema, use)
    if output == "json":
        click.echo(as_json([dataclasses.asdict(each) for each in runs]))
        return
    head = ("ID", "WORKFLOW", "STATUS", "CREATED", "EVENTS", "WAITS FOR")
    rows = [(r.id, r.workflow, r.status.value, r.created_at, r.events, waits_for(r)) for r in runs]
    click.echo(table(head, rows) if rows else "No runs.")


@click.command()
@database_option
@schema_option
@output_option
@click.argument("id")
def show_command(dsn: str | None, schema: str, output: str, id: str) -> None:
    """Show one run: where it is, what happened, why. Needs no live worker."""

    async def use(client: Client) -> tuple[Description, list[dict[str, Any]]]:
        return await client.handle(id).describe(), await client.history(id)

    run, history = with_client(dsn, schema, use)
    if output == "json":
        click.echo(as_json({**dataclasses.asdict(run), "history": history}))
        return
    click.echo(f"{clean(run.id)}  {clean(run.workflow)}  {run.status.value}")
    click.echo(f"  created {cell(run.created_at)}, started {cell(run.started_at) or 'not yet'}"
               + (f", closed {cell(run.closed_at)}" if run.closed_at else ""))  # fmt: skip
    click.echo(f"  input   {cell(run.input, 100)}")
    for event in history:
        click.echo("  " + event_line(event))
    click.echo(ending(run))


def event_line(event: dict[str, Any]) -> str:
    """One event of the history as one line."""
    failure = event["failure"]
    outcome = ""
    if failure is not None:
        outcome = f"failed: {failure.get('type')}: {failure.get('message')}"
    elif event["kind"] in ("activity", "transaction"):
        outcome = f"-> {cell(event['result'], 60)}"
    call = f"{event['name']}{_arguments(event['input'])}" if event["name"] else ""
    parts = (f"{event['position']:>4}", cell(event["at"]), f"{event['kind']:<11}", clean(call),
             clean(outcome), clean(f"[{event['site']}]" if event["site"] else ""))  # fmt: skip
    return "  ".join(part for part in parts if part)


def _arguments(value: object) -> str:
    if value is None:
        return "()"
    text = cell(value, 60)
    return f"({text[1:-1]})" if text.startswith("[") else f"({text})"


def ending(run: Description) -> str:
    """The last line: how the run ended, or what it waits for and where."""
    match run.status.value:
        case "completed":
            return f"completed with {cell(run.result, 200)}"
        case "failed":
            failure = run.failure if isinstance(run.failure, dict) else {}
            why = clean(f"{failure.get('type')}: {failure.get('message')}")
            return f"failed with {why}\nmend the reason, then: durable retry {clean(run.id)}"
        case "stuck":
            return f"stuck: {clean(run.report or '')}"
        case "cancelled" | "terminated" | "continued":
            return run.status.value
        case "running" if not run.waits_for:
            return f"running on worker {run.worker}"
        case _:
            return f"waiting {waits_for(run)}"


def waits_for(run: Description) -> str:
    if run.closed_at is not None or run.status.value == "stuck":
        return ""
    where = f"at {clean(run.waits_at)} " if run.waits_at else ""
    if run.waits_for:
        return f"{where}for {clean(run.waits_for)}"
    if run.worker:
        return f"on worker {run.worker}"
    return "for a worker"


@click.command()
@database_option
@schema_option
@output_option
@click.argument("ids", nargs=-1, required=True)
def retry_command(dsn: str | None, schema: str, output: str, ids: tuple[str, ...]) -> int:
    """Let failed runs go on from before their failure; completed steps are not repeated."""
    return _for_each(dsn, schema, output, ids, "retry", "will be retried")


@click.command()
@database_option
@schema_option
@output_option
@click.argument("ids", nargs=-1, required=True)
def cancel_command(dsn: str | None, schema: str, output: str, ids: tuple[str, ...]) -> int:
    """Ask runs to stop; their clean-up code runs."""
    return _for_each(dsn, schema, output, ids, "cancel", "is asked to stop")


def _for_each(
    dsn: str | None, schema: str, output: str, ids: tuple[str, ...], verb: str, done: str
) -> int:
    from ..errors import DurableError

    async def use(client: Client) -> list[tuple[str, str | None]]:
        told: list[tuple[str, str | None]] = []
        for id in ids:
            try:
                answer = await getattr(client.handle(id), verb)()
            except DurableError as error:
                if len(ids) == 1:
                    raise
                told.append((id, str(error)))
            else:
                told.append((id, "It was closed already." if answer is False else None))
        return told

    answers = with_client(dsn, schema, use)
    if output == "json":
        click.echo(as_json([{"id": id, "done": why is None, "why": why} for id, why in answers]))
    else:
        for id, why in answers:
            click.echo(f"{clean(id)} {done}." if why is None else f"{clean(id)}: {clean(why)}")
    return EXIT_FAILED if any(why is not None for _, why in answers) else 0
