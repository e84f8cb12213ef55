"""The house stays one that can be read in an evening, and speaks of itself alone."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .test_architecture import ROOT, sources

FILE_LINES_MAX = 400
LONGER = {"durable/errors.py": 540}  # one tree, to be found in one place
FUNCTION_LINES_MAX = 70

# What one must have read to know how Durable works; command line, demo and bench are not of it.
ROOMS_TO_READ = ("_core", "_codec", "_authoring", "_store", "_runtime", "_client")
LINES_TO_READ_MAX = 9_950

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
        lines_max = LONGER.get(path.relative_to(ROOT).as_posix(), FILE_LINES_MAX)
        assert lines <= lines_max, f"{path} has {lines} lines: it is two stories"
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
    """Lines of code: docstrings, comments and air make them quicker to read, not slower. The
    memory store says the same as the Postgres one, for tests."""
    counts = {
        room: sum(lines_of_code(path) for path in sources(f"durable/{room}") if not is_memory(path))
        for room in ROOMS_TO_READ
    }
    assert all(counts.values()), f"a room is missing: {counts}"
    assert sum(counts.values()) < LINES_TO_READ_MAX, counts


def is_memory(path: Path) -> bool:
    return "memory" in path.parts


def lines_of_code(path: Path) -> int:
    text = path.read_text(encoding="utf-8")
    told: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | Function) and ast.get_docstring(node):
            first = node.body[0]
            told.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return sum(
        bool(line.strip()) and not line.lstrip().startswith("#") and number not in told
        for number, line in enumerate(text.splitlines(), start=1)
    )


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
