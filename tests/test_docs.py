"""The programs in ``docs/`` run, and print what they are said to."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

ROOT = Path(__file__).resolve().parent.parent


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


PROGRAMS = ["activities", "cancellation", "children", "messages", "starting", "streams",
            "transactions"]  # fmt: skip


@pytest.mark.parametrize("page", PROGRAMS)
def test_the_blocks_of_a_page_are_one_program(dsn: str, tmp_path: Path, page: str) -> None:
    program = tmp_path / "program.py"
    program.write_text("\n".join(blocks(f"{page}.md", "python")))
    done = subprocess.run(
        [sys.executable, str(program)],
        env={"DURABLE_DATABASE_URL": dsn, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == blocks(f"{page}.md", "text")[-1], done.stderr


async def test_the_question_about_what_is_under_way_is_understood(dsn: str) -> None:
    (question,) = blocks("activities.md", "sql")
    connection = await asyncpg.connect(dsn)
    try:
        assert await connection.fetch(question) == []
    finally:
        await connection.close()


def test_the_links_lead_somewhere() -> None:
    for page in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]):
        prose = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
        for link, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", prose):
            if link.startswith("http"):
                continue
            target = page.parent / link if link else page
            assert target.exists(), f"{page.name}: {link}"
            heads = re.findall(r"^#+ (.+)$", target.read_text("utf-8"), flags=re.MULTILINE)
            names = {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads}
            assert not anchor or anchor in names, f"{page.name}: {link}#{anchor}"


def test_every_page_can_be_reached_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    pages = {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")}
    assert pages <= set(re.findall(r"\]\(([^)#]+)\)", readme))
