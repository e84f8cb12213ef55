"""The recipes of ``docs/changing-code.md``: what was begun on the code before goes on with the code
after; and would not, where the page says that it takes a patch, if there were none."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import asyncpg
import msgspec
import pytest

from durable._authoring import registry
from durable._core.patches import Patches
from durable._core.statuses import CLOSED
from durable.errors import Divergence
from durable.testing import Environment, History, replay

from .test_docs import blocks

PRELUDE, *RECIPES, FORK = blocks("changing-code.md", "python")
PAIRS = list(zip(RECIPES[::2], RECIPES[1::2], strict=True))

_numbers = itertools.count()


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Where the blocks are put: their names are registered for this test alone."""
    name = f"shop_{next(_numbers)}"
    module = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(registry, "_definitions", {})
    exec(PRELUDE, module.__dict__)
    yield module


def deploy(module: ModuleType, code: str) -> Any:
    module.__dict__.pop("order", None)
    registry._definitions.pop(("workflow", "order"), None)
    exec(code, module.__dict__)
    return module.__dict__.get("order") or module.__dict__["ship_when_paid"]


async def recorded(env: Environment, module: ModuleType, id: str) -> list[History]:
    """A run that is paid twice: its history, each time that it is looked at."""
    handle = await env.start("order", "socks", id=id)
    histories = []
    for cents in (10, 20):
        await env.advance(minutes=20)
        histories.append(await History.of(env, id))
        if (await handle.status()) not in CLOSED:
            await handle.signal(module.__dict__["paid"], cents)
    await handle.result()
    return [*histories, await History.of(env, id)]


def cut(history: History) -> Iterator[History]:
    """What it was at each of its positions."""
    open_again = {"status": "waiting", "closed_at": None, "result": None, "unread": ()}
    for length in range(1, len(history.events)):
        yield msgspec.structs.replace(history, events=history.events[:length], **open_again)


@pytest.mark.parametrize(("before", "after"), PAIRS)
async def test_what_was_begun_before_goes_on_after(
    module: ModuleType, before: str, after: str
) -> None:
    deploy(module, before)
    async with Environment(serve=[module.__dict__["order"]]) as env:
        histories = await recorded(env, module, "old")
    code = deploy(module, after)
    for history in histories:
        replay(history, code)
        for each in cut(history):
            replay(each, code)
    async with Environment(serve=[code]) as env:
        new = (await recorded(env, module, "new"))[-1]
    replay(new, code)
    asked = {id.removeprefix("~") for event in new.events for id in event.patches or ()}
    assert asked == set(re.findall(r'patch(?:ed)?\("([^"]+)"\)', after))


@pytest.mark.parametrize(("before", "after"), [each for each in PAIRS if "ctx.patched" in each[1]])
async def test_without_the_patch_it_would_not(
    module: ModuleType, before: str, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(module, before)
    async with Environment(serve=[module.__dict__["order"]]) as env:
        history = (await recorded(env, module, "old"))[-1]
    code = deploy(module, after)
    monkeypatch.setattr(Patches, "ask", lambda _, id: True)
    with pytest.raises(Divergence):
        replay(history, code)


async def test_the_fork_goes_on(module: ModuleType) -> None:
    code = deploy(module, PAIRS[-1][1])
    exec(FORK, module.__dict__)
    async with Environment(serve=[code]) as env:
        handle = await env.start("order", "socks", id="a")
        await handle.signal(module.__dict__["paid"], 10)
        await handle.result()
        assert await module.__dict__["go_on_from"](env, "a") == "socks is on its way"
        forks = [each.id for each in await env.list() if each.id != "a"]
        (fork,) = forks
        assert "reserved by hand" in str(await env.history(fork))


async def test_the_question_about_patches_is_understood(dsn: str) -> None:
    (question,) = blocks("changing-code.md", "sql")
    connection = await asyncpg.connect(dsn)
    try:
        assert await connection.fetch(question) == []
    finally:
        await connection.close()


def test_the_report_is_the_one_that_is_shown() -> None:
    (shown,) = blocks("changing-code.md", "console")
    told = Divergence(
        position=3,
        recorded="the result of activity 'ship' (op 2)",
        recorded_at="shop.py:21",
        asked="activity 'mail' (op 2)",
        site="shop.py:24",
        kind="step",
        whose="order-42 shop",
    )
    assert [line.strip() for line in shown.splitlines()[2:]] == str(told).splitlines()
