"""``durable check`` as people meet it: its words, its exit codes, its silences."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from durable._check.checking import check
from durable.cli import cli
from durable.cli.output import told

HEAD = """
import random
import time

from durable import Context, workflow

"""
ORDER = (
    HEAD
    + '''
def stamp() -> float:
    """Reads a clock."""
    return time.time(){comment}


@workflow
async def order(ctx: Context) -> float:
    return stamp()
'''
)


CLOCK = (
    "DUR101 `time.time()`: a clock is read; it is not recorded, so a replay reads another time. "
    "Use `ctx.now()`."
)


class Told(NamedTuple):
    exit_code: int
    stdout: str
    stderr: str


Check = Callable[..., Told]


@pytest.fixture
def durable_check(capsys: pytest.CaptureFixture[str]) -> Check:
    """The command, as the console script runs it."""

    def run(*arguments: str) -> Told:
        code = told(lambda: cli.main(["check", *arguments], "durable", standalone_mode=False))
        return Told(code, *capsys.readouterr())

    return run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_finding_tells_place_reason_advice_and_the_way_there(
    here: Path, durable_check: Check
) -> None:
    write(here / "shop.py", ORDER.format(comment=""))
    said = durable_check("shop.py")
    assert said.exit_code == 1
    assert said.stdout.splitlines() == [
        f"shop.py:10:12: {CLOCK}",
        "    in stamp, called by order at shop.py:15",
        "1 finding in 1 workflow, 1 file",
    ]
    (facts,) = json.loads(durable_check("shop.py", "-o", "json").stdout)
    assert (facts["code"], facts["line"], facts["function"]) == ("DUR101", 10, "stamp")
    assert facts["chain"] == [{"function": "order", "path": "shop.py", "line": 15}]


def test_exit_codes(here: Path, durable_check: Check) -> None:
    write(here / "dirty.py", ORDER.format(comment=""))
    write(here / "clean.py", HEAD + "@workflow\nasync def clean(ctx: Context) -> None: ...\n")
    assert durable_check("dirty.py").exit_code == 1
    assert durable_check("clean.py").exit_code == 0
    assert durable_check("dirty.py", "--ignore", "DUR101").exit_code == 0
    nowhere = durable_check("nowhere.py")
    assert (nowhere.exit_code, nowhere.stdout) == (2, "")
    assert nowhere.stderr == "durable: nowhere.py does not exist.\n"


def test_warnings_count_if_they_are_to(here: Path, durable_check: Check) -> None:
    text = "    while True:\n        await ctx.sleep(1)\n"
    write(here / "shop.py", HEAD + "@workflow\nasync def endless(ctx: Context) -> None:\n" + text)
    assert "DUR602 (warning) `while True`" in durable_check("shop.py").stdout
    assert durable_check("shop.py").exit_code == 0
    assert durable_check("shop.py", "--strict").exit_code == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("nowhere", "There is no module 'nowhere' here, and no such file"),
        ("no/where", "no/where does not exist"),
        ("shop.nowhere", "There is no module 'shop.nowhere' here"),
        ("not a name", "There is no module 'not a name' here"),
        ("sys", "Module 'sys' has no Python source"),
        ("broken.py", "broken.py:2 is no Python 3.1"),
        ("zeros.py", "zeros.py"),
        ("latin.py", "latin.py"),
        ("shop", "shop: no function with @workflow in 2 files"),
        ("shop.models", "shop.models: no function with @workflow in 1 file"),
    ],
)
def test_what_cannot_be_checked_is_told_in_words(
    here: Path, given: str, words: str, durable_check: Check
) -> None:
    write(here / "shop/__init__.py", "")
    write(here / "shop/models.py", "x = 1\n")
    write(here / "broken.py", "x = 1\ndef f(:\n")
    write(here / "zeros.py", "x = 1\0\n")
    (here / "latin.py").write_bytes(b"x = '\xe4'\n")
    said = durable_check(given)
    assert words in said.stderr
    assert "Traceback" not in said.stderr
    assert not said.stdout


def test_what_is_fine_is_checked_beside_what_is_not(here: Path, durable_check: Check) -> None:
    write(here / "shop.py", ORDER.format(comment=""))
    write(here / "broken.py", "def f(:  # of durable, a workflow?\n")
    write(here / "template.py", "{% if imports %}\n")
    said = durable_check(".")
    assert said.exit_code == 2
    assert "DUR101" in said.stdout
    assert "broken.py:1 is no Python" in said.stderr
    assert "template.py" not in said.stderr, "it has no workflow, whatever it is"
    assert durable_check("shop.py", "template.py").exit_code == 2


def test_a_helper_that_is_no_python_is_told(here: Path) -> None:
    write(here / "helpers.py", "def f(:\n")
    write(here / "shop.py", HEAD + "import helpers\n\n@workflow\nasync def order(ctx: Context) -> "
                                   "None:\n    helpers.f()\n")  # fmt: skip
    assert check(["shop.py"]).troubles[0].startswith("helpers.py:1 is no Python")


def test_a_module_is_found_by_its_dotted_name_and_not_imported(here: Path) -> None:
    write(here / "shop/__init__.py", "raise RuntimeError('imported')\n")
    write(here / "shop/orders.py", "import not_installed\n" + ORDER.format(comment=""))
    write(here / "shop/clean.py", "import not_installed\n")
    for given in ("shop.orders", "shop"):
        assert [each.code for each in check([given]).findings] == ["DUR101"]


def test_imports_that_lead_nowhere_are_left_alone(here: Path) -> None:
    relative = "from . import a\nfrom ... import b\nfrom .c import d\nfrom e import *\n"
    calls = "    a.x(), b.x(), d(), f()\n"
    write(here / "shop.py", relative + ORDER.format(comment="") + calls)
    assert [each.code for each in check(["shop.py"]).findings] == ["DUR101"]


def test_environments_and_hidden_folders_are_left_alone(here: Path) -> None:
    write(here / "shop.py", ORDER.format(comment=""))
    write(here / "env/pyvenv.cfg", "")
    for folder in ("env/lib", ".hidden", "node_modules/x", "lib/site-packages/x"):
        write(here / folder / "other.py", ORDER.format(comment=""))
    assert check(["."]).files == 1


def test_a_decorator_that_is_made_of_itself_goes_in_no_circle(here: Path) -> None:
    circle = "mark = mark()\n\n@mark\ndef helper(): ...\n"
    body = ORDER.format(comment="").replace("return stamp()", "return helper()")
    write(here / "shop.py", body + circle)
    assert check(["shop.py"]).findings == []


def test_what_is_named_like_a_file_and_is_none_is_left_alone(
    here: Path, durable_check: Check
) -> None:
    """A pipe is never waited for; an editor's lock is a link that leads nowhere."""
    write(here / "shop.py", ORDER.format(comment=""))
    os.mkfifo(here / "pipe.py")
    (here / ".#shop.py").symlink_to("me@host.4711")
    assert check(["."]).files == 1
    given = durable_check("pipe.py")
    assert (given.exit_code, given.stderr) == (2, "durable: pipe.py is no file.\n")


@pytest.mark.parametrize(
    "comment",
    [
        "  # durable: ok: it is logged alone",
        "  # durable: ok - it is logged alone",
        "  # durable:ok (it is logged alone)",
        "  # noqa: DUR101",
        "  # noqa: E501, DUR101",
        "  # noqa: dur101 - a reason",
    ],
)
def test_a_comment_silences_a_line(here: Path, comment: str) -> None:
    write(here / "shop.py", ORDER.format(comment=comment))
    assert check(["shop.py"]).findings == []


@pytest.mark.parametrize("comment", ["  # noqa", "  # noqa: DUR1", "  # noqa: E501", "  # ok"])
def test_other_comments_silence_nothing(here: Path, comment: str) -> None:
    write(here / "shop.py", ORDER.format(comment=comment))
    assert len(check(["shop.py"]).findings) == 1


def test_a_silence_wants_a_reason(here: Path) -> None:
    write(here / "shop.py", ORDER.format(comment="  # durable: ok"))
    (finding,) = check(["shop.py"]).findings
    assert finding.advice.endswith("(`# durable: ok` silences it if a reason follows.)")


def test_a_comment_may_stand_above_at_the_ends_of_a_statement_and_at_a_def(here: Path) -> None:
    text = (
        HEAD
        + """
@workflow
async def order(ctx: Context) -> None:
    # durable: ok: above
    time.time()
    print(
        time.time(),
    )  # durable: ok: at the end
    print(  # noqa: DUR101
        time.time(),
    )
    for _ in range(
        time.time_ns(),
    ):  # durable: ok: where the head ends
        time.time()


def silent(
    x: int,  # noqa: DUR103
) -> float:
    return random.random() + x


@workflow
async def quiet(ctx: Context) -> None:
    silent(3)
"""
    )
    write(here / "shop.py", text)
    (finding,) = check(["shop.py"]).findings
    assert text.splitlines()[finding.line - 1] == "        time.time()"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax is of Python 3.12")
def test_newer_syntax_is_understood(here: Path) -> None:
    text = (
        HEAD
        + """
type Names = set[str]
type Numbers = set[int]


def stamp[T](value: T) -> T:
    time.time()
    return value


@workflow
async def order(ctx: Context, names: Names, numbers: Numbers) -> None:
    for number in numbers:
        await ctx.sleep(number)
    for name in names:
        await ctx.sleep(stamp(1))
"""
    )
    write(here / "shop.py", text)
    assert [each.code for each in check(["shop.py"]).findings] == ["DUR101", "DUR301"]


def test_places_are_counted_as_editors_count_them(here: Path) -> None:
    text = HEAD + '\f\n@workflow\nasync def order(ctx: Context) -> None:\n    "é\x1c", time.time()'
    write(here / "shop.py", text + "  # durable: ok: here\n    'é' and time.time()\n")
    (finding,) = check(["shop.py"]).findings
    assert (finding.line, finding.column) == (11, 13)


def test_the_rules_are_told(durable_check: Check) -> None:
    said = durable_check("--rules").stdout
    assert "DUR101 (error) a clock is read: it is not recorded" in said
    assert "    requests: get post" in said
    assert json.loads(durable_check("--rules", "-o", "json").stdout)[0]["code"] == "DUR101"


def test_what_to_give_is_said(durable_check: Check) -> None:
    said = durable_check()
    assert said.exit_code == 2
    assert "`durable check .`" in said.stderr


def test_a_process_says_the_same(here: Path) -> None:
    write(here / "shop.py", ORDER.format(comment=""))
    command = [sys.executable, "-m", "durable", "check", "shop.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert CLOCK in done.stdout
