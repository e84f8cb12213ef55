"""The figures of ``docs/performance.md``, written between its two marks from what was measured.

No figure on that page is typed by hand there: ``python -m bench all --into docs/performance.md``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from bench import targets

QUIET = 0.7  # processes that want a core, before anything is measured

BEGINS, ENDS = "<!-- figures -->", "<!-- /figures -->"

# The plots that are drawn anew with the figures; the story's stands on the page by itself.
PLOTS: Mapping[str, str] = {
    "steps": "Steps a second by runs at once",
    "cost": "What a step costs",
    "latency": "What a lone caller waits for",
    "growth": "The same load beside finished runs",
    "workers": "Several processes",
}

Reports = Mapping[str, Mapping[str, Any]]


def text(value: float) -> str:
    """Two digits or three, and no more thousands than one can read."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def of(name: str, pattern: str) -> Callable[[Reports], str]:
    """A sentence with the figures of one report in it: ``"{steps_per_s} a second"``."""

    def told(reports: Reports) -> str:
        return pattern.format_map(_Texts(reports[name]))

    return told


class _Texts(dict[str, str]):
    def __init__(self, report: Mapping[str, Any]) -> None:
        self._report = report

    def __missing__(self, key: str) -> str:
        value = self._report[key]
        return text(value) if isinstance(value, int | float) else str(value)


FIGURES: Mapping[str, Callable[[Reports], str]] = {
    "single-row commits of this Postgres, 1, 10 and 50 connections": of(
        "steps",
        "{single_commit_per_s_1}, {single_commit_per_s_10}, {single_commit_per_s} a second; one "
        "takes {commit_ms} ms",
    ),
    "raw inserts of the same rows, 500 at a time; by `copy`": of(
        "steps", "{raw_rows_per_s}; {copied_rows_per_s} rows a second"
    ),
    "trivial steps, 1,000 runs at once": of(
        "steps",
        "{steps_per_s} a second: {python_us_per_step} µs of Python and {postgres_us_per_step} of "
        "Postgres, {wal_bytes_per_step} bytes of WAL, {journal_rows_per_step} journal rows, "
        "{commits_per_step} commits each; {peak_mb} MB",
    ),
    "with `await asyncio.sleep(0)` in each": of(
        "steps", "{yielding_steps_per_s} a second, {yielding_python_us_per_step} µs of Python"
    ),
    "with 1 ms of I/O in each": of(
        "steps", "{io_steps_per_s} a second, {io_python_us_per_step} µs of Python"
    ),
    "with a small dataclass in and out": of(
        "payloads",
        "{dataclass_steps_per_s} a second, {dataclass_python_us_per_step} µs of Python; a kibibyte "
        "of text {kibibyte_python_us_per_step} µs, 64 of them {64_kibibytes_python_us_per_step}",
    ),
    "one-step runs from start to result, 1,000 callers": of(
        "starts",
        "{runs_per_s} a second in the process that works, {other_runs_per_s} by a client of "
        "another, {bulk_runs_per_s} by `start_many`",
    ),
    "a lone one-step run": of(
        "latency",
        "p50 {start_p50_ms} ms, p99 {start_p99_ms}; by a client of another process "
        "{other_start_p50_ms} and {other_start_p99_ms}",
    ),
    "one of many steps in order": of("latency", "{step_ms} ms: {step_commits} commits' time"),
    "a gather of 1,000": of("fanout", "{seconds} s: {steps_per_s} steps a second"),
    "10,000 children of one run": of(
        "children", "{wide_children_per_s} a second, fifty at a time; in one turn, "
        "{burst_children_per_s}, {burst_mb_at_most} MB"
    ),
    "a signal, until the result of the run that waits for it": of(
        "signals",
        "p50 {signal_p50_ms} ms, p99 {signal_p99_ms}; in another process {other_signal_p50_ms} and "
        "{other_signal_p99_ms}; {signals_per_s} a second, 1,000 at once",
    ),
    "events fed to the code again": of(
        "replay",
        "{replay_events_per_s} a second from memory; a restart that reads, replays and ends 100 "
        "runs of 100 steps takes {restart_s} s",
    ),
    "the same load beside finished runs": of(
        "growth", "{flat} of the rate beside {finished}, one-step runs {flat_runs}"
    ),
    "worker processes on one Postgres": of(
        "workers",
        "{workers_1_steps_per_s}, {workers_2_steps_per_s}, {workers_4_steps_per_s} steps a second "
        "with 1, 2, 4",
    ),
    "runs that sleep": of(
        "sleepers",
        "{bytes_of_worker_per_sleeper} bytes of the worker each; {statements_per_s_asleep} "
        "statements a second; {runs} due at once are late by {late_p50_s} s, p99 {late_p99_s}",
    ),
    "a live run that waits": of("bounds", "{live_bytes_each} bytes"),
    "a killed worker's runs go on elsewhere": of("recovery", "within {p99_s} s (p99)"),
    "the host's loop is held": of("hostloop", "{p99_ms} ms at p99, {max_ms} at most"),
    "`import durable`": of("imports", "{import_ms} ms"),
}  # fmt: skip


def written(about: Mapping[str, Any], reports: Reports) -> str:
    machine = (
        f"{about['cores']} cores ({about['processor']}), {about['system']}, Python "
        f"{about['python']}, Postgres {about['postgres']} beside it with all its defaults; commit "
        f"{about['commit']}, {about['at']}."
    )
    if about["load"][0] > QUIET:
        load = f"{about['load'][0]:.1f}"
        machine += (
            f" The machine was busy with other things (load {load} when this began): counts tell "
            "something, ratios a little, rates and times nothing."
        )
    lines = [machine, "", "| what | measured |", "|---|---|"]
    for what, told in FIGURES.items():
        try:
            lines.append(f"| {what} | {told(reports)} |")
        except KeyError:
            continue  # not measured
    lines += ["", "| target | wanted | measured | |", "|---|---|---|---|"]
    lines += [
        f"| {row['what']} | {row['wanted']} | {text(row['measured'])} | "
        f"{'met' if row['met'] else '**not met**'} |"
        for row in targets.rows(reports)
    ]
    return "\n".join(lines)


def shown(page: Path, drawn: Iterable[Path]) -> str:
    """The plots, as links from the page."""
    return "".join(
        f"\n![{PLOTS[plot.stem]}]({os.path.relpath(plot, page.parent)})"
        for plot in drawn
        if plot.stem in PLOTS
    )


def put(page: Path, about: Mapping[str, Any], reports: Reports, drawn: Iterable[Path]) -> None:
    """Replace what stands between the marks.

    Raises:
        ValueError: it has none.
    """
    before, mark, rest = page.read_text(encoding="utf-8").partition(BEGINS)
    _, end, after = rest.partition(ENDS)
    if not (mark and end):
        raise ValueError(f"{page} has no {BEGINS} and {ENDS}")
    figures = f"{written(about, reports)}\n{shown(page, drawn)}"
    page.write_text(f"{before}{BEGINS}\n{figures}\n{ENDS}{after}", encoding="utf-8")
