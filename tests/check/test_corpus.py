"""Workflows in the shapes of public projects: clean ones give no finding, dirty ones exactly those
that their ``# expect:`` comments say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from durable._check.checking import check
from durable._check.rules import RULES

CORPUS = Path(__file__).parent / "corpus"
ROOT = CORPUS.parents[2]
EXPECT = re.compile(r"# expect: (.*)")

Place = tuple[str, int, str]


def expected(folder: Path) -> set[Place]:
    return {
        (path.name, number, code.strip())
        for path in folder.rglob("*.py")
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        for codes in EXPECT.findall(line)
        for code in codes.split(",")
    }


def found(*given: Path) -> set[Place]:
    report = check(map(str, given))
    assert not report.troubles
    assert report.workflows
    return {(Path(each.path).name, each.line, each.code) for each in report.findings}


DIRTY = sorted(path for path in (CORPUS / "dirty").iterdir() if path.name != "settings.py")


@pytest.mark.parametrize("path", DIRTY, ids=[path.stem for path in DIRTY])
def test_dirty_code_gives_exactly_what_it_should(path: Path) -> None:
    folder = path if path.is_dir() else path.parent
    wanted = {each for each in expected(folder) if path.is_dir() or each[0] == path.name}
    assert found(path) == wanted


def test_every_rule_is_broken_somewhere() -> None:
    assert {code for _, _, code in expected(CORPUS / "dirty")} == set(RULES)


@pytest.mark.parametrize(
    "path",
    [CORPUS / "clean", ROOT / "examples", ROOT / "durable/cli/demo", ROOT / "tests/proof/canon.py"],
    ids=lambda path: path.name,
)
def test_clean_code_gives_nothing(path: Path) -> None:
    assert check([str(path)]).findings == []
