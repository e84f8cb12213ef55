"""What docs/reliability.md names is there: files and tests."""

from __future__ import annotations

import re

from .test_architecture import ROOT, sources

TOLD = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")


def test_each_file_and_each_test_that_the_page_names_exists() -> None:
    files = re.findall(r"`((?:durable|tests)/[\w/.]+)`", TOLD)
    tests = set(re.findall(r"`(test_\w+)`", TOLD))
    known = {
        name
        for path in sources("tests")
        for name in re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8"))
    }
    assert len(files) > 10
    assert len(tests) > 10
    assert not [file for file in files if not (ROOT / file).exists()]
    assert not tests - known
