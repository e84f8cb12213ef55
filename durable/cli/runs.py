"""Looking at runs, and mending them: each command is in ``COMMANDS`` of ``cli/__init__.py``."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from .._core.statuses import CLOSED, Status
from .connection import database_option, schema_option, with_client
from .moments import age, moment
from .output import EXIT_FAILED, as_json, cell, clean, output_option, table

if TYPE_CHECKING:
    from .. import Client, Description

STATUSES = tuple(status.value for status in Status)
# Of the children of a run so many are shown with it.
CHILDREN_MAX = 20

ENDS = tuple(status.value for status in Status if status in CLOSED)


@click.command()
@database_option
@schema_option
@output_option
@click.option("--status", type=click.Choice(STATUSES), help="only runs that stand like this")
@click.option("--workflow", help="only runs of this workflow")
@click.option("--queue", help="only runs of this queue")
@click.option("--id-prefix", metavar="TEXT", help="only ids that begin so")
@click.option("--parent", metavar="ID", help="only children of this run")
@click.option("--created-since", type=moment, help="not older than that")
@click.option("--created-until", type=moment, help="older than that")
@click.option("--closed-since", type=moment, help="ended then or later")
@click.option("--closed-until", type=moment, help="ended before that")
@click.option(
    "--order", type=click.Choice(["newest", "oldest"]), default="newest", show_default=True
)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(min=1))
def list_command(dsn: str | None, schema: str, output: str, **filters: Any) -> None:
    """List runs, the youngest first.

    Times are ages (90s, 15m, 12h, 30d) or ISO 8601 with a zone (2026-01-01T00:00Z).
    """

    async def use(client: Client) -> list[Description]:
        return await client.list(**filters)

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
    failure = event["failure"]
    outcome = ""
    if failure is not None:
        outcome = f"failed: {failure.get('type')}: {failure.get('message')}"
    elif event["kind"] in ("activity", "transaction"):
        outcome = f"-> {cell(event['result'], 60)}" if event["result"] is not None else ""
    call = f"{event['name']}{_arguments(event['input'])}" if event["name"] else ""
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
            return f"stuck: {clean(run.report or '')}"
        case "cancelled" | "terminated" | "continued":
            return run.status.value + (f": {clean(run.reason)}" if run.reason else "")
        case "running" if not run.waits_for:
            return f"running on worker {run.worker}"
        case "paused":
            return f"paused; to let it go on: durable resume {clean(run.id)}"
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
    """Let failed or stuck runs go on from where they stood; completed steps are not repeated."""
    return _for_each(dsn, schema, output, ids, "retry", "will be retried")


@click.command()
@database_option
@schema_option
@output_option
@click.argument("ids", nargs=-1, required=True)
def cancel_command(dsn: str | None, schema: str, output: str, ids: tuple[str, ...]) -> int:
    """Ask runs to stop; their clean-up code runs. A paused one stops when it is resumed, a stuck
    one when fitting code runs: terminate it, if that is not to be."""
    return _for_each(dsn, schema, output, ids, "cancel", "is asked to stop")


@click.command()
@database_option
@schema_option
@output_option
@click.option("--reason", help="why, for the journal and for whoever waits for the result")
@click.argument("ids", nargs=-1, required=True)
def terminate_command(
    dsn: str | None, schema: str, output: str, reason: str | None, ids: tuple[str, ...]
) -> int:
    """Close runs at once, stuck ones too. Their code has no say: no clean-up runs."""
    return _for_each(dsn, schema, output, ids, "terminate", "is terminated", reason)


@click.command()
@database_option
@schema_option
@output_option
@click.argument("ids", nargs=-1, required=True)
def pause_command(dsn: str | None, schema: str, output: str, ids: tuple[str, ...]) -> int:
    """Let runs hold until they are resumed. Attempts under way end first; messages are kept."""
    return _for_each(dsn, schema, output, ids, "pause", "holds")


@click.command()
@database_option
@schema_option
@output_option
@click.option("--build", help="whose workers alone may take them; left out: any may again")
@click.argument("ids", nargs=-1, required=True)
def pin_command(
    dsn: str | None, schema: str, output: str, build: str | None, ids: tuple[str, ...]
) -> int:
    """Let only workers of one build take runs up (`durable worker --build`), or any again."""
    done = "is for any worker" if build is None else f"is for workers of build {build}"
    return _for_each(dsn, schema, output, ids, "pin", done, build)


@click.command()
@database_option
@schema_option
@output_option
@click.argument("ids", nargs=-1, required=True)
def resume_command(dsn: str | None, schema: str, output: str, ids: tuple[str, ...]) -> int:
    """Let paused runs go on."""
    return _for_each(dsn, schema, output, ids, "resume", "goes on")


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


def _for_each(
    dsn: str | None,
    schema: str,
    output: str,
    ids: tuple[str, ...],
    verb: str,
    done: str,
    *given: Any,
) -> int:
    from ..errors import DurableError

    async def use(client: Client) -> list[tuple[str, str | None]]:
        told: list[tuple[str, str | None]] = []
        for id in ids:
            try:
                answer = await getattr(client.handle(id), verb)(*given)
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
