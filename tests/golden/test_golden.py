"""Journals that this release and those before it have recorded are replayed as they were."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

import durable
from durable._store.postgres import statements
from durable.errors import InternalError
from durable.testing import History, replay
from tests.golden import flows, recording
from tests.proof import canon

assert flows and canon and recording  # imported for the workflows that they define

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("*/*.jsonl"))
CURRENT = HERE / durable.__version__

# In the schema, and written by no version yet.
UNUSED = {"task"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_what_was_recorded_is_replayed(path: Path) -> None:
    for history in History.load(path):
        found = replay(history)  # and has ended as it did
        assert found.position == len(history.events), found


def test_this_version_has_golden_journals_of_each_group() -> None:
    recorded = {path.stem for path in CURRENT.glob("*.jsonl")}
    assert recorded == set(recording.GROUPS), "python -m tests.golden record"


def test_each_kind_of_event_and_each_end_is_among_them() -> None:
    check = re.search(r"event_kind as text check \(value in \((.*?)\)\)",
                      statements.tables("durable"), re.DOTALL)  # fmt: skip
    assert check
    kinds = set(re.findall(r"'(\w+)'", check[1])) - UNUSED
    histories = [each for path in CURRENT.glob("*.jsonl") for each in History.load(path)]
    assert {row.kind for each in histories for row in each.events} == kinds
    assert {each.status for each in histories} >= {
        "waiting", "pending", "paused", "completed", "failed", "cancelled", "terminated",
        "continued",
    }  # fmt: skip
    assert any(row.failure for each in histories for row in each.events)
    assert any(row.effects for each in histories for row in each.events)
    patches = {id for each in histories for row in each.events for id in row.patches or ()}
    assert patches == {"golden/second", "~golden/first"}
    assert any(each.origins for each in histories), "a fork"
    assert any(row.name == "redo" for each in histories for row in each.events)


def test_a_golden_journal_would_show_a_difference() -> None:
    """Another value in the middle of one is found."""
    path = CURRENT / "flows.jsonl"
    history = next(each for each in History.load(path) if each.id == "chance")
    lines = list(history.lines())
    assert lines[2].count(history.events[1].name or "") == 1
    changed = [lines[0], lines[1], lines[2].replace("golden/name", "golden/echo"), *lines[3:]]
    with pytest.raises(durable.DurableError, match="position 1"):
        replay(_loaded(changed))


def _loaded(lines: list[str]) -> History:
    from durable._history_lines import parsed

    facts, *_ = parsed((line.encode() for line in lines), "changed")
    return History(**facts)


VALUES: list[object] = [
    None, True, 0, -1, 2**70, "", "x", "AQ==", [], {}, {"base64": "AQ=="}, {"base64": 5}, 1.5,
    "2026-01-01T00:00:00Z", "voided", "child", "timer", "update", "started",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_edited_is_refused_or_told_in_words(seed: int) -> None:
    chance = random.Random(seed)
    histories = list(History.load(CURRENT / "flows.jsonl"))
    said = set()
    for _ in range(500):
        lines = [json.loads(line) for line in chance.choice(histories).lines()]
        for _ in range(chance.randint(1, 3)):
            line = chance.choice(lines)
            name = chance.choice([*line, "position"])
            match chance.choice(["set", "set", "set", "take out", "repeat", "cut"]):
                case "set":
                    line[name] = chance.choice(VALUES)
                case "take out":
                    line.pop(name, None)
                case "repeat":
                    lines.insert(chance.randrange(len(lines)), line)
                case "cut" if len(lines) > 1:
                    lines.remove(line)
        try:
            replay(_loaded([json.dumps(each) for each in lines]))
        except durable.DurableError as error:
            assert not isinstance(error, InternalError), error
            said.add(type(error).__name__)
    assert "HistoryUnreadable" in said
