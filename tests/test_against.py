"""What ``python -m bench against`` measures, at its smallest; no figure is asserted.

Of the peers one takes part if somebody has installed it where the command does by default, or in
the directory that ``BENCH_AGAINST_HOME`` names.
"""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path

import pytest

from bench.against import course, differences, homes, told
from bench.against.command import HOME
from bench.against.plan import EVERYBODY, PEERS, QUESTIONS, Work

HOMES = Path(os.environ.get("BENCH_AGAINST_HOME", HOME))
TINY = Work(3, steps=2)


async def measured(dsn: str, python: str, peer: str, workload: str) -> set[str]:
    return set(await course.done(dsn, python, peer, workload, TINY))


def measures(workload: str) -> set[str]:
    return {each.measure for each in QUESTIONS if each.workload == workload}


@pytest.mark.parametrize("workload", ["steps", "restart"])
async def test_ours_does_what_everybody_is_asked_for(empty_dsn: str, workload: str) -> None:
    assert await measured(empty_dsn, sys.executable, "ours", workload) >= measures(workload)


async def test_a_peer_that_is_installed_does_the_same(empty_dsn: str) -> None:
    peer = next((each for each in PEERS if homes.is_made(HOMES, each)), None)
    if peer is None:
        pytest.skip(f"no other library is installed in {HOMES}")
    python = homes.python_of(HOMES, peer)
    assert await measured(empty_dsn, python, peer, "starts") >= measures("starts")


async def test_a_program_that_fails_says_why(empty_dsn: str) -> None:
    with pytest.raises(course.Failed, match="invalid choice"):
        await course.done(empty_dsn, sys.executable, "ours", "flights", TINY)


def test_each_peer_does_a_workload_or_says_why_not() -> None:
    for name, peer in EVERYBODY.items():
        for question in QUESTIONS:
            does = question.workload in peer.work and question.name not in peer.cannot
            assert does != (question.name in peer.cannot), (name, question.name)
    assert differences.DIFFERENCES.keys() == PEERS.keys()


def test_ratios_are_larger_where_ours_is_better() -> None:
    found = course.Measured()
    for peer, rate, p50 in (("ours", 900.0, 1.0), ("dbos", 300.0, 4.0)):
        found.figures["steps", peer] += [{"steps_per_s": rate}, {"steps_per_s": rate * 1.1}]
        found.figures["signal", peer].append({"p50_ms": p50, "p99_ms": 9.0})
    found.failures["signal", "restate"] = "it said nothing"
    report = told.report(found, ("steps", "signal"), ("dbos", "restate", "oban"))
    assert report["ratios"] == {"dbos": {"steps": 3.0, "signal": 4.0}, "restate": {}, "oban": {}}
    assert [row["met"] for row in report["targets"]] == [False, True]
    text = told.table(report)
    assert "a job takes no signals" in text
    assert "failed" in text
    assert all(words[:20] in text for words in (differences.OURS, differences.DIFFERENCES["dbos"]))


def test_the_figures_of_a_page_stand_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{told.BEGINS}\nold\n{told.ENDS}\nafter\n")
    found = course.Measured()
    found.figures["steps", "ours"].append({"steps_per_s": 900.0})
    found.figures["steps", "dbos"].append({"steps_per_s": 300.0})
    about = dict.fromkeys(("cores", "processor", "peers_python", "postgres", "commit", "at"), "x")
    about |= {"rounds": 1, "releases": {"dbos": "3.4.0", "oban": "0.7.0"}}  # type: ignore[dict-item]
    told.put(page, about, told.report(found, ("steps",), ("dbos", "oban")))
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| 900 | 300 (**3 x**) |  |" in text
    assert "- oban: a job has no steps" in text


def test_what_ours_needs_is_pinned_for_it() -> None:
    project = tomllib.loads((course.ROOT / "pyproject.toml").read_text())["project"]
    needed = {each.partition(">=")[0] for each in project["dependencies"]}
    assert needed <= set(homes.pins("ours"))
