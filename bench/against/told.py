"""How a comparison is told: medians and their spread, ratios, targets, and who cannot do what."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.page import text

from . import differences
from .course import Measured
from .plan import EVERYBODY, QUESTIONS, TARGETS, Question, Target

BEGINS, ENDS = "<!-- beside others -->", "<!-- /beside others -->"
WIDTH = 100

Report = dict[str, Any]


def report(measured: Measured, workloads: Sequence[str], peers: Sequence[str]) -> Report:
    """Everything, as plain values."""
    asked = [each for each in QUESTIONS if each.workload in workloads]
    figures = {
        question.name: {
            peer: found
            for peer in ("ours", *peers)
            if (found := _figures(measured, question, peer)) is not None
        }
        for question in asked
    }
    ratios = {peer: _ratios(figures, asked, peer) for peer in peers}
    return {
        "answers": "how many times better ours is than each peer, at each question",
        "ratios": ratios,
        "targets": [row for each in TARGETS if (row := _target(each, ratios)) is not None],
        "figures": figures,
        "cannot": {peer: _cannot(asked, peer) for peer in peers if _cannot(asked, peer)},
        "failed": {
            f"{peer} {workload}": why for (workload, peer), why in measured.failures.items()
        },
    }


def _figures(measured: Measured, question: Question, peer: str) -> Report | None:
    rounds = [
        each[question.measure]
        for each in measured.figures.get((question.workload, peer), ())
        if question.measure in each
    ]
    if not rounds:
        return None
    return {
        "median": round(statistics.median(rounds), 4),
        "least": round(min(rounds), 4),
        "most": round(max(rounds), 4),
        "rounds": len(rounds),
    }


def _ratios(figures: Report, asked: Iterable[Question], peer: str) -> dict[str, float]:
    found = {}
    for question in asked:
        by_peer = figures[question.name]
        if "ours" in by_peer and peer in by_peer:
            ours, theirs = by_peer["ours"]["median"], by_peer[peer]["median"]
            found[question.name] = round(question.ratio(ours, theirs), 2)
    return found


def _cannot(asked: Iterable[Question], peer: str) -> dict[str, str]:
    reasons = EVERYBODY[peer].cannot
    return {each.name: reasons[each.name] for each in asked if each.name in reasons}


def _target(target: Target, ratios: Mapping[str, Mapping[str, float]]) -> Report | None:
    """In the shape of ``bench/targets.py``; None if it was not measured."""
    whose = {
        peer: found[target.question]
        for peer, found in ratios.items()
        if target.question in found and target.peer in (peer, None)
    }
    if not whose:
        return None
    peer = min(whose, key=lambda each: whose[each])
    asks = next(each.asks for each in QUESTIONS if each.name == target.question)
    who = peer if target.peer else f"the best peer ({peer})"
    return {
        "what": f"{asks}: beside {who}",
        "wanted": f">= {target.wanted:g} x",
        "measured": whose[peer],
        "met": whose[peer] >= target.wanted,
    }


# As text


def table(found: Report) -> str:
    lines: list[str] = []
    for question in QUESTIONS:
        if question.name not in found["figures"]:
            continue
        lines += ["", f"{question.asks} ({question.unit})"]
        for peer in ("ours", *found["ratios"]):
            lines.append(f"  {peer:>14}  {_cell(found, question, peer)}")
    for row in found["targets"]:
        met = "met" if row["met"] else "NOT MET"
        lines += ["", "targets"] if row is found["targets"][0] else []
        lines.append(f"  {row['what']}: wanted {row['wanted']}, {row['measured']:,.3g}: {met}")
    lines += ["", "what they guarantee", *_told("ours", differences.OURS)]
    for peer in found["ratios"]:
        lines += _told(peer, differences.DIFFERENCES[peer])
    return "\n".join(lines)


def _cell(found: Report, question: Question, peer: str) -> str:
    figures = found["figures"][question.name].get(peer)
    if figures is None:
        return _why_not(found, question, peer)
    spread = f"{text(figures['least'])} to {text(figures['most'])}"
    cell = f"{text(figures['median']):>10}  ({spread})"
    ratio = found["ratios"].get(peer, {}).get(question.name)
    return cell if ratio is None else f"{cell:<40}  x {text(ratio)}"


def _why_not(found: Report, question: Question, peer: str) -> str:
    if f"{peer} {question.workload}" in found["failed"]:
        return "failed"
    return str(found["cannot"].get(peer, {}).get(question.name, "not measured"))


def _told(peer: str, words: str) -> list[str]:
    return textwrap.wrap(f"{peer}: {words}", WIDTH, initial_indent="  ", subsequent_indent="    ")


# As a section of a page


def put(page: Path, about: Mapping[str, Any], found: Report) -> None:
    """Replace what stands between the marks.

    Raises:
        ValueError: there are none.
    """
    before, mark, rest = page.read_text(encoding="utf-8").partition(BEGINS)
    _, end, after = rest.partition(ENDS)
    if not (mark and end):
        raise ValueError(f"{page} has no {BEGINS} and {ENDS}")
    told = "\n".join(_section(about, found))
    page.write_text(f"{before}{BEGINS}\n{told}\n{ENDS}{after}", encoding="utf-8")


def _section(about: Mapping[str, Any], found: Report) -> Iterator[str]:
    peers = list(found["ratios"])
    yield (
        f"{about['cores']} cores ({about['processor']}), Python {about['peers_python']}, Postgres "
        f"{about['postgres']}; medians of {about['rounds']} rounds, least and most in "
        f"`bench/results/against.json`; commit {about['commit']}, {about['at']}."
    )
    yield ""
    yield f"| | ours | {' | '.join(_head(about, peer) for peer in peers)} |"
    yield "|---|---|" + "---|" * len(peers)
    for question in QUESTIONS:
        if question.name in found["figures"]:
            cells = (_short(found, question, peer) for peer in ("ours", *peers))
            yield f"| {question.asks}, {question.unit} | {' | '.join(cells)} |"
    for peer, reasons in found["cannot"].items():
        yield from ("", f"- {peer}: {'; '.join(sorted(set(reasons.values())))}")


def _head(about: Mapping[str, Any], peer: str) -> str:
    return f"{peer} {about['releases'][peer]}"


def _short(found: Report, question: Question, peer: str) -> str:
    figures = found["figures"][question.name].get(peer)
    if figures is None:
        return "failed" if f"{peer} {question.workload}" in found["failed"] else ""
    ratio = found["ratios"].get(peer, {}).get(question.name)
    shown = text(figures["median"])
    return shown if ratio is None else f"{shown} (**{text(ratio)} x**)"
