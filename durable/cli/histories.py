"""Recorded runs: replayed against the code at hand, taken out of a database, brought into one."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from .._core.statuses import Status
from .connection import database_option, found_database, schema_option, with_client
from .modules import imported, users_code
from .output import EXIT_FAILED, as_json, clean, clean_lines, output_option

if TYPE_CHECKING:
    from .. import Client
    from .._judging import Verdict
    from ..testing import History

STATUSES = ("open", *(status.value for status in Status))

# Runs that are named of each place where the code does not fit; JSON names all.
NAMED_MAX = 20

# Why runs do not fit, in words, in the order in which they are told.
KINDS = {
    "diverges": "would diverge",
    "unreadable": "with a recorded value that no longer fits",
    "unknown": "not defined in these modules",
    "breaks": "cannot be replayed",
}


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
    sys.path.insert(0, "")
    for name in modules:
        imported(name)
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


class Tally:
    """What came out, as it is told at the end."""

    def __init__(self, *, verbose: bool, skip_unknown: bool) -> None:
        self.misfits: list[Verdict] = []
        self._fit: list[Verdict] = []
        self._count = 0
        self._verbose = verbose
        self._skip_unknown = skip_unknown

    def add(self, verdict: Verdict) -> None:
        if self._skip_unknown and verdict.kind == "unknown":
            return
        self._count += 1
        if not verdict.fits:
            self.misfits.append(verdict)
        elif self._verbose:
            self._fit.append(verdict)

    def facts(self) -> dict[str, Any]:
        told: dict[str, Any] = {"replayed": self._count, "fit": self._count - len(self.misfits)}
        told["misfits"] = [dataclasses.asdict(each) for each in sorted(self.misfits, key=_order)]
        if self._verbose:
            told["fits"] = [dataclasses.asdict(each) for each in sorted(self._fit, key=_order)]
        return told

    def lines(self, seconds: float) -> Iterator[str]:
        for each in sorted(self._fit, key=_order):
            where = f" at {each.site}" if each.site else ""
            yield clean(f"fits  {each.workflow}  {each.id}  {each.how}{where}")
        groups: dict[tuple[Any, ...], list[Verdict]] = {}
        for each in sorted(self.misfits, key=_order):
            key = (each.workflow, each.kind, each.position, each.site)
            groups.setdefault(key, []).append(each)
        for same in groups.values():
            yield from _misfits(same)
        yield self._summary(seconds)

    def _summary(self, seconds: float) -> str:
        runs = "1 run" if self._count == 1 else f"{self._count:,} runs"
        told = f"{runs} replayed in {seconds:.1f} s"
        if not self.misfits:
            return f"{told}: " + ("all fit." if self._count else "there are none.")
        kinds = [(words, sum(each.kind == kind for each in self.misfits))
                 for kind, words in KINDS.items()]  # fmt: skip
        parts = [f"{count:,} {words}" for words, count in kinds if count]
        stuck = sum(each.status == "stuck" for each in self.misfits)
        if stuck:
            parts.append(f"{stuck:,} of them are stuck already")
        return f"{told}: {self._count - len(self.misfits):,} fit, {', '.join(parts)}."


def _misfits(same: Sequence[Verdict]) -> Iterator[str]:
    """Runs that fail at one place, and why; the words are those of the first."""
    first = same[0]
    where = f", {first.site}" if first.site else ""
    at = f" at position {first.position}{where}" if first.kind == "diverges" else ""
    runs = "1 run" if len(same) == 1 else f"{len(same):,} runs"
    yield clean(f"{first.workflow}{at}: {KINDS[first.kind]} ({runs})")
    for each in same[:NAMED_MAX]:
        yield clean(f"  {each.id}") + ("  (stuck already)" if each.status == "stuck" else "")
    if len(same) > NAMED_MAX:
        yield f"  and {len(same) - NAMED_MAX:,} more: -o json names them"
    yield clean_lines(first.why or "", indent="    ")
    yield ""


def _order(verdict: Verdict) -> tuple[Any, ...]:
    order = list(KINDS)
    place = order.index(verdict.kind) if verdict.kind in KINDS else len(order)
    return place, verdict.workflow, verdict.position, verdict.run


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
