"""`durable replay`, `export` and `import`: recorded runs, and the code at hand."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from durable import Context, Durable, Signal, activity, workflow
from durable import _judging as judging
from durable import _overdue as overdue
from durable.cli import cli
from durable.cli.output import told
from durable.testing import History, Recording, replay

HERE = __name__
CHANGED = "DURABLE_TESTS_CODE_HAS_CHANGED"  # other processes look at it, too

go = Signal[int]("replays/go")


@activity(name="replays/price")
async def price(what: str) -> int:
    return len(what)


@workflow(name="replays/order")
async def order(ctx: Context, what: str) -> int:
    if os.environ.get(CHANGED) == "fatal":
        os._exit(1)
    if os.environ.get(CHANGED) == "talks":
        print("{this is no verdict")
    elif os.environ.get(CHANGED) == "goes round":
        while goes_round():
            pass
    elif os.environ.get(CHANGED):
        await ctx.sleep(1)
    cents = await ctx.activity(price, what)
    return cents + await ctx.receive(go)


def goes_round() -> bool:
    return False


class Told(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def command(capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., Told]:
    """Runs a command in this process."""

    def run(*arguments: str) -> Told:
        code = told(lambda: cli.main(args=list(arguments), standalone_mode=False))
        out, err = capfdbinary.readouterr()
        return Told(code, out.decode(), err.decode())

    return run


@pytest.fixture
def orders(dsn: str) -> str:
    """A database with three orders that wait, and one that is done."""

    async def place() -> None:
        async with Durable(dsn, serve=[order]) as app:
            handles = [await app.start(order, "socks", id=f"order-{n}") for n in range(4)]
            await handles[3].signal(go, 1)
            await handles[3].result()
            for each in handles[:3]:
                while not (await each.describe()).waits_for:
                    await asyncio.sleep(0.005)

    asyncio.run(place())
    return dsn


def test_open_runs_fit_the_code_that_began_them_and_nothing_is_written(
    orders: str, command: Callable[..., Told]
) -> None:
    def ids(*filters: str) -> list[str]:
        given = ("replay", HERE, "--database", orders, "-o", "json", "-v", *filters)
        return [each["id"] for each in json.loads(command(*given).out)["fits"]]

    before = asyncio.run(_all_rows(orders))
    found = command("replay", HERE, "--database", orders)
    assert found.code == 0, found
    assert found.out.startswith("3 runs replayed in ")
    assert found.out.endswith(": all fit.\n")
    told = command("replay", HERE, "--database", orders, "--verbose", "--id", "order-1").out
    assert told.startswith("fits  replays/order  order-1  waits for a signal 'replays/go' (op 2)")
    assert ids("--limit", "2") == ["order-1", "order-2"]
    assert ids("--workflow", "nobody's") == []
    assert ids("--status", "open", "--status", "completed") == [f"order-{n}" for n in range(4)]
    assert command("replay", HERE, "--database", orders, "--id", "order-9").code == 4
    assert asyncio.run(_all_rows(orders)) == before


def test_runs_that_would_diverge_are_named_with_line_and_reason(
    orders: str, command: Callable[..., Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CHANGED, "1")
    found = command("replay", HERE, "--database", orders)
    assert found.code == 1
    first, *others = found.out.splitlines()
    assert first.startswith("replays/order at position 1, test_cli_histories.py:")
    assert first.endswith(": would diverge (3 runs)")
    assert others[:3] == ["  order-0", "  order-1", "  order-2"]
    assert "the journal holds the result of activity 'replays/price' (op 1)" in found.out
    assert others[-1].endswith("0 fit, 3 would diverge.")
    done = command("replay", HERE, "--database", orders, "--status", "completed", "-o", "json")
    assert [each["id"] for each in json.loads(done.out)["misfits"]] == ["order-3"]

    monkeypatch.setattr(judging, "STORED", 1)  # so few would be replayed in this process
    spread = command("replay", HERE, "--database", orders, "--jobs", "2", "-o", "json")
    facts = json.loads(spread.out)
    assert (facts["replayed"], facts["fit"]) == (3, 0)
    assert [each["id"] for each in facts["misfits"]] == ["order-0", "order-1", "order-2"]
    assert {each["kind"] for each in facts["misfits"]} == {"diverges"}


def test_unknown_workflows_fail_unless_they_are_left_out(
    orders: str, command: Callable[..., Told]
) -> None:
    asyncio.run(_forget_workflow_of(orders, "order-0"))
    found = command("replay", HERE, "--database", orders)
    assert found.code == 1
    assert "replays/gone: not defined in these modules (1 run)" in found.out
    assert command("replay", HERE, "--database", orders, "--skip-unknown").code == 0


async def _forget_workflow_of(dsn: str, id: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(dsn)
    await connection.execute("update durable.run set workflow = 'replays/gone' where id = $1", id)
    await connection.close()


def test_exported_histories_are_replayed_without_a_database(
    orders: str, command: Callable[..., Told], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = command("export", "--status", "open", "--status", "completed", "--database", orders)
    assert (exported.code, exported.err) == (0, "4 histories\n")
    path = tmp_path / "histories.jsonl"
    path.write_text(exported.out, encoding="utf-8")
    assert {replay(each).status for each in History.load(path)} == {"waits", "completed"}
    elsewhere = ("replay", HERE, "--file", str(path))
    assert command(*elsewhere).code == 0
    monkeypatch.setenv(CHANGED, "1")
    assert "4 would diverge" in command(*elsewhere).out
    assert "1 would diverge" in command(*elsewhere, "--status", "open", "--limit", "1").out

    there = ("--database", orders, "--schema", "copies")
    assert command("migrate", *there).code == 0
    imported = command("import", str(path), *there)
    assert (imported.code, imported.out.splitlines()[0]) == (0, "order-0  paused")
    assert imported.out.splitlines()[3] == "order-3  completed"
    again = command("import", str(path), *there)
    assert again.code == 1
    assert "order-0: The id 'order-0' names a run that is paused" in again.out
    assert command("export", "order-3", "order-0", *there).out.count('"value": ["socks"]') == 4

    path.write_text(exported.out[:-200], encoding="utf-8")
    cut = command(*elsewhere)
    assert cut.code == 1
    assert "histories.jsonl, line" in cut.err
    assert command("import", str(path), *there).code == 1


def test_code_that_ends_the_process_is_told(
    command: Callable[..., Told], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "LOADED", 1)
    monkeypatch.setenv(CHANGED, "fatal")
    recorded = Recording(order, "socks").activity(price, "socks").returns(5)
    History.save(tmp_path / "three.jsonl", [recorded.history] * 3)
    found = command("replay", HERE, "--file", str(tmp_path / "three.jsonl"), "--jobs", "2")
    assert found.code == 1
    assert "A process that replayed runs has died" in found.err


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_what_workflows_print_is_no_part_of_the_answer(
    command: Callable[..., Told], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: str
) -> None:
    monkeypatch.setattr(judging, "LOADED", 1)
    monkeypatch.setenv(CHANGED, "talks")
    recorded = Recording(order, "socks").activity(price, "socks").returns(5)
    History.save(tmp_path / "four.jsonl", [recorded.history] * 4)
    path = str(tmp_path / "four.jsonl")
    found = command("replay", HERE, "--file", path, "--jobs", jobs, "-o", "json")
    absent = command("replay", HERE, "--file", path, "--jobs", jobs, "--id", "by-han")
    assert (absent.code, absent.out) == (4, "")
    assert absent.err == f"durable: There is no run with the id 'by-han' in {path}.\n"
    assert json.loads(found.out)["fit"] == 4
    assert found.err.count("{this is no verdict") == 4


def test_a_replay_that_comes_to_no_end_is_named_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(overdue, "LOOKS_EVERY", 0.01)
    monkeypatch.setattr(overdue, "PATIENCE", 0.02)
    monkeypatch.setattr(overdue, "tell", said.append)
    monkeypatch.setattr(overdue, "_watch", None)
    monkeypatch.setattr(sys.modules[__name__], "goes_round", lambda: not said)
    monkeypatch.setenv(CHANGED, "goes round")
    recorded = Recording(order, "socks").activity(price, "socks").returns(5)
    assert judging.judge(recorded.history).kind == "fits"
    assert re.search(r"replays/order .* being replayed for 0.02 s: it stands in .*\.py:\d", said[0])


def test_a_module_that_ends_the_process_does_not_answer_for_it(
    command: Callable[..., Told], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "replays_a_script.py").write_text("print('noise')\nraise SystemExit(0)")
    monkeypatch.syspath_prepend(tmp_path)
    found = command("replay", "replays_a_script", "--database", "postgresql://nowhere")
    assert (found.code, found.out) == (1, "")
    assert "it ends the process (exit code 0)" in found.err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("replay",), "Missing argument 'MODULES...'"),
        (("replay", "no.such.module"), "cannot import 'no.such.module'"),
        (("replay", HERE, "--status", "lost"), "'lost' is not one of"),
        (("export",), "Which runs?"),
        (("export", "a", "--status", "open"), "not both"),
    ],
)
def test_wrong_usage_is_told(
    command: Callable[..., Told], arguments: tuple[str, ...], why: str
) -> None:
    found = command(*arguments)
    assert found.code == 2
    assert why in found.err


async def _all_rows(dsn: str) -> list[Any]:
    import asyncpg

    connection = await asyncpg.connect(dsn)
    try:
        found = await connection.fetch("select run.* from durable.run run order by run.run")
        journal = await connection.fetch("select count(*) from durable.journal")
        return [tuple(row) for row in found + journal]
    finally:
        await connection.close()
