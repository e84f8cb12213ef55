"""The course of a comparison: who works when, on which database.

A round is each workload in turn, done by each peer in turn, ours among them; every round begins
with another peer, so that nobody always works on a warm machine, or after the same neighbour. Each
piece of work is a process of its own. Those that live in Postgres share one server and find an
empty database; a checkpoint is behind them.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from bench import limits

from . import processes
from .plan import EVERYBODY, Work

ROOT = Path(__file__).resolve().parents[2]
DATABASE = "durable_against"
PATIENCE_SECONDS = 300.0  # for one piece of work
SAID_MAX = 600  # characters of what a program that failed has said


class Failed(Exception):
    """A piece of work was not done; says why."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What all rounds have brought: figures by workload and peer, and what failed."""

    figures: dict[tuple[str, str], list[dict[str, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    failures: dict[tuple[str, str], str] = field(default_factory=dict)


async def compare(
    dsn: str,
    pythons: dict[str, str],
    workloads: Sequence[str],
    *,
    rounds: int,
    scale: float,
    say: Callable[[str], None],
) -> Measured:
    """``pythons``: of each peer the interpreter that knows it, ours first."""
    measured = Measured()
    for number in range(rounds):
        for workload in workloads:
            for peer in _from(number, list(pythons)):
                work = EVERYBODY[peer].work.get(workload)
                if work is None or (workload, peer) in measured.failures:
                    continue
                if work.rounds_max is not None and number >= work.rounds_max:
                    continue
                try:
                    figures = await done(dsn, pythons[peer], peer, workload, scaled(work, scale))
                except Failed as failure:
                    measured.failures[workload, peer] = str(failure)
                    say(f"{workload} {peer}: FAILED: {failure}")
                    continue
                measured.figures[workload, peer].append(figures)
                say(f"{workload} {peer}: {_short(figures)}")
    return measured


def _from(number: int, peers: Sequence[str]) -> list[str]:
    number %= len(peers)
    return [*peers[number:], *peers[:number]]


def scaled(work: Work, scale: float) -> Work:
    return replace(work, amount=max(1, round(work.amount * scale)))


def _short(figures: dict[str, float]) -> str:
    return ", ".join(f"{key} {value:,.4g}" for key, value in figures.items())


async def done(dsn: str, python: str, peer: str, workload: str, work: Work) -> dict[str, float]:
    """One peer does one piece of work.

    Raises:
        Failed: it did not.
    """
    url = await empty_database(dsn)
    command = [
        python, "-m", f"bench.against.peers.{peer}", workload, "--dsn", url, "--tag", "restarted",
        "--amount", str(work.amount), "--steps", str(work.steps),
        "--concurrency", str(work.concurrency),
    ]  # fmt: skip
    with tempfile.TemporaryFile("w+") as said:
        program = processes.child(command, stdout=subprocess.PIPE, stderr=said, text=True, cwd=ROOT)
        try:
            line, _ = program.communicate(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failed(f"not done after {PATIENCE_SECONDS:g} s") from None
        finally:
            processes.kill(program)
        if program.returncode or not line:
            said.seek(0)
            raise Failed(said.read()[-SAID_MAX:].strip() or "it said nothing")
    report: dict[str, Any] = json.loads(line)
    assert (report.pop("peer"), report.pop("workload")) == (peer, workload)
    return report


async def empty_database(dsn: str) -> str:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(f"drop database if exists {DATABASE} with (force)")
        await connection.execute(f"create database {DATABASE}")
    finally:
        await connection.close()
    await limits.settle(dsn)
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{DATABASE}"))
