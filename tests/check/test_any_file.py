"""Whatever is valid Python is read without a crash, and said the same of each time."""

from __future__ import annotations

import ast
import random
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from durable._check.bodies import Body
from durable._check.checking import check, look
from durable._check.findings import Finding
from durable._check.meanings import Function
from durable._check.names import Names
from durable._check.sources import Library, Trouble

CORPUS = Path(__file__).parent / "corpus"
SOURCES = sorted(CORPUS.rglob("*.py"))
STDLIB = Path(sysconfig.get_path("stdlib"))
INSTALLED = Path(sysconfig.get_path("purelib"))

# Small ones of many kinds: metaclasses, decorators, generators, old idioms.
MODULES = ["abc.py", "bisect.py", "contextlib.py", "dataclasses.py", "enum.py",
           "functools.py", "heapq.py", "queue.py", "reprlib.py", "sched.py", "string.py",
           "asyncio/locks.py", "asyncio/taskgroups.py", "collections/abc.py", "json/encoder.py",
           "unittest/async_case.py"]  # fmt: skip


def as_workflows(path: Path) -> list[Finding] | None:
    """What is found if each function of a file, however deep in it, is taken for a workflow; None
    if it is no Python of this version."""
    library = Library()
    names = Names(library)
    try:
        module = library.read(path)
    except Trouble:
        return None
    body = Body(names, module.name, [*module.tree.body], names.whole(module))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    roots = [Function(each, body.scope_of(each)) for each in body if isinstance(each, functions)]
    found = look(names, roots)
    for each in found:
        assert each.line >= 1
        assert each.column >= 1
        assert each.text
        assert each.facts()
    return found


@pytest.mark.parametrize("name", MODULES)
def test_the_standard_library_is_read(name: str) -> None:
    assert as_workflows(STDLIB / name) is not None


def test_what_is_found_is_found_each_time() -> None:
    assert as_workflows(STDLIB / "queue.py") == as_workflows(STDLIB / "queue.py") != []


def every_file() -> Iterator[Path]:
    for folder in (STDLIB, INSTALLED):
        yield from (
            path for path in sorted(folder.rglob("*.py"))
            if folder is INSTALLED or "site-packages" not in path.parts
        )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_all_that_is_installed_here_is_read() -> None:
    began, count, lines = time.process_time(), 0, 0
    for path in every_file():
        if as_workflows(path) is not None:
            count += 1
            lines += path.read_bytes().count(b"\n")
    took = time.process_time() - began
    print(f"{count} files, {lines} lines in {took:.0f} s of one core: {lines / took:.0f} a second")
    assert count > 1_000


N = 500
DEEP = {
    "sum": "x = " + " + ".join(["a"] * N),
    "sets": "for x in " + " | ".join(["{a}"] * N) + ": yield x",
    "attributes": "a" + ".b" * N + " = 1\nprint(a" + ".b" * N + ")",
    "calls": "open" + "()" * N,
    "branches": "if a: pass\n" + "".join(f"elif a == {n}: time.sleep({n})\n" for n in range(N)),
    "brackets": "x = " + "[" * 80 + "]" * 80,
    "annotation": "x: " + " | ".join(["set[int]"] * N) + " = a",
    "strings": "x: '" + "list[" * 60 + "int" + "]" * 60 + "' = a\nfor y in x: yield y",
}


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
def test_what_is_nested_deep_is_read(tmp_path: Path, text: str) -> None:
    lines = ["import time", "a = []", "def f():", *(f"    {line}" for line in text.splitlines())]
    path = tmp_path / "deep.py"
    path.write_text("\n".join([*lines, text.replace("yield", "")]), "utf-8")
    assert as_workflows(path) is not None


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(SOURCES), st.randoms(use_true_random=False))
def test_programs_with_parts_torn_out_are_read(
    tmp_path_factory: pytest.TempPathFactory, source: Path, chance: random.Random
) -> None:
    text = source.read_text("utf-8")
    tree = ast.parse(text)
    tear(tree, [each for each in ast.walk(ast.parse(text)) if isinstance(each, ast.expr)], chance)
    path = tmp_path_factory.mktemp("torn") / "torn.py"
    path.write_text(ast.unparse(ast.fix_missing_locations(tree)), "utf-8")
    as_workflows(path)
    check([str(path)])


def tear(tree: ast.Module, spare: list[ast.expr], chance: random.Random) -> None:
    """Drop statements, and put expressions where names were."""
    for node in [*ast.walk(tree)]:
        for name, value in ast.iter_fields(node):
            if isinstance(value, list) and name == "body" and len(value) > 1:
                setattr(node, name, [each for each in value if chance.random() < 0.9] or value[:1])
            elif isinstance(value, ast.Name) and chance.random() < 0.05:
                setattr(node, name, chance.choice(spare))


@pytest.mark.parametrize("source", sorted((CORPUS / "dirty").glob("*.py")), ids=lambda p: p.stem)
def test_each_finding_can_be_silenced_at_its_line(tmp_path: Path, source: Path) -> None:
    path = tmp_path / source.name
    lines = source.read_text("utf-8").splitlines()
    path.write_text("\n".join(lines), "utf-8")
    for finding in check([str(path)]).findings:
        lines[finding.line - 1] += "  # durable: ok: it is meant to be wrong"
    path.write_text("\n".join(lines), "utf-8")
    assert check([str(path)]).findings == []
