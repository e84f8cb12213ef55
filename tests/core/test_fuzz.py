"""Random workflows replay as they ran, in every process (``tests/core/fuzz``)."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAMS = 2_000

# Interpreters that have Durable's dependencies, for replay across versions.
PYTHONS = os.environ.get("DURABLE_TEST_PYTHONS", "").split()

# Across minor versions asyncio itself differs where cancellations race: so many in a thousand.
ACROSS_MAX = 5


def fuzz(*arguments: str, python: str = sys.executable, journals: str = "") -> str:
    """Run the campaign in a process of its own, with string hashes of its own."""
    done = subprocess.run(
        [python, "-m", "tests.core.fuzz", *arguments],
        cwd=ROOT,
        input=journals,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": str(random.randrange(1, 2**32))},
    )
    assert not done.stderr, done.stderr
    return done.stdout.strip()


@pytest.mark.timeout(180)
def test_random_programs_replay_in_another_process_as_they_ran() -> None:
    seed = os.environ.get("DURABLE_TEST_SEED", str(random.randrange(10**6)))
    print(f"DURABLE_TEST_SEED={seed}")
    journals = fuzz("record", str(PROGRAMS), "--seed", seed)
    assert journals.count("\n") == PROGRAMS - 1
    assert fuzz("replay", journals=journals) == ""


@pytest.mark.parametrize("bug", ["tasks", "scopes"])
def test_objects_that_hash_by_address_would_be_found_out(bug: str) -> None:
    journals = fuzz("record", "100")
    assert "differs" in fuzz("replay", "--bug", bug, journals=journals)


@pytest.mark.skipif(not PYTHONS, reason="DURABLE_TEST_PYTHONS names no interpreters")
@pytest.mark.parametrize(("one", "other"), list(itertools.product(PYTHONS, PYTHONS)))
def test_random_programs_replay_on_other_pythons(one: str, other: str) -> None:
    journals = fuzz("record", str(PROGRAMS), python=one)
    differences = fuzz("replay", python=other, journals=journals)
    allowed = 0 if one == other else PROGRAMS * ACROSS_MAX // 1000
    assert len(differences.splitlines()) <= allowed, differences
