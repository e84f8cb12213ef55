"""Where do we stand? All that is measured, in a quick form, and the targets beside it.

Each benchmark runs in a process of its own, with a Postgres of its own, and leaves its line in
``bench/results``; ``all.json`` there holds the machine, the versions and the table of targets, and
plots are drawn if matplotlib is here (``pip install 'durably[bench]'``). What was measured beside
others (``python -m bench against``) is taken from where it was left. ``--into`` writes the figures
into a page. Ten minutes on two cores.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from bench import page, plots, targets, told
from durable.embedded import find_binaries

RESULTS = Path(__file__).parent / "results"

# Quick: what each is asked for here. Small: enough to see that it runs at all.
QUICK: Mapping[str, Sequence[str]] = {
    "imports": ("--repeat", "5"),
    "steps": ("--repeat", "3", "--seconds", "1", "--grid"),
    "starts": ("--runs", "5000", "--repeat", "3"),
    "latency": ("--calls", "300", "--repeat", "3"),
    "fanout": ("--repeat", "9"),
    "payloads": ("--repeat", "3"),
    "replay": ("--repeat", "3"),
    "signals": ("--calls", "100", "--repeat", "3"),
    "growth": ("--finished", "0", "--finished", "100000", "--finished", "1000000",
               "--repeat", "5"),
    "workers": ("--repeat", "2"),
    "sleepers": ("--runs", "10000", "--sleep", "25"),
    "hostloop": (),
    "recovery": ("--only", "killed", "--only", "same_machine"),
    "bounds": ("--only", "live"),
    "children": ("--only", "wide", "--only", "burst"),
}  # fmt: skip

SMALL: Mapping[str, Sequence[str]] = {
    "imports": ("--repeat", "1"),
    "limits": ("--seconds", "0.02", "--repeat", "1"),
    "steps": ("--runs", "5", "--steps", "2", "--repeat", "1", "--seconds", "0.02"),
    "starts": ("--runs", "20", "--repeat", "1"),
    "latency": ("--calls", "3", "--repeat", "1"),
    "fanout": ("--width", "10", "--repeat", "1"),
    "payloads": ("--runs", "3", "--steps", "1", "--repeat", "1"),
    "replay": ("--runs", "2", "--steps", "3", "--repeat", "1"),
    "signals": ("--runs", "3", "--calls", "2", "--repeat", "1"),
    "growth": ("--finished", "0", "--finished", "30", "--runs", "3", "--repeat", "1"),
    "workers": ("--workers", "1", "--runs", "3", "--repeat", "1"),
    "hostloop": ("--runs", "3", "--events", "2", "--repeat", "1"),
    "children": ("--children", "5", "--only", "burst"),
}

PATIENCE_SECONDS = 300.0


def one(name: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Run one benchmark; what it says beside its line goes where ours goes."""
    command = [sys.executable, "-m", "bench", name, "--json", *arguments]
    begun = time.perf_counter()
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, timeout=PATIENCE_SECONDS
    )
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report | {"asked": " ".join(arguments), "took_s": round(time.perf_counter() - begun, 1)}


def surroundings() -> dict[str, Any]:
    """On what it was measured."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=RESULTS.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    versions = {name: metadata.version(name) for name in ("durably", "asyncpg", "msgspec")}
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip(),
        "cores": os.cpu_count(),
        "processor": processor(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "postgres": find_binaries().major,
        "load": [round(each, 2) for each in os.getloadavg()],
        **versions,
    }


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((each.partition(": ")[2] for each in lines if each.startswith("model name")), "")


def keep(name: str, report: Mapping[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")


def measured_before(name: str) -> dict[str, Any]:
    try:
        report: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    except OSError:
        return {}
    return report


@click.command(help=__doc__)
@click.option("--only", multiple=True, type=click.Choice([*QUICK]), help="these benchmarks")
@click.option("--into", type=click.Path(exists=True, path_type=Path),
              help="a page with two marks, between which the figures are written")  # fmt: skip
@told.json_option
def main(only: tuple[str, ...], into: Path | None, as_json: bool) -> None:
    about = surroundings()
    reports: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    for name, arguments in QUICK.items():
        if only and name not in only:
            continue
        click.echo(f"{name} {' '.join(arguments)}", err=True)
        try:
            reports[name] = one(name, arguments)
        except (subprocess.SubprocessError, ValueError, IndexError) as error:
            failed[name] = str(error)  # the others are measured all the same
            click.echo(f"{name}: {error}", err=True)
        else:
            keep(name, reports[name])
    # What was left by others, or by an earlier run, is told beside what was measured now.
    known = {name: measured_before(name) for name in (*QUICK, "against", "story")}
    rows = targets.rows(known | reports)
    summary = {
        "answers": "where we stand",
        **about,
        "measured": list(reports),
        "failed": failed,
        "targets": rows,
    }
    keep("all", summary)
    drawn = plots.draw(known | reports, RESULTS)
    if into is not None:
        page.put(into, about, known | reports, drawn)
    if as_json:
        click.echo(json.dumps(summary))
    elif rows:
        click.echo(targets.table(rows))
    if failed:
        raise click.ClickException(f"not measured: {', '.join(failed)}")
