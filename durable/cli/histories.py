"""Recorded runs: replayed against the code at hand, taken out of a database, brought into one."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import click

from .._core.statuses import Status
from .connection import database_option, found_database, schema_option, with_client
from .modules import imported, users_code
from .output import EXIT_FAILED, as_json, clean, output_option
from .tally import Tally

if TYPE_CHECKING:
    from .. import Client
    from .._judging import Verdict
    from ..testing import History

STATUSES = ("open", *(status.value for status in Status))


class Filters(NamedTuple):
    """Which runs are meant."""

    ids: tuple[str, ...]
    statuses: tuple[str, ...]
    workflow: str | None
    limit: int | None


@click.command()
@click.argument("modules", nargs=-1, required=True)
@database_option
@schema_option
@output_option
@click.option("--file", "files", multiple=True, type=click.Path(exists=True, dir_okay=False),
              help="replay exported histories, and no database; may be given again")  # fmt: skip
@click.option("--id", "ids", multiple=True, help="only this run; may be given again")
@click.option("--status", "statuses", multiple=True, type=click.Choice(STATUSES),
              help="only runs that stand so; may be given again  [default: open]")  # fmt: skip
@click.option("--workflow", help="only runs of this workflow")
@click.option("--limit", type=click.IntRange(min=1), help="only so many, the youngest")
@click.option("--skip-unknown", is_flag=True,
              help="leave out runs of workflows that MODULES do not define")  # fmt: skip
@click.option("--jobs", type=click.IntRange(min=1), help="processes  [default: one per core]")
@click.option("-v", "--verbose", is_flag=True, help="name those that fit, too")
def replay_command(
    modules: tuple[str, ...],
    dsn: str | None,
    schema: str,
    output: str,
    files: tuple[str, ...],
    ids: tuple[str, ...],
    statuses: tuple[str, ...],
    workflow: str | None,
    limit: int | None,
    skip_unknown: bool,
    jobs: int | None,
    verbose: bool,
) -> int:
    """Replay recorded runs against the code of MODULES, before it is deployed.

    Takes all open runs of a database (as in `durable replay shop.orders`), or exported histories,
    and names each that the code does not fit, with line and reason. Only reads: no activity runs,
    nothing is written.

    Exit codes: 0 all fit, 1 some do not.
    """
    imported(modules)
    filters = Filters(ids, statuses, workflow, limit)
    jobs = jobs or os.cpu_count() or 1
    began = time.monotonic()
    if files:
        found = _of_files(files, filters, jobs, modules)
    else:
        found = _of_database(dsn, schema, filters, jobs, modules)
    tally = Tally(verbose=verbose, skip_unknown=skip_unknown)
    with users_code():
        for verdict in found:
            tally.add(verdict)
    if output == "json":
        click.echo(as_json(tally.facts()))
    else:
        click.echo("\n".join(tally.lines(time.monotonic() - began)))
    return EXIT_FAILED if tally.misfits else 0


def _of_files(
    files: Sequence[str], filters: Filters, jobs: int, modules: Sequence[str]
) -> Iterator[Verdict]:
    from .._judging import loaded
    from ..errors import RunNotFound
    from ..testing import History

    def wanted() -> Iterator[History]:
        left, missing = filters.limit, set(filters.ids)
        for path in files:
            for history in History.load(path):
                if left == 0:
                    return
                missing.discard(history.id)
                if _fits(history, filters):
                    left = None if left is None else left - 1
                    yield history
        for id in sorted(missing):  # as of a database: a word that is misspelt is no success
            raise RunNotFound(id=id, where=", ".join(files))

    return loaded(wanted(), jobs, modules)


def _fits(history: History, filters: Filters) -> bool:
    stands = {history.status, "open" if history.closed_at is None else ""}
    return (
        (not filters.ids or history.id in filters.ids)
        and (not filters.statuses or not stands.isdisjoint(filters.statuses))
        and filters.workflow in (None, history.workflow)
    )


def _of_database(
    dsn: str | None, schema: str, filters: Filters, jobs: int, modules: Sequence[str]
) -> Iterator[Verdict]:
    from .._judging import stored

    async def chosen(client: Client) -> list[int]:
        return await keys(client, filters)

    with found_database(dsn) as url:
        runs = with_client(url, schema, chosen)
        yield from stored(url, schema, runs, jobs, modules)


async def keys(client: Client, filters: Filters) -> list[int]:
    """The keys of the runs that are meant: those named, or those that fit."""
    from .._histories import selected
    from ..errors import RunNotFound

    if not filters.ids:
        status = filters.statuses or "open"
        return await selected(client.store, status, filters.workflow, filters.limit)
    found: list[int] = []
    for id in filters.ids:
        run = await client.store.runs.current(id)
        if run is None:
            raise RunNotFound(id=id)
        found.append(run)
    return found


@click.command()
@click.argument("ids", nargs=-1)
@database_option
@schema_option
@click.option("--status", "statuses", multiple=True, type=click.Choice(STATUSES),
              help="runs that stand so; may be given again")  # fmt: skip
@click.option("--workflow", help="only runs of this workflow")
@click.option("--limit", type=click.IntRange(min=1), help="only so many, the youngest")
def export_command(
    ids: tuple[str, ...],
    dsn: str | None,
    schema: str,
    statuses: tuple[str, ...],
    workflow: str | None,
    limit: int | None,
) -> None:
    """Write histories of runs to stdout, as lines of JSON: those named by IDS, or those that
    --status and --workflow find (as in `durable export --status open > histories.jsonl`).

    They hold all arguments and results as they were recorded: treat them as you treat the
    database.
    """
    if not (ids or statuses or workflow):
        raise click.UsageError("Which runs? Give their ids, or --status open, or --workflow.")
    if ids and (statuses or workflow or limit):
        raise click.UsageError("Give ids, or filters: not both.")
    filters = Filters(ids, statuses, workflow, limit)

    async def write(client: Client) -> int:
        from ..testing import History

        count = 0
        async for history in History.read(client.store, await keys(client, filters)):
            _print_lines(history.lines())
            count += 1
        return count

    count = with_client(dsn, schema, write)
    click.echo(f"{count:,} histories" if count != 1 else "1 history", err=True)


def _print_lines(lines: Iterable[str]) -> None:
    stdout = sys.stdout.buffer  # UTF-8, whatever the terminal's encoding is
    for line in lines:
        stdout.write(line.encode() + b"\n")
    stdout.flush()


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
@database_option
@schema_option
@output_option
def import_command(files: tuple[str, ...], dsn: str | None, schema: str, output: str) -> int:
    """Bring exported histories into a database, each run under its id.

    Closed runs stay as they ended. Open ones are paused: look at them (`durable show`), replay
    them, and let them go on there by `durable resume`, if that is meant; they keep the idempotency
    keys they had. A run whose id is taken is refused.
    """
    from ..errors import RunExists, StoreError
    from ..testing import History

    for path in files:  # all of them are whole, or nothing is imported
        for _ in History.load(path):
            pass

    async def bring(client: Client) -> list[tuple[str, str, str | None]]:
        told: list[tuple[str, str, str | None]] = []
        keys: dict[int, int] = {}
        for path in files:
            for history in History.load(path):
                why = None
                try:
                    parent = keys.get(history.parent or 0)
                    keys[history.run] = await history.bring_into(client, parent=parent)
                except (RunExists, StoreError) as error:
                    why = str(error)
                stands = "paused" if history.closed_at is None else history.status
                told.append((history.id, stands, why))
        return told

    answers = with_client(dsn, schema, bring)
    if output == "json":
        click.echo(as_json([{"id": id, "done": why is None, "why": why} for id, _, why in answers]))
    else:
        for id, stands, why in answers:
            click.echo(clean(f"{id}  {stands}" if why is None else f"{id}: {why}"))
    return EXIT_FAILED if any(why is not None for *_, why in answers) else 0
