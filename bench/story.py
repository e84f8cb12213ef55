"""How many instructions of Python's did a step take, at each of these commits?

Counted by callgrind, so nearly the same on a busy machine: runs of 15 steps less runs of 5, by
their number. What the system does for Python, and what Postgres does, is not counted. Each commit
is taken out of git and run on a database of its own. The results of several calls stand together in
``bench/results/story.json``, in the order of the commits: the plot of ``docs/performance.md``.

    python -m bench story 2eb9e77 7dc9627 HEAD
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import asyncpg
import click

from bench import told
from bench.storied import RUNS
from durable.embedded import FAST_AND_FORGETFUL, EmbeddedPostgres

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "bench" / "results" / "story.json"
FEW, MANY = 5, 15  # steps of each run

COLLECTED = re.compile(r"Collected : (\d+)")


def git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True).stdout


def counted(url: str, checkout: Path, n: int, options: tuple[str, ...]) -> int:
    """Instructions of all runs of so many steps, in a fresh database."""
    asyncio.run(_anew(url))
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise click.ClickException("There is no valgrind here (apt install valgrind).")
    done = subprocess.run(
        [valgrind, "--tool=callgrind", "--instr-atstart=no", "--callgrind-out-file=/dev/null",
         sys.executable, ROOT / "bench" / "storied.py", url.replace("/postgres?", "/story?"),
         str(n), *options],
        env={**os.environ, "PYTHONPATH": str(checkout)},
        cwd=checkout, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = COLLECTED.search(done.stderr)
    if found is None:
        raise click.ClickException(f"it was not run to its end: {done.stderr[-2000:]}")
    return int(found[1])


async def _anew(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("drop database if exists story with (force)")
    await connection.execute("create database story")
    await connection.close()


def measure(url: str, commit: str, options: tuple[str, ...]) -> dict[str, Any]:
    short, at, subject = git("show", "-s", "--format=%h%n%cI%n%s", commit).decode().split("\n")[:3]
    with tempfile.TemporaryDirectory() as directory:
        archive = git("archive", commit)
        subprocess.run(["tar", "-x", "-C", directory], input=archive, check=True)
        few, many = (counted(url, Path(directory), n, options) for n in (FEW, MANY))
    per_step = (many - few) / (RUNS * (MANY - FEW))
    per_run = few / RUNS - FEW * per_step
    return {"commit": short, "at": at, "subject": subject, "options": " ".join(options),
            "instructions_per_step": round(per_step), "and_per_run": round(per_run)}  # fmt: skip


def kept(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of before, too; of each commit the least: what is more are heartbeats and timers of a
    machine that took its time."""
    before = json.loads(KEPT.read_text())["commits"] if KEPT.exists() else []
    known: dict[tuple[str, str], dict[str, Any]] = {}
    for each in sorted([*before, *found], key=lambda each: -int(each["instructions_per_step"])):
        known[each["commit"], each["options"]] = each
    return sorted(known.values(), key=lambda each: str(each["at"]))


@click.command(help=__doc__)
@click.argument("commits", nargs=-1, required=True)
@click.option("--uvloop", is_flag=True, help="the host's loop is uvloop's")
@told.json_option
def main(commits: tuple[str, ...], uvloop: bool, as_json: bool) -> None:
    options = ("uvloop",) if uvloop else ()
    found = []
    with EmbeddedPostgres(settings=FAST_AND_FORGETFUL) as server:
        for commit in commits:
            found.append(measure(server.url(), commit, options))
            report = {"answers": "instructions per step", "commits": kept(found)}
            KEPT.parent.mkdir(exist_ok=True)
            KEPT.write_text(json.dumps(report, indent=1) + "\n")
    told.tell({"answers": "instructions per step", "commits": found}, as_json)
