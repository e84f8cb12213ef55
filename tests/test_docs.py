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


def test_the_sessions_of_a_debugger_go_as_they_are_shown(dsn: str, tmp_path: Path) -> None:
    """What is typed is typed, and what is shown comes; times and folders are not the same."""
    (module,) = blocks("debugging.md", "python")
    (tmp_path / "shop.py").write_text(module)
    env = {"PYTHONPATH": f"{ROOT}:{tmp_path}", "DURABLE_DATABASE_URL": dsn}
    begin = (
        "import asyncio, durable, shop\n"
        "async def main():\n"
        "    async with durable.Durable() as app:\n"
        "        handle = await app.start(shop.order, 'visa', id='order-42')\n"
        "        while (await handle.describe()).status != 'waiting':\n"
        "            await asyncio.sleep(0.01)\n"
        "asyncio.run(main())\n"
    )
    subprocess.run([sys.executable, "-c", begin], env=env, check=True, timeout=60)
    for block in blocks("debugging.md", "console"):
        command, *lines = block.splitlines()
        typed = [line.removeprefix("(Pdb) ") for line in lines if line.startswith("(Pdb) ")]
        done = subprocess.run(
            [sys.executable, "-m", *command.removeprefix("$ ").split()],
            input="".join(f"{each}\n" for each in typed),
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        shown = done.stdout.replace("(Pdb) ", "").replace(str(tmp_path), "/srv")
        expected = [each for each in lines if not each.startswith("(Pdb) ")]
        for line in expected:
            begins = line.partition("…")[0]
            assert begins in shown, (line, shown, done.stderr)
        assert len(shown.splitlines()) == len(expected), shown


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
        prose = re.sub(r"`[^`\n]*`", "", prose)
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
