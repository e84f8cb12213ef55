"""Chaos itself: it deals each fault, loses no evidence, and finds bugs that were planted."""

from __future__ import annotations

import datetime as dt
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.chaos import sightings, verdict
from bench.chaos.faults import FAULTS, Deck
from bench.chaos.plants import PLANTS
from bench.chaos.stories import Ledger
from durable import _measured
from tests.proof.evidence import Evidence
from tests.proof.worker import Unheard
from tests.test_architecture import ROOT, sources


def test_what_is_listened_for_is_still_said() -> None:
    said = "".join(path.read_text(encoding="utf-8") for path in sources("durable"))
    for beginning in (*sightings.TOLD, Unheard.SAID):
        assert f'"{beginning}' in said, beginning
    assert sightings.COUNTED.keys() <= _measured.COUNTED.keys()


def test_each_kind_of_fault_is_dealt_before_any_comes_again() -> None:
    class Nobody:
        chance = random.Random(1)

    deck = Deck(Nobody(), 1.0)  # type: ignore[arg-type]
    possible = {each.name for each in FAULTS} - deck.skipped.keys()
    for _ in range(2):
        assert {deck.draw().name for _ in possible} == possible


def test_a_fault_that_needs_a_program_is_told_where_that_is_missing() -> None:
    named = [each for each in FAULTS if each.missing() is not None]
    assert {each.name for each in named} <= {"PgBouncer between", "clock of a worker skewed"}


def test_slices_lose_no_evidence() -> None:
    runs = range(1, 2 * verdict.RUNS_IN_SLICE + 8)
    rows: dict[str, list[dict[str, Any]]] = {"run": [{"run": n} for n in runs], "worker": [{}]}
    whole = Evidence(
        history=[*({"kind": "begin", "run": f"id{n}"} for n in runs), {"kind": "left"}],
        audit=[*({"place": "run", "run": n} for n in runs), {"place": "worker", "run": None}],
        tables=rows, journals={n: [] for n in runs}, bookings=[{"run": "id7"}],
        now=dt.datetime.now(dt.UTC), late=0.0, id_of={n: f"id{n}" for n in runs},
    )  # fmt: skip
    parts = list(verdict.slices(whole))
    assert len(parts) > 2
    for part in parts:
        assert {each["run"] for each in part.tables["run"]} == part.id_of.keys()
        assert part.tables["worker"] == [{}]
    for name in ("history", "audit", "bookings"):
        seen = [each for part in parts for each in getattr(part, name)]
        assert sorted(map(str, seen)) == sorted(map(str, getattr(whole, name))), name


def test_a_family_is_judged_together() -> None:
    """Runs of one id, and whom they have begun, and whom those have."""
    rows: list[dict[str, Any]] = [{"run": n, "id": f"id{n % 150 if n <= 600 else n}",
             "parent_run": n - 400 if n > 600 else None} for n in range(1, 1200)]  # fmt: skip
    whole = Evidence(
        history=[], audit=[], tables={"run": rows, "worker": []}, bookings=[], late=0.0,
        journals={n: [] for n in range(1200)}, now=dt.datetime.now(dt.UTC),
        id_of={row["run"]: row["id"] for row in rows},
    )  # fmt: skip
    parts = [part.id_of.keys() for part in verdict.slices(whole)]
    assert sum(map(len, parts)) == len(rows) and sum(map(bool, parts)) > 1
    for row in rows:
        (mine,) = [part for part in parts if row["run"] in part]
        assert row["parent_run"] in (None, *mine)
        assert {each["run"] for each in rows if each["id"] == row["id"]} <= mine


def test_a_ledger_tells_what_its_writer_left_unfinished(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    assert (ledger.next, ledger.unfinished) == (0, [])
    for word, n in (("begin", 0), ("begin", 1), ("end", 0)):
        ledger.note(word, n)
    again = Ledger(tmp_path / "ledger")
    assert (again.next, again.unfinished) == (2, [1])


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("plant", PLANTS)
def test_a_bug_that_was_planted_is_found_within_two_minutes(plant: str) -> None:
    command = [sys.executable, "-m", "bench", "chaos", "--minutes", "2", "--json", "--plant", plant]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["violations"]
