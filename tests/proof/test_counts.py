"""What a step and a run take is counted, and does not grow unseen.

The counting, its workloads and its limits: ``bench/counts.py``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.counts import LIMITS, LOOK, OPCODES, SHAPES, grown, limits

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.points
@pytest.mark.timeout(300)
def test_nothing_takes_more_than_its_limit() -> None:
    """In a process of its own, which has seen nothing else and is not watched by others."""
    plain = {name: value for name, value in os.environ.items() if name[:6] != "PYTHON"}
    counted = subprocess.run(
        [sys.executable, "-m", "bench", "counts", "--json"],
        cwd=ROOT,
        env=plain | {"PYTHONHASHSEED": "0"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    report = json.loads(counted.stdout)
    print(counted.stdout)
    assert report.keys() > SHAPES.keys()
    assert not report["grown"], "\n".join(report["grown"])


def test_every_shape_has_its_limits() -> None:
    assert LIMITS.keys() == SHAPES.keys()
    assert {what for each in LIMITS.values() for what in each} | {"opcodes"} == LOOK.keys()
    for opcodes in OPCODES.values():
        assert opcodes.keys() == {name for name, each in SHAPES.items() if not each.by_client}


def test_what_has_grown_is_told_with_how_much_and_where_to_look() -> None:
    report = {name: dict(limits(name)) for name in SHAPES}
    assert grown(report) == []
    report["many"]["round_trips"] *= 1.5
    [told] = grown(report)
    assert told == (
        "many: a step takes 0.08 round_trips, 50.0% above its limit of 0.05. "
        "Which statements: python -m bench counts --detail many"
    )
