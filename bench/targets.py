"""What we aim at, and whether it is met: read off the reports of the benchmarks.

Ratios are of one run on one machine; times in milliseconds are meant for two cores with Postgres
beside them. What others do is aimed at in ``bench/against``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Reports = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Target:
    """``sign`` and ``wanted`` are what ``measured`` is compared with."""

    what: str
    measured: Callable[[Reports], float]
    sign: str
    wanted: float
    unit: str = ""

    def row(self, reports: Reports) -> dict[str, Any] | None:
        """None if a benchmark that it reads was not run."""
        try:
            measured = self.measured(reports)
        except KeyError:
            return None
        met = measured >= self.wanted if self.sign == ">=" else measured <= self.wanted
        unit = f" {self.unit}" if self.unit else ""
        wanted = f"{self.sign} {self.wanted:,.6g}{unit}"
        return {"what": self.what, "wanted": wanted, "measured": round(measured, 3), "met": met}


def _quick_start(reports: Reports) -> float:
    """Milliseconds of a lone one-step run that are left when three commits are taken off."""
    told = reports["latency"]
    return float(told["start_p50_ms"] - 3 * told["commit_ms"])


def _step_commits(word: str) -> Callable[[Reports], float]:
    def ratio(reports: Reports) -> float:
        told = reports["steps"]
        return float(told[f"{word}steps_per_s"] / told["single_commit_per_s"])

    return ratio


TARGETS = (
    Target("trivial steps, 1,000 runs at once: by single-row commits on 50 connections",
           _step_commits(""), ">=", 3.5, "x"),
    Target("the same, with `await asyncio.sleep(0)` in each", _step_commits("yielding_"), ">=",
           3.5, "x"),
    Target("the same, with 1 ms of I/O in each", _step_commits("io_"), ">=", 3.5, "x"),
    Target("journal rows of a step", lambda r: r["steps"]["journal_rows_per_step"], "<=", 1.1),
    Target("Python's time for a trivial step", lambda r: r["steps"]["python_us_per_step"], "<=",
           20, "us"),
    Target("the same, with a small dataclass in and out",
           lambda r: r["payloads"]["dataclass_python_us_per_step"], "<=", 35, "us"),
    Target("a lone one-step run, past three single-row commits", _quick_start, "<=", 1, "ms"),
    Target("one of many steps in order: by a single-row commit",
           lambda r: r["latency"]["step_commits"], "<=", 1.5, "x"),
    Target("events fed to the code again", lambda r: r["replay"]["replay_events_per_s"], ">=",
           100_000, "a second"),
    Target("a live run that waits", lambda r: r["bounds"]["live_bytes_each"], "<=", 6 * 1024,
           "bytes"),
    Target("the worker's memory for one that sleeps: none, but for what its allocator keeps",
           lambda r: max(r["sleepers"]["bytes_of_worker_per_sleeper"], 0), "<=", 16, "bytes"),
    Target("lateness of 10,000 that are due at once, p99", lambda r: r["sleepers"]["late_p99_s"],
           "<=", 0.5, "s"),
    Target("what is left of the rate beside finished runs", lambda r: r["growth"]["flat"], ">=",
           0.9, "of it"),
    Target("`import durable`", lambda r: r["imports"]["import_ms"], "<=", 150, "ms"),
    Target("the host's loop is held, p99", lambda r: r["hostloop"]["p99_ms"], "<=", 5, "ms"),
)  # fmt: skip


def rows(reports: Reports) -> list[dict[str, Any]]:
    """Of all targets that can be told, and of those beside others if they were measured."""
    own = [row for each in TARGETS if (row := each.row(reports)) is not None]
    return own + list(reports.get("against", {}).get("targets", ()))


def table(rows: list[dict[str, Any]]) -> str:
    width = max(len(row["what"]) for row in rows)
    lines = [f"{'':{width}}  {'wanted':>18}  {'measured':>12}"]
    for row in rows:
        met = "met" if row["met"] else "NOT MET"
        lines.append(
            f"{row['what']:{width}}  {row['wanted']:>18}  {row['measured']:>12,.6g}  {met}"
        )
    return "\n".join(lines)
