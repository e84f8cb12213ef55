"""The table of rules is what the documents say, and knows what the runtime warns of and refuses."""

from __future__ import annotations

import re
from pathlib import Path

from durable._authoring import guards
from durable._check.rules import LOOP, NAMED, RULES, named, named_by_code
from durable._core.refusals import OUTWARD

from ..test_documented import rows

ROOT = Path(__file__).resolve().parents[2]


def test_the_documents_show_the_rules() -> None:
    listed = {row[0].strip("`"): tuple(row[1:]) for row in rows("check.md", 5) if "DUR" in row[0]}
    assert listed == {code: tuple(rule[1:]) for code, rule in RULES.items()}


def test_the_documents_show_the_names() -> None:
    listed = {row[0].strip("`"): row[1].replace("\\*", "*")
              for row in rows("check.md", 2) if "DUR" in row[0]}  # fmt: skip
    assert listed == named_by_code()


def test_what_warns_at_run_time_is_found_by_reading() -> None:
    replaced = {f"{module.__name__}.{name}" for module, _, names in guards._REPLACED
                for name in names.split()}  # fmt: skip
    read = {f"datetime.{name}" if name.startswith("date") else name
            for name in guards._READ_FOR.values()}  # fmt: skip
    for name in replaced | read:
        assert named(name) is not None, name


def test_what_the_loop_refuses_is_found_by_reading() -> None:
    for name in OUTWARD:
        assert named(f"{LOOP}.{name}") is not None, name


def test_names_break_rules_that_there_are() -> None:
    assert {each.code for each in NAMED.values()} - {""} <= set(RULES)


def test_rules_are_told_in_order_and_in_one_voice() -> None:
    assert list(RULES) == sorted(RULES)
    for code, rule in RULES.items():
        assert rule.code == code
        assert re.fullmatch(r"DUR\d{3}", code)
        assert not rule.why.endswith("."), code
        assert not rule.instead.endswith("."), code
        assert rule.instead[0].isupper(), code


def test_the_longest_entry_of_the_table_counts() -> None:
    assert named("numpy.random.rand") is not None
    assert named("numpy.random.Generator") is None
    assert named("numpy.random.default_rng.random") is None
    assert named("httpx.AsyncClient.get") is not None
    assert named("httpx.URL") is None
    assert named("openai.OpenAI.chat.completions.create") is not None


def test_the_hook_runs_the_command() -> None:
    text = (ROOT / ".pre-commit-hooks.yaml").read_text("utf-8")
    assert "entry: durable check\n" in text
    assert "- id: durable-check" in text
    assert "id: durable-check" in (ROOT / "docs/check.md").read_text("utf-8")


def test_the_session_of_the_documents_is_in_these_words() -> None:
    text = (ROOT / "docs/check.md").read_text("utf-8")
    told = re.findall(r"^\S+:\d+:\d+: (DUR\d+) `[^`]+`: (.*)$", text, flags=re.MULTILINE)
    assert len(told) > 1
    for code, words in told:
        rule = RULES[code]
        assert words == f"{rule.what}; {rule.why}. {rule.instead}."
