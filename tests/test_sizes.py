"""The house stays one that can be read in an evening, and speaks of itself alone."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator

import pytest

from .test_architecture import ROOT, sources

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70

# What one must have read to know how Durable works; command line, demo and bench are not of it.
ROOMS_TO_READ = ("_core", "_codec", "_authoring", "_store", "_runtime", "_client")
LINES_TO_READ_MAX = 7_000

# Written in halves, or this file would be the first to break its rule.
FOREIGN = re.compile(
    "|".join(
        [
            r"(?<![\w.-])/(?:work|workspace|home|Users)/" + r"\w",
            "/root/" + r"[\w.]",
            "/tmp/" + r"dev\b",
            "pythonhosted" + r"\.org",
            "pypi" + r"\.(?:org|python)",
            "registry" + r"\.npmjs",
            "proxy" + r"\.golang",
        ]
    )
)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def test_files_and_functions_have_an_end() -> None:
    for path in sources("durable", "tests", "bench", "examples"):
        text = path.read_text(encoding="utf-8")
        lines = text.count("\n")
        assert lines <= FILE_LINES_MAX, f"{path} has {lines} lines: it is two stories"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, Function):
                lines = length(node)
                assert lines <= FUNCTION_LINES_MAX, f"{path}:{node.lineno} {node.name} ({lines})"


def length(function: Function) -> int:
    """Lines of a function, without its docstring."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        assert first.end_lineno is not None
        lines -= first.end_lineno - first.lineno + 1
    return lines


def test_a_docstring_does_not_make_a_function_long() -> None:
    told = ast.parse('def f():\n    """one\n\n    two"""\n    return 1\n').body[0]
    assert isinstance(told, ast.FunctionDef)
    assert length(told) == 2


def test_the_house_can_be_read_in_an_evening() -> None:
    """Blank lines are air, and not counted; comments and docstrings are read, and are."""
    counts = {
        room: sum(
            bool(line.strip())
            for path in sources(f"durable/{room}")
            for line in path.read_text(encoding="utf-8").splitlines()
        )
        for room in ROOMS_TO_READ
    }
    assert all(counts.values()), f"a room is missing: {counts}"
    assert sum(counts.values()) < LINES_TO_READ_MAX, counts


def tracked() -> Iterator[tuple[str, str]]:
    """Names and texts of all files under version control."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in listed.split("\0"):
        if name and (ROOT / name).is_file():
            yield name, (ROOT / name).read_text(encoding="utf-8", errors="replace")


def test_text_speaks_of_the_project_alone() -> None:
    """No path of the machine where it was written, no host of a package registry."""
    names = []
    for name, text in tracked():
        found = FOREIGN.search(text)
        assert found is None, f"{name} speaks of {found and found[0]}"
        names.append(name)
    assert "pyproject.toml" in names


@pytest.mark.parametrize(
    "text", ["/wo" + "rk/main", "/ro" + "ot/.pyenv/x", "https://py" + "pi.org/simple"]
)
def test_foreign_text_would_be_found(text: str) -> None:
    assert FOREIGN.search(text)


def test_nothing_is_left_open() -> None:
    """What is written down as undone is done, or said in the README."""
    marks = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
    for name, text in tracked():
        if name.startswith("durable/") or name == "schema.sql":
            assert not marks.search(text), name
