"""``python -m bench chaos``: a run of chaos, from the first fault to the verdict."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import asyncpg
import click

from tests.proof import evidence
from tests.proof.history import note

from . import verdict
from .faults import Deck
from .plants import PLANTS
from .stage import Stage
from .stories import Ledger

# After the faults: nothing changes for so long, though something is open, and it hangs.
PATIENCE_SECONDS = 60.0

OPEN = "select run, id, workflow, status, worker, waits_for, due_at, report from durable.run \
where closed_at is null order by run"


async def run(folder: Path, *, seed: int, minutes: float, plant: str | None) -> dict[str, Any]:
    async with Stage(folder, seed=seed, plant=plant) as stage:
        deck = Deck(stage, minutes)
        await deck.deal(minutes * 60)
        await deck.put_right()
        note("healed")
        began = time.monotonic()
        open_still = await _settled(stage)
        took = time.monotonic() - began
        for row in open_still:
            note("gave up", run=row["id"], seconds=PATIENCE_SECONDS)
        if open_still:
            await _ask_where_they_stand(stage)
        for actor in sorted(stage.actors, key=lambda each: each.role):  # clients first
            await stage.leave(actor)
        found = await evidence.gather(stage.dsn, folder / "history")
        found.late += 0.05  # the clocks of this machine and of the database may part in hours
        breaches = await asyncio.to_thread(verdict.broken, found)
        if breaches:
            await _keep(stage, found)
    results = verdict.table(found, deck.skipped, minutes)
    results |= {
        "healed_in_s": round(took, 1),
        "open": [str(dict(row)) for row in open_still],
        "violations": breaches,
    }
    return results


async def _settled(stage: Stage) -> list[asyncpg.Record]:
    """No new story begins, every story comes to its end. What is open when nothing moves any
    more."""
    (stage.folder / "quiet").touch()
    before, since = None, time.monotonic()
    while True:
        rows = await stage.execute(OPEN + " limit $1", 1000)
        untold = sum(len(Ledger(each).unfinished) for each in stage.folder.glob("*.ledger"))
        if not rows and not untold:
            return []
        if (now := (len(rows), untold)) != before:
            before, since = now, time.monotonic()
        elif time.monotonic() - since > PATIENCE_SECONDS:
            if not rows:
                note("broken", run="", why=f"{untold} clients wait though nothing is open")
            return rows
        await asyncio.sleep(0.2)


async def _ask_where_they_stand(stage: Stage) -> None:
    """Each process writes its stacks to its log."""
    for actor in stage.actors:
        actor.signal(signal.SIGUSR1)
    await asyncio.sleep(0.5)


async def _keep(stage: Stage, found: evidence.Evidence) -> None:
    """The evidence that stands in the database, as lines of JSON."""
    places: dict[str, list[evidence.Row]] = {**found.tables, "audit": found.audit}
    for place, rows in places.items():
        with (stage.folder / f"{place}.ndjson").open("w") as file:
            file.writelines(json.dumps(row, default=_shown) + "\n" for row in rows)


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def show(results: dict[str, Any]) -> None:
    for name in ("runs", "attempts", "processes", "healed_in_s"):
        click.echo(f"{name:>54}  {results[name]}")
    for title in ("came_of_it", "injected", "seen"):
        click.echo(f"\n{title.replace('_', ' ')}")
        for name, count in results[title].items():
            click.echo(f"{name:>54}  {count}")
    for name, why in results["not_injected"].items():
        click.echo(f"{name:>54}  not tried: {why}")
    for name in results["never_seen"]:
        click.echo(f"\nNOT SEEN, though it should have been: {name}")
    for name, breaches in results["violations"].items():
        click.echo(f"\nVIOLATED: {name} ({len(breaches)})")
        for each in breaches[: verdict.TOLD_MAX]:
            click.echo(f"    {each}")
    for each in results["open"]:
        click.echo(f"OPEN: {each}")


@click.command(help="Every fault we can make, on real processes; exit code 0 if no promise broke.")
@click.option("--seed", default=None, type=int, help="of faults and stories; chance by default")
@click.option("--minutes", default=1.0, show_default=True, help="of faults; then all must heal")
@click.option("--plant", default=None, type=click.Choice(sorted(PLANTS)), help="a bug to be found")
@click.option("--json", "as_json", is_flag=True, help="one line of JSON")
def main(seed: int | None, minutes: float, plant: str | None, as_json: bool) -> None:
    seed = random.randrange(10**6) if seed is None else seed
    again = f"python -m bench chaos --seed {seed} --minutes {minutes:g}"
    again += f" --plant {plant}" if plant else ""
    click.echo(again, err=True)
    folder = Path(tempfile.mkdtemp(prefix="durable-chaos-"))
    began = time.monotonic()
    results = asyncio.run(run(folder, seed=seed, minutes=minutes, plant=plant))
    failed = bool(results["violations"] or results["open"] or results["never_seen"])
    results = {
        "answers": "what breaks under faults: nothing may",
        "command": again,
        "seed": seed,
        "minutes": minutes,
        "took_s": round(time.monotonic() - began, 1),
        **results,
    }
    if failed:
        results["evidence"] = str(folder)
    else:
        shutil.rmtree(folder)
    if as_json:
        click.echo(json.dumps(results))
    else:
        show(results)
    if failed:
        click.echo(f"\nFAILED: {again}\nThe evidence is in {folder}", err=True)
        sys.exit(1)
