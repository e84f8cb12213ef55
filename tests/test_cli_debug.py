"""``durable debug``: a recorded run under a debugger, as a process that is spoken to."""

from __future__ import annotations

import io
import linecache
import pdb  # noqa: T100 - it is what is tried
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

from durable.cli import cli
from durable.cli.output import told
from durable.testing import Environment, History

from . import bakery
from .test_cli_stack import line_of

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    """An open run of five events, and a closed one."""
    async with Environment() as env:
        baking = await env.start(bakery.bake, "rye", id="baking")
        await env.advance(hours=1)
        await baking.signal(bakery.order, "rolls")
        await env.advance(minutes=1)
        histories = [await History.of(env, "baking")]
        done = await env.start(bakery.bake, "oat", id="done", message=bakery.order("rolls"))
        await done.result()
        histories.append(await History.of(env, "done"))
    History.save(tmp_path / "runs.jsonl", histories)
    return tmp_path / "runs.jsonl"


class Ended(NamedTuple):
    stdout: str
    stderr: str
    code: int


def debug(*arguments: object, said: Sequence[str] = ()) -> Ended:
    """Say lines to the debugger; their end is as good as `q`."""
    id, *others = map(str, arguments)
    out, err, before = io.StringIO(), io.StringIO(), sys.stdin
    sys.stdin = io.StringIO("".join(f"{line}\n" for line in said))
    try:
        with redirect_stdout(out), redirect_stderr(err):
            call = ["debug", id, "tests.bakery", *others]
            code = told(lambda: cli.main(call, standalone_mode=False))
    finally:
        sys.stdin = before
    return Ended(out.getvalue(), err.getvalue(), code)


def debug_source(
    folder: Path, source: str, *arguments: object, said: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """The same with another source of the module, in a process of its own."""
    (folder / "baking.py").write_text(source)
    id, *others = map(str, arguments)
    return subprocess.run(
        [sys.executable, "-m", "durable", "debug", id, "baking", *others],
        input="".join(f"{line}\n" for line in said),
        capture_output=True,
        text=True,
        cwd=folder,
        env={"PYTHONPATH": str(ROOT)},
        timeout=60,
        check=False,
    )


def test_it_stops_at_the_first_line_and_steps_over_awaits(file: Path) -> None:
    ended = debug("baking", "--file", file, said=["n", "p dough", "w", "s", "n", "q"])
    shown = ended.stdout
    assert shown.index("dough = await ctx.activity") < shown.index("done = asyncio.Event()")
    assert "'dough of rye'" in shown
    assert "replayer.py" not in shown, "whoever looks at the stack sees his own code"
    assert "--Return--" not in shown
    assert ended.code == 0


def test_it_goes_to_a_position_and_on_from_there(file: Path) -> None:
    said = ["tasks", "task oven", "p degrees", "n", "n", "p degrees", "c", "c"]
    shown = debug("baking", "--file", file, "--to", 1, said=said).stdout
    assert "After position 1. main waits for asyncio's TaskGroup.__aexit__" in shown
    assert f"counter waits for a signal 'bakery/order' (op 3), at {bakery.__file__}" in shown
    assert shown.index("[0]") < shown.index("[0, 100]")
    assert "After all that is recorded." in shown
    assert "fits its 5 events: waits for" in shown.splitlines()[-1]


def test_it_stops_at_breaks_and_goes_up_to_who_awaits(file: Path) -> None:
    line = line_of("ctx.activity(knead, customer)")
    said = ["p customer", "p dough", "q"]
    ended = debug("baking", "--file", file, "--break", f"bakery.py:{line}", said=said)
    assert f"bakery.py({line})serve()" in ended.stdout
    assert "'rolls'" in ended.stdout
    assert ended.code == 0
    shown = debug("done", "--file", file, "--break", f":{line}", said=["c"]).stdout
    assert "completed with ['0', '100', '200']" in shown


def test_breakpoints_in_the_code_work(file: Path, tmp_path: Path) -> None:
    source = Path(bakery.__file__).read_text().replace("done.set()", "breakpoint()\n    done.set()")
    said = ["c", "p customer", "c"]
    ended = debug_source(tmp_path, source, "done", "--file", file, said=said)
    assert "'rolls'" in ended.stdout, ended.stderr
    assert "completed with" in ended.stdout


def test_without_a_debugger_of_its_own(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONBREAKPOINT", "0")
    ended = debug("done", "--file", file)
    assert "(Pdb)" not in ended.stdout
    assert "completed with" in ended.stdout


class Mine(pdb.Pdb):
    def __init__(self) -> None:
        super().__init__()
        self.prompt = "(Mine) "


def test_another_debugger(file: Path) -> None:
    shown = debug("baking", "--file", file, "--pdbcls", f"{__name__}:Mine", said=["q"]).stdout
    assert "(Mine)" in shown


def test_locals_are_printed_wherever_the_code_waits(file: Path) -> None:
    shown = debug("baking", "--file", file, "--locals", "--to", 2).stdout
    assert "   1  activity  bakery/knead('rye')  -> 'dough of rye'" in shown
    assert "in heat: await asyncio.sleep(3600)\n" in shown
    assert "degrees = [0, 100]\n" in shown
    assert "rolls" not in shown, "that came at position 3"


def test_code_that_does_not_fit_stands_where_it_asks(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bakery, "knead", bakery.cut)
    ended = debug("baking", "--file", file, "--to", 4, said=["p flour", "q"])
    assert "main waits for activity 'bakery/cut'" in ended.stdout
    assert "dough = await ctx.activity(knead, flour)" in ended.stdout
    assert "'rye'" in ended.stdout
    assert "At position 1 the journal holds" in ended.stderr
    assert "\nLikely cause: " in ended.stderr
    assert ended.code == 1


@pytest.mark.parametrize(
    ("arguments", "why", "code"),
    [
        (("baking", "--to", "99"), "has no position 99: its journal ends at 4", 1),
        (("baking", "--break", "bakery.py:999"), "bakery.py:999 does not exist", 1),
        (("baking", "--break", "bakery"), "it is a file and a line", 1),
        (("baking", "--pdbcls", "no.such:Thing"), "names no debugger", 1),
        (("nobody",), "nobody", 4),
    ],
)
def test_what_cannot_be_is_told(
    file: Path, arguments: tuple[str, ...], why: str, code: int
) -> None:
    ended = debug(*arguments, "--file", file)
    assert why in ended.stderr
    assert ended.code == code


def test_no_source_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linecache, "getlines", lambda file: [])
    ended = debug("baking", "--file", file)
    assert "The source of workflow 'bakery/bake' is not here" in ended.stderr
