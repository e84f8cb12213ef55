"""``durable stack``: where a run stands, read off a replay by whoever asks."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from durable import Durable
from durable._replaying import Copy
from durable._stacks import stacks
from durable.cli import cli
from durable.errors import Divergence, DurableError
from durable.testing import Environment, History

from . import bakery

MODULE = "tests.bakery"


def line_of(text: str) -> int:
    lines = Path(bakery.__file__).read_text().splitlines()
    return next(n for n, line in enumerate(lines, 1) if text in line)


def durable(*arguments: str) -> Result:
    return CliRunner().invoke(cli, [*arguments], catch_exceptions=True)


@pytest.fixture
async def recorded(tmp_path: Path) -> Path:
    """A run that waits, one that is closed and one that has not begun, in a file."""
    async with Environment() as env:
        baking = await env.start(bakery.bake, "rye", id="baking")
        await env.advance(hours=1)
        done = await env.start(bakery.bake, "oat", id="done")
        await done.cancel()
        await env.advance()
        waiting = await env.start(bakery.bake, "oat", id="new", delay=60)
        histories = [await History.of(env, each.id) for each in (baking, done, waiting)]
    History.save(tmp_path / "runs.jsonl", histories)
    return tmp_path / "runs.jsonl"


def test_each_task_is_shown_with_its_lines(recorded: Path) -> None:
    said = durable("stack", "baking", MODULE, "--file", str(recorded)).output
    file = bakery.__file__
    assert said.splitlines() == [
        "bakery/bake 'baking' (waiting, 3 events)",
        "main waits for asyncio's TaskGroup.__aexit__",
        f"  {file}:{line_of('async with asyncio.TaskGroup')}, in bake",
        "    async with asyncio.TaskGroup() as group:",
        f"oven waits for {said.split('oven waits for ')[1].splitlines()[0]}",
        f"  {file}:{line_of('asyncio.sleep(3600)')}, in heat",
        "    await asyncio.sleep(3600)",
        "counter waits for a signal 'bakery/order' (op 3)",
        f"  {file}:{line_of('customer = await')}, in serve",
        "    customer = await ctx.receive(order)",
    ]
    assert "oven waits for a timer (op 4) due at " in said


def test_locals_and_the_coroutines_between_are_shown_if_asked_for(recorded: Path) -> None:
    said = durable("stack", "baking", MODULE, "--file", str(recorded), "--locals", "--all").output
    assert "      degrees = [0, 100]" in said
    assert "      dough = 'dough of rye'" in said
    assert "in run_workflow" in said


def test_as_json(recorded: Path) -> None:
    said = durable("stack", "baking", MODULE, "--file", str(recorded), "-o", "json", "--locals")
    told = json.loads(said.output)
    assert (told["id"], told["status"], told["events"]) == ("baking", "waiting", 3)
    counter = told["tasks"][2]
    assert (counter["task"], counter["op"]) == ("counter", 3)
    (frame,) = counter["frames"]
    assert (frame["function"], frame["locals"]["dough"]) == ("serve", "'dough of rye'")


async def test_what_no_task_waits_for_is_shown_as_well(tmp_path: Path) -> None:
    async with Environment() as env:
        handle = await env.start(bakery.knead_all, id="all")
        await handle.signal(bakery.order, "rolls")
        await env.advance(seconds=1)
        History.save(tmp_path / "all.jsonl", [await History.of(env, "all")])
    said = durable("stack", "all", MODULE, "--file", str(tmp_path / "all.jsonl")).output
    assert "main waits for 2 of the 2 in a gather\n" in said
    *_, last = said.splitlines()
    assert last.startswith("also open: a timer (op 6) due at ")
    assert last.endswith(f"bakery.py:{line_of('asyncio.gather(waits')}")


async def test_generators_and_groups_are_looked_into() -> None:
    async with Environment() as env:
        env.stand_in(bakery.knead, hangs=True)
        handle = await env.start(bakery.knead_all)
        await env.advance()
        seen = [stacks_of(await History.of(env, handle.id))]
        env.stand_in(bakery.knead, returns="dough")
        env.stand_in(bakery.cut, hangs=True)
        await env.crash()
        seen.append(stacks_of(await History.of(env, handle.id)))
        await handle.signal(bakery.order, "rolls")
        await env.advance()
        seen.append(stacks_of(await History.of(env, handle.id)))
        env.stand_in(bakery.cut, returns="half")
        await env.crash()
        seen.append(stacks_of(await History.of(env, handle.id)))
    others: dict[str, tuple[str, list[str]]] = {
        "clock": ("a timer", []),
        "queue": ("asyncio's Queue.get", []),
    }
    assert seen == [
        {"main": ("activity 'bakery/knead' (op 1)", ["knead_all", "doughs"])},
        {"main": ("a signal 'bakery/order' (op 3)", ["knead_all", "opened"]), **others},
        {"main": ("activity 'bakery/cut' (op 5)", ["knead_all"]), **others},
        {"main": ("2 of the 2 in a gather", ["knead_all"]), **others},
    ]


def stacks_of(history: History) -> dict[str, tuple[str, list[str]]]:
    """Of each task what it waits for, and the functions of ours that it is in."""
    with Copy(history) as copy:
        for row in history.fed:
            copy.feed(row)
        return {
            each.task: (each.waits_for.partition(" (op 4)")[0], [own.function for own in each.own])
            for each in stacks(copy.instance.replayer)
        }


@pytest.mark.parametrize(
    ("id", "why"),
    [
        ("done", "is closed (cancelled)"),
        ("new", "has not begun"),
        ("nobody", "no run"),
    ],
)
def test_what_stands_nowhere_is_told(recorded: Path, id: str, why: str) -> None:
    ended = durable("stack", id, MODULE, "--file", str(recorded))
    assert isinstance(ended.exception, DurableError)
    assert why in str(ended.exception).lower()


def test_other_code_is_told(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bakery, "knead", bakery.cut)
    ended = durable("stack", "baking", MODULE, "--file", str(recorded))
    assert isinstance(ended.exception, Divergence)
    assert "bakery/cut" in str(ended.exception)


def test_a_module_that_is_not_here_is_told(recorded: Path) -> None:
    ended = durable("stack", "baking", "no.such.module", "--file", str(recorded))
    assert ended.exit_code == 2
    assert "cannot import 'no.such.module'" in ended.output


async def test_a_run_in_a_database_is_shown_while_no_worker_lives(dsn: str) -> None:
    async with Durable(dsn, serve=[bakery.bake]) as app:
        handle = await app.start(bakery.bake, "rye", id="baking")
        while (await handle.describe()).status != "waiting":
            await handle.status()
    ended = await asyncio.to_thread(durable, "stack", "baking", MODULE, "--database", dsn)
    assert "counter waits for a signal 'bakery/order'" in ended.output, ended
