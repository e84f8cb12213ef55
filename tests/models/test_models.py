"""The protocols as small models, every interleaving of which is looked at by Spin.

Each ``.pml`` file says in its header which statement each of its steps stands for, which
variants hold, and which must fail: a model that finds nothing in a broken protocol proves
nothing. Spin comes from the system (on Debian: ``apt install spin gcc``).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SPIN, GCC = shutil.which("spin"), shutil.which("gcc")

# Larger ones run for longer than a test may; a state space that grew is a model to cut down.
STATES_MAX_DEPTH = 100_000

LINE = re.compile(r"^ +(holds|fails): ((?:[A-Z_]+(?:=[0-9])? ?)+)", re.MULTILINE)

_wanting = pytest.mark.skipif(
    not (SPIN and GCC), reason="spin and gcc are not installed (on Debian: apt install spin gcc)"
)
pytestmark = [pytest.mark.points, _wanting]  # half a minute: by `make proof`


def variants() -> list[tuple[str, bool, str]]:
    """Model, whether it holds, and its switches."""
    found = []
    for path in sorted(HERE.glob("*.pml")):
        header = path.read_text(encoding="utf-8").partition("*/")[0]
        for verb, switches in LINE.findall(header):
            found.append((path.stem, verb == "holds", switches.strip()))
    return found


@pytest.mark.parametrize(("model", "holds", "switches"), variants())
def test_the_model_holds_and_its_broken_variants_do_not(
    model: str, holds: bool, switches: str, tmp_path: Path
) -> None:
    assert SPIN is not None and GCC is not None
    defined = [f"-D{each}" for each in switches.split()]
    run(tmp_path, SPIN, "-a", *defined, str(HERE / f"{model}.pml"))
    level = "-O1" if holds else "-O0"
    run(tmp_path, GCC, level, "-w", "-DSAFETY", "-DCOLLAPSE", "-o", "pan", "pan.c")
    told = run(tmp_path, str(tmp_path / "pan"), "-E", "-n", f"-m{STATES_MAX_DEPTH}")
    errors = re.search(r"errors: ([0-9]+)", told)
    assert errors is not None and "max search depth too small" not in told, told
    if holds:
        assert errors[1] == "0", told
    else:
        assert errors[1] != "0" and "assertion violated" in told, told


def test_each_model_has_variants_that_hold_and_that_fail() -> None:
    models = {path.stem for path in HERE.glob("*.pml")}
    assert models == {"close", "lease", "park"}
    for holds in (True, False):
        assert {model for model, as_said, _ in variants() if as_said is holds} == models


def run(where: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
