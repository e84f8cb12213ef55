"""How much better is ours than what others do? Steps, starts, latency, gather, restart, signal.

Everybody does the same work on this machine, those that live in Postgres on one server with all
its defaults (fsync on), in turns: see ``plan.py`` for how much of it, ``peers/`` for how, and
``differences.py`` for what each guarantees that differs. Without --only, --workloads and --scale
the result is left in ``bench/results/against.json``.

What is missing of the peers is installed into --home from the package indexes that pip and npm are
set up for. All of it takes about a quarter of an hour on two cores.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from bench import told as telling
from bench.all import RESULTS, keep, surroundings
from durable.embedded import EmbeddedPostgres

from . import course, homes, told
from .plan import EVERYBODY, PEERS, WORKLOADS

HOME = course.ROOT / ".durable" / "against"


class Some(click.ParamType):  # type: ignore[type-arg]  # older releases have no argument
    """Names of those that are known, with commas between them."""

    name = "names"

    def __init__(self, known: Iterable[str]) -> None:
        self.known = list(known)

    def convert(self, value: Any, param: Any, ctx: Any) -> list[str]:
        names = value.split(",") if isinstance(value, str) else list(value)
        if unknown := set(names) - set(self.known):
            self.fail(f"no {', '.join(sorted(unknown))}; there are {', '.join(self.known)}")
        return names


@click.command("against", help=__doc__)
@click.option("--only", type=Some(PEERS), default=",".join(PEERS), help="peers: dbos,restate")
@click.option("--workloads", type=Some(WORKLOADS), default=",".join(WORKLOADS), help="steps,starts")
@click.option("--repeat", default=3, show_default=True, help="rounds")
@click.option("--scale", default=1.0, show_default=True, help="of the work; 0.02 to see it run")
@click.option("--home", default=HOME, type=click.Path(path_type=Path), show_default=True,
              help="where the peers are installed")  # fmt: skip
@click.option("--python", default=sys.executable, help="an interpreter that they are made with")
@click.option("--into", type=click.Path(exists=True, path_type=Path),
              help="a page with two marks, between which the figures are written")  # fmt: skip
@telling.database_option
@telling.json_option
def main(
    only: list[str],
    workloads: list[str],
    repeat: int,
    scale: float,
    home: Path,
    python: str,
    into: Path | None,
    dsn: str | None,
    as_json: bool,
) -> None:
    def say(line: str) -> None:
        click.echo(line, err=True)

    pythons, missing = installed(home.resolve(), ["ours", *only], python, say)
    peers = [each for each in only if each in pythons]
    with server(dsn) as url:
        measured = asyncio.run(
            course.compare(url, pythons, workloads, rounds=repeat, scale=scale, say=say)
        )
    about = surroundings() | {
        "rounds": repeat,
        "peers_python": version(pythons["ours"]),
        "releases": {each: homes.pins(each)[EVERYBODY[each].package] for each in peers},
        "not_installed": missing,
    }
    found = told.report(measured, workloads, peers) | about
    if scale == 1.0 and (only, workloads) == (list(PEERS), list(WORKLOADS)):
        keep("against", found)
        say(f"left in {RESULTS / 'against.json'}")
    if into is not None:
        told.put(into, about, found)
    click.echo(json.dumps(found) if as_json else told.table(found))
    if measured.failures or missing:
        sys.exit(1)


def installed(
    home: Path, names: list[str], python: str, say: Callable[[str], None]
) -> tuple[dict[str, str], dict[str, str]]:
    """The interpreter of each, and why there is none of some."""
    pythons, missing = {}, {}
    for name in names:
        if not homes.is_made(home, name):
            say(f"installing {name} into {home / name}")
        try:
            homes.make(home, name, python)
        except homes.NotInstalled as error:
            missing[name] = str(error)
            say(f"{name} is left out: {error}")
        else:
            pythons[name] = homes.python_of(home, name)
            homes.compile_checkout(pythons[name], course.ROOT)
    if "ours" in missing:
        raise click.ClickException(missing["ours"])
    return pythons, missing


@contextlib.contextmanager
def server(dsn: str | None) -> Iterator[str]:
    """One of ours with what Postgres has by default, or yours."""
    if dsn is not None:
        yield dsn
    else:
        with EmbeddedPostgres() as postgres:
            yield postgres.url()


def version(python: str) -> str:
    code = "import platform; print(platform.python_version())"
    return subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
