"""Benchmarks say what they answer, and run. What they measure is for a machine that has nothing
else to do; here each is asked for as little as it takes, by `make proof`."""

from __future__ import annotations

import gc
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from bench import page, plots, targets
from bench.__main__ import NAMES
from bench.all import QUICK, SMALL

BY_THEMSELVES = {"all", "against"}  # they run others


@pytest.fixture
def collector() -> Iterator[None]:
    """Benchmarks set it as a worker does."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_opens_with_its_question_and_answers_in_json(name: str) -> None:
    module = importlib.import_module(f"bench.{name}")
    assert module.__doc__ is not None
    assert "?" in module.__doc__.split("\n\n")[0] or name in BY_THEMSELVES | {"chaos"}
    command = getattr(module, "main", None)
    if isinstance(command, click.Command):
        assert "--json" in {each for option in command.params for each in option.opts}
    assert name not in QUICK or "main" in vars(module)


@pytest.mark.points
@pytest.mark.parametrize("name", SMALL)
def test_a_benchmark_runs(dsn: str, collector: None, name: str) -> None:
    module: Any = importlib.import_module(f"bench.{name}")
    place = [] if name == "imports" else ["--dsn", dsn]
    done = CliRunner().invoke(module.main, [*place, "--json", *SMALL[name]], catch_exceptions=False)
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["answers"]
    figures = {key: value for key, value in report.items() if key.endswith(("_per_s", "_ms"))}
    assert all(value > 0 for value in figures.values()), figures


def test_a_target_is_met_from_its_bound_on_and_unknown_without_its_benchmark() -> None:
    def told(own: float) -> list[dict[str, Any]]:
        steps = {"steps_per_s": own, "single_commit_per_s": 1_000, "python_us_per_step": 20}
        return targets.rows({"steps": steps})

    assert [row["met"] for row in told(3_500)] == [True, True]
    assert [row["met"] for row in told(3_499)] == [False, True]
    assert "NOT MET" in targets.table(told(3_499))


def test_figures_are_written_between_the_marks_of_a_page_and_nowhere_else(tmp_path: Path) -> None:
    before, after = "# Speed\n\n", "\n\n## More\n"
    written = tmp_path / "speed.md"
    written.write_text(f"{before}{page.BEGINS}\nold\n{page.ENDS}{after}")
    about = dict.fromkeys(
        ("cores", "processor", "system", "python", "postgres", "commit", "at"), "x"
    )
    reports = {"imports": {"import_ms": 151.0}}
    page.put(written, about | {"load": [0.1]}, reports, [tmp_path / "results" / "steps.svg"])
    told = written.read_text()
    assert told.startswith(before + page.BEGINS)
    assert told.endswith(page.ENDS + after)
    assert "old" not in told
    assert "| `import durable` | 151 ms |" in told
    assert "**not met**" in told
    assert "](results/steps.svg)" in told
    assert "busy" not in told
    assert page.PLOTS.keys() <= plots.PLOTS.keys()


def test_what_others_were_measured_with_stands_in_the_same_table() -> None:
    row = {"what": "steps by another's", "wanted": ">= 2 x", "measured": 3.0, "met": True}
    assert targets.rows({"against": {"targets": [row]}}) == [row]
