"""What the documents say in numbers and names is what the code says."""

from __future__ import annotations

import importlib
import inspect
import json
import logging
import re
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from durable import Client, Durable, WorkerOptions
from durable._measured import COUNTED, OBSERVED

DOCS = Path(__file__).resolve().parent.parent / "docs"


def rows(page: str, columns: int) -> list[list[str]]:
    """The cells of all tables of a page that have so many columns."""
    found = []
    for line in (DOCS / page).read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("| ") and len(cells) == columns:
            found.append(cells)
    return found


def constant(path: str) -> Any:
    room, _, name = path.rpartition(".")
    if room == "WorkerOptions":
        return getattr(WorkerOptions(), name)
    value = getattr(importlib.import_module(f"durable.{room}"), name)
    return value.total_seconds() if isinstance(value, timedelta) else value


LIMITS = [
    (limit, where.strip("`"))
    for _, limit, where, _ in (row for row in rows("limits.md", 4) if "." in row[2])
]


@pytest.mark.parametrize(("limit", "where"), LIMITS, ids=[where for _, where in LIMITS])
def test_limits_are_those_of_the_code(limit: str, where: str) -> None:
    number = re.match(r"[\d,]+", limit)
    assert number is not None, limit
    assert int(number[0].replace(",", "")) == constant(where)


def test_there_are_limits_to_compare() -> None:
    assert len(LIMITS) > 15


def test_the_configuration_lists_every_option_with_its_default() -> None:
    table = {row[0].strip("`"): row[2].strip("`") for row in rows("configuration.md", 5)}
    table = {name: default for name, default in table.items() if name not in ("argument", "---")}
    arguments = {
        name
        for cls in (Client, Durable)
        for name in inspect.signature(cls.__init__).parameters
        if name not in ("self", "options")
    }
    options = {each.name: each.default for each in fields(WorkerOptions)}
    assert set(table) == arguments | set(options)
    for name in options.keys() - {"queues", "build", "metrics"}:
        assert float(table[name]) == options[name], name


def test_the_environment_is_listed_whole() -> None:
    listed = set(re.findall(r"DURABLE_[A-Z_]+", (DOCS / "configuration.md").read_text()))
    house = DOCS.parent / "durable"
    read = {
        name
        for path in house.rglob("*.py")
        for name in re.findall(r"environ\W+(?:get\W+)?(DURABLE_[A-Z_]+)", path.read_text())
    }
    assert read == listed


def test_metrics_are_listed_with_the_words_of_the_code() -> None:
    listed = {name.strip("`"): what for name, what in rows("operations.md", 2)
              if name.startswith("`durable_")}  # fmt: skip
    assert listed == {**COUNTED, **OBSERVED}


def test_the_json_formatter_of_the_documents_works() -> None:
    (block,) = re.findall(r"```python\n(import json.*?)```",
                          (DOCS / "operations.md").read_text(), re.DOTALL)  # fmt: skip
    space: dict[str, Any] = {}
    exec(block, space)
    facts = {"run": 7, "id": "order-42", "attempt": 1, "next_in": None}
    record = logging.getLogger("durable.activity").makeRecord(
        "durable.activity", logging.WARNING, "x", 1, "it %s", ("failed",), None, extra=facts
    )
    line = json.loads(space["Json"]().format(record))
    assert (line["message"], line["run"], line["id"], line["attempt"]) == (
        "it failed", 7, "order-42", 1,
    )  # fmt: skip
    assert "next_in" not in line


def test_facts_clash_with_nothing_that_a_record_has() -> None:
    has = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
    text = (DOCS / "operations.md").read_text()
    names = re.search(r"FACTS = \((.*?)\)", text)
    assert names is not None
    assert not has & set(re.findall(r'"(\w+)"', names[1]))
