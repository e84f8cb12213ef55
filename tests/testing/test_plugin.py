"""The fixture, under each plugin that may run a coroutine, in a pytest of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest
from datetime import UTC, datetime

from durable import Context, activity, workflow
from durable.testing import Environment

mark = {mark}


@activity
async def hello(name: str) -> str:
    return name


@workflow
async def greets(ctx: Context, name: str) -> str:
    await ctx.sleep(days=30)
    return await ctx.activity(hello, name)


@pytest.fixture
async def started(durable):
    async with durable:
        yield await durable.start(greets, "fixture")
        assert len(durable.calls(hello)) == 1


@mark
async def test_fixture(durable: Environment) -> None:
    durable.stand_in(hello, returns="played")
    assert await durable.run(greets, "ada") == "played"


@mark
async def test_each_test_has_its_own(durable: Environment) -> None:
    assert [run async for run in durable.list()] == []
    assert await durable.run(greets, "ada") == "ada"


@mark
@pytest.mark.durable(at=datetime(2040, 1, 1, tzinfo=UTC), time="manual")
async def test_options_by_marker(durable: Environment) -> None:
    assert durable.now().year == 2040


@mark
async def test_a_fixture_that_needs_it_opens_it(started, durable: Environment) -> None:
    assert await started.result() == "fixture"


@mark
class TestInAClass:
    async def test_method(self, durable: Environment) -> None:
        assert await durable.run(greets, "ada") == "ada"


def test_without_it() -> None:
    pass
"""

NO_MARK = "lambda each: each"
ROOT = Path(__file__).resolve().parents[2]
STRICT = "[pytest]\nasyncio_mode = strict\nasyncio_default_fixture_loop_scope = function\n"
AUTO = "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
ANYIO = "import pytest\n\n@pytest.fixture\ndef anyio_backend() -> str:\n    return 'asyncio'\n"


def run(folder: Path, *arguments: str) -> str:
    """What pytest says; quiet, and with the plugins that are installed."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("DURABLE_DATABASE_URL", None)
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    return ended.stdout + ended.stderr


@pytest.mark.parametrize("mode", ["strict", "auto", "anyio"])
def test_it_works_whoever_runs_the_coroutine(tmp_path: Path, mode: str) -> None:
    marks = {"strict": "pytest.mark.asyncio", "anyio": "pytest.mark.anyio"}
    tests = TESTS.replace("{mark}", marks.get(mode, NO_MARK))
    if mode == "strict":
        tests = tests.replace("@pytest.fixture", "@pytest_asyncio.fixture")
        tests = tests.replace("import pytest\n", "import pytest, pytest_asyncio\n", 1)
    (tmp_path / "test_sample.py").write_text(tests)
    (tmp_path / "pytest.ini").write_text({"strict": STRICT, "auto": AUTO}.get(mode, "[pytest]\n"))
    (tmp_path / "conftest.py").write_text(ANYIO if mode == "anyio" else "")
    plugins = ["-p", "no:asyncio"] if mode == "anyio" else ["-p", "no:anyio"]

    said = run(tmp_path, *plugins, "--strict-markers", "-W", "error")

    assert "6 passed" in said, said


def test_on_trio_it_is_skipped_in_words(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "conftest.py").write_text(ANYIO.replace("'asyncio'", "'trio'"))
    (tmp_path / "test_sample.py").write_text(
        "import pytest\n\n@pytest.mark.anyio\nasync def test_it(durable):\n    assert False\n"
    )
    said = run(tmp_path, "-p", "no:asyncio", "-rs")
    assert "Durable runs on asyncio, and this test on trio" in said, said


def test_a_url_moves_all_tests_to_postgres(tmp_path: Path, server_url: str) -> None:
    (tmp_path / "pytest.ini").write_text(AUTO)
    (tmp_path / "test_sample.py").write_text(TESTS.replace("{mark}", NO_MARK))
    (tmp_path / "conftest.py").write_text(
        "import pytest\n\n@pytest.fixture(scope='session')\ndef durable_database_url() -> str:\n"
        f"    return {server_url!r}\n"
    )
    assert "6 passed" in run(tmp_path, "-p", "no:anyio")


def test_the_tests_in_the_docs_pass(tmp_path: Path) -> None:
    """They are one file: what the first block defines, the others use."""
    docs = ROOT / "docs" / "testing.md"
    first, *others = re.findall(r"```python\n(.*?)```", docs.read_text(), flags=re.DOTALL)
    tests = [each for each in others if each.startswith(("async def test_", "def test_"))]
    (tmp_path / "pytest.ini").write_text(AUTO)
    (tmp_path / "test_block.py").write_text("\n\n".join([first, *tests]))
    said = run(tmp_path, "-p", "no:anyio")
    assert f"{1 + len(tests)} passed" in said, said


def test_who_doubts_the_marks_replays_always(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text(AUTO)
    (tmp_path / "test_sample.py").write_text(
        "import pytest\nfrom durable import Context, workflow\nran = []\n\n"
        "@workflow\nasync def counts(ctx: Context) -> int:\n"
        "    ran.append(1)\n    await ctx.sleep(1)\n    return len(ran)\n\n"
        "@pytest.mark.durable(replay='never')\nasync def test_it(durable):\n"
        "    assert await durable.run(counts) == 1\n"
    )
    assert "1 failed" in run(tmp_path, "-p", "no:anyio", "--durable-always-replay")


def test_the_example_passes() -> None:
    said = run(ROOT, "examples/test_subscription.py")
    assert "4 passed" in said, said


def test_a_failing_test_fails_as_ever(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text(AUTO)
    (tmp_path / "test_sample.py").write_text(
        "async def test_it(durable):\n    assert durable.now() is None, 'of the test itself'\n"
    )
    said = run(tmp_path, "-p", "no:anyio")
    assert "of the test itself" in said
    assert "1 failed" in said


def test_a_pytest_that_does_not_use_it_imports_nothing_of_it(tmp_path: Path) -> None:
    (tmp_path / "test_sample.py").write_text(
        "import sys\n\ndef test_it():\n"
        "    assert 'pytest_durable' in sys.modules\n"
        "    assert not {'durable', 'asyncpg', 'msgspec'} & set(sys.modules)\n"
    )
    assert "1 passed" in run(tmp_path, "-p", "no:asyncio", "-p", "no:anyio", "-p", "no:timeout")
