"""Looking at runs, and mending them: each command is in ``COMMANDS`` of ``cli/__init__.py``."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from .._core.statuses import CLOSED, Status
from .connection import database_option, schema_option, with_client
from .filters import filter_options
from .moments import age
from .output import as_json, cell, clean, clean_lines, output_option, table

if TYPE_CHECKING:
    from .. import Client, Description

# Of the children of a run so many are shown with it.
CHILDREN_MAX = 20

# Events that carry what was asked with; a child has it in its own row.
CALLS = ("activity", "transaction")

ENDS = tuple(status.value for status in Status if status in CLOSED)


@click.command()
@database_option
@schema_option
@output_option
@filter_options
@click.option("--stuck", is_flag=True, help="only stuck runs, with their reports")
@click.option(
    "--order", type=click.Choice(["newest", "oldest"]), default="newest", show_default=True
)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(min=1))
def list_command(dsn: str | None, schema: str, output: str, stuck: bool, **filters: Any) -> None:
    """List runs, the youngest first.

    Times are ages (90s, 15m, 12h, 30d) or ISO 8601 with a zone (2026-01-01T00:00Z).
    """

    if stuck and filters["status"] not in (None, "stuck"):
        raise click.UsageError(f"--stuck and --status {filters['status']} are never both true")
    if stuck:
        filters["status"] = "stuck"

    async def use(client: Client) -> list[Description]:
        return await client.list(**filters)

    runs = with_client(dsn, schema, use)
    if output == "json":
        click.echo(as_json([dataclasses.asdict(each) for each in runs]))
        return
    if stuck:
        reports = (f"{clean(r.id)}  {clean(r.workflow)}\n{report(r)}" for r in runs)
        click.echo("\n".join(reports) if runs else "No runs.")
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

    async def use(client: Client) -> tuple[Description, list[dict[str, Any]], list[Description]]:
        run, history = await client.handle(id).describe(), await client.history(id)
        return run, history, await client.list(parent=id, order="oldest", limit=CHILDREN_MAX + 1)

    run, history, children = with_client(dsn, schema, use)
    if output == "json":
        named = [each.id for each in children[:CHILDREN_MAX]]
        click.echo(as_json({**dataclasses.asdict(run), "history": history, "children": named}))
        return
    click.echo(f"{clean(run.id)}  {clean(run.workflow)}  {run.status.value}")
    click.echo(f"  created {cell(run.created_at)}, started {cell(run.started_at) or 'not yet'}"
               + (f", closed {cell(run.closed_at)}" if run.closed_at else ""))  # fmt: skip
    click.echo(f"  input   {cell(run.input, 100)}")
    if run.build is not None:
        click.echo(f"  build   {clean(run.build)}: no other takes it up")
    if run.parent is not None:
        click.echo(f"  parent  {clean(run.parent)}")
    for child in children[:CHILDREN_MAX]:
        click.echo(f"  child   {clean(child.id)}  {clean(child.workflow)}  {child.status.value}")
    if len(children) > CHILDREN_MAX:
        click.echo(f"  ...     more: durable list --parent {clean(run.id)}")
    for event in history:
        click.echo("  " + event_line(event))
    click.echo(ending(run))


def event_line(event: dict[str, Any]) -> str:
    """One event of the history as one line."""
    failure, result = event["failure"], event["result"]
    outcome = "" if result is None else f"-> {cell(result, 60)}"
    if failure is not None:
        outcome = f"failed: {failure.get('type')}: {failure.get('message')}"
    call = event["name"] or ""
    if event["kind"] in CALLS:
        call += _arguments(event["input"])
    parts = (f"{event['position']:>4}", cell(event["at"]), f"{event['kind']:<11}", clean(call),
             clean(outcome), clean(f"[{event['site']}]" if event["site"] else ""))  # fmt: skip
    return "  ".join(part for part in parts if part).rstrip()


def _arguments(value: object) -> str:
    if value is None:
        return "()"
    text = cell(value, 60)
    return f"({text[1:-1]})" if text.startswith("[") else f"({text})"


def ending(run: Description) -> str:
    """The last line: how the run ended, or what it waits for and where."""
    match run.status.value:
        case "completed":
            return "completed" + (
                f" with {cell(run.result, 200)}" if run.result is not None else ""
            )
        case "failed":
            failure = run.failure if isinstance(run.failure, dict) else {}
            why = clean(f"{failure.get('type')}: {failure.get('message')}")
            return f"failed with {why}\nmend the reason, then: durable retry {clean(run.id)}"
        case "stuck":
            return f"stuck:\n{report(run)}\nat once, when mended: durable retry {clean(run.id)}"
        case "cancelled" | "terminated" | "continued":
            return run.status.value + (f": {clean(run.reason)}" if run.reason else "")
        case "running" if not run.waits_for:
            return f"running on worker {run.worker}"
        case "paused":
            return f"paused; to let it go on: durable resume {clean(run.id)}"
        case "unserved":
            return f"unserved: it waits {waits_for(run)}"
        case _:
            return f"waiting {waits_for(run)}"


def report(run: Description) -> str:
    """Why it is stuck, line by line."""
    return clean_lines(run.report or "no reason was recorded", indent="  ")


def waits_for(run: Description) -> str:
    if run.closed_at is not None or run.status is Status.STUCK:
        return ""
    where = f"at {clean(run.waits_at)} " if run.waits_at else ""
    if run.status is Status.PAUSED:
        return f"{where}to be resumed"
    if run.status is Status.UNSERVED:
        build = f" in build {clean(run.build)}" if run.build is not None else ""
        return f"{where}for a worker that serves {clean(run.workflow)}{build}"
    if run.waits_for:
        return f"{where}for {clean(run.waits_for)}"
    if run.worker:
        return f"on worker {run.worker}"
    return "for a worker"


@click.command()
@database_option
@schema_option
@output_option
@click.option("--older-than", required=True, type=age, help="since they closed: 90s, 12h, 30d")
@click.option("--status", "statuses", multiple=True, type=click.Choice(ENDS),
              help="only those that ended so; may be given again")  # fmt: skip
@click.option("--workflow", help="only runs of this workflow")
@click.option("--dry-run", is_flag=True, help="only say how many there are")
def delete_command(
    dsn: str | None,
    schema: str,
    output: str,
    older_than: timedelta,
    statuses: tuple[str, ...],
    workflow: str | None,
    dry_run: bool,
) -> None:
    """Delete closed runs for good, with their journals and payloads. Open runs stay; the ids of
    deleted ones are free again."""

    async def use(client: Client) -> int:
        return await client.delete(
            older_than=older_than, status=statuses or None, workflow=workflow, dry_run=dry_run
        )

    count = with_client(dsn, schema, use)
    if output == "json":
        click.echo(as_json({"deleted": 0 if dry_run else count, "found": count}))
    else:
        runs = "1 run" if count == 1 else f"{count:,} runs"
        click.echo(f"{runs} would be deleted." if dry_run else f"{runs} deleted.")
