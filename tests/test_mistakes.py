"""What a newcomer types first: each mistake is answered by what to write instead."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from durable import (
    Context,
    Durable,
    Retry,
    RunFailed,
    Start,
    Update,
    UpdateRejected,
    activity,
    workflow,
)
from durable.errors import DefinitionError, InvalidCall, NotRegistered
from durable.testing import Environment

# As a program without a type checker sees them.
APP: Any = Durable
ACTIVITY: Any = activity
WORKFLOW: Any = workflow
START: Any = Start
RETRY: Any = Retry

CLIENT: list[Any] = []


@activity
async def pack(pieces: int) -> int:
    return pieces


@activity
async def miscounts(pieces: int) -> int:
    return f"{pieces} pieces"  # type: ignore[return-value]


@workflow
async def parcel(ctx: Context, pieces: int) -> None: ...


class Shelf:
    @activity
    async def put(self, pieces: int) -> None: ...


@workflow
async def mistaken(ctx: Context, how: str) -> None:
    call: Any = ctx.activity
    match how:
        case "by name":
            await call("pack", 1)
        case "a workflow":
            await call(parcel, 1)
        case "a method":
            await call(Shelf().put, 1)
        case "an argument":
            await call(pack, "one")
        case "a result":
            await call(miscounts, 1)
        case "an option":
            await ctx.options(timeuot=3).activity(pack, 1)  # type: ignore[call-arg]
        case "a day":
            await ctx.sleep_until("2030-01-01")  # type: ignore[arg-type]
        case "a text":
            await ctx.sleep("3")  # type: ignore[arg-type]
        case "an isolation":
            await ctx.options(isolation="serializable").activity(pack, 1)
        case "a promise of a name":
            ctx.promise("approval")
        case "a client":
            await CLIENT[0].start(parcel, 1)


@pytest.mark.parametrize(
    ("wrong", "kind", "words"),
    [
        (lambda: START(parcel, pieces=3), InvalidCall, "no option pieces.*by position"),
        (lambda: APP(max_runs=3), InvalidCall, "no option max_runs.*runs_max"),
        (lambda: APP(runs_max=0), InvalidCall, "runs_max=0: it must be"),
        (lambda: APP(runs_max="3"), InvalidCall, "runs_max='3': it must be"),
        (lambda: APP(lease=1), InvalidCall, "lease=1.0: a worker beats"),
        (lambda: APP(queues="default"), InvalidCall, r"queues=\('default',\)"),
        (lambda: APP(build=""), InvalidCall, "build='': it takes a name, as in build='v7'"),
        (lambda: APP(build=7), InvalidCall, "build=7: it takes a name"),
        (lambda: APP(queues=("",)), InvalidCall, "names of queues"),
        (lambda: APP(serve=parcel), InvalidCall, r"serve=\[order\]"),
        (lambda: APP(serve="shop.orders"), InvalidCall, r"serve=\[order\]"),
        (lambda: ACTIVITY(timeuot=3), TypeError, "no option timeuot; it has retry, timeout"),
        (lambda: ACTIVITY(timeout="3"), TypeError, "seconds or a timedelta"),
        (lambda: ACTIVITY(retry=3), TypeError, "takes a Retry"),
        (lambda: ACTIVITY(raises=OSError), ValueError, r"raises=\(CardDeclined,\)"),
        (lambda: RETRY(delay="3"), TypeError, "seconds or a timedelta"),
        (lambda: WORKFLOW("order"), DefinitionError, r"Write @workflow\(name='order'\)"),
    ],
)
def test_what_cannot_be_is_refused_where_it_is_written(
    wrong: Callable[[], Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        wrong()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("by name", "no activity 'pack' here. Give the function itself"),
        ("a workflow", r"a plain function: `await parcel\(ctx, ...\)`. Mend"),
        ("a method", "A method needs its object again.*use a function"),
        ("an argument", r"argument does not fit int in pack\(pieces='one'\): Expected"),
        ("a result", "returned '1 pieces', which does not fit its annotation int: Expected"),
        ("an option", "no option timeuot"),
        ("a day", "sleep_until.*as in datetime"),
        ("a text", "seconds or a timedelta"),
        ("an isolation", "isolation= is for"),
        ("a promise of a name", r"type of the answer, as ctx.promise\(bool\)"),
        ("a client", r"cannot use a client: it has ctx.child"),
    ],
)
async def test_a_mistake_inside_a_workflow_is_told_by_its_run(
    durable: Environment, how: str, words: str
) -> None:
    CLIENT[:] = [durable]
    with pytest.raises(RunFailed, match=words):
        await durable.run(mistaken, how)


add = Update[int, int]("mistakes.add")


@workflow
async def checks_late(ctx: Context) -> None:
    async def is_small(value: int) -> bool:
        return value < 10

    ctx.on(add, lambda value: value, check=is_small)
    await ctx.sleep(days=1)


async def test_a_check_that_would_have_to_be_awaited_rejects(durable: Environment) -> None:
    """It has accepted whatever came: a coroutine is not False."""
    handle = await durable.start(checks_late)
    with pytest.raises(UpdateRejected, match="is checked by an `async def`"):
        await handle.update(add, 3)


@workflow
async def logs_all(ctx: Context) -> None:
    try:
        raise ValueError("no such page")
    except ValueError:
        ctx.log.exception("at page %d", 7, extra={"page": 7})
    ctx.log.info("this is no way", extra={"na" + "me": "is its own"})
    ctx.log.log("INFO", "nor is this")  # type: ignore[arg-type]
    ctx.log.critical("but %s", "this")


async def test_the_log_takes_what_a_logger_takes_and_what_it_does_not_costs_its_line_alone(
    durable: Environment, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="durable.workflow"):
        await durable.run(logs_all, id="logs")
    page, *refused, but = [each for each in caplog.records if each.name == "durable.workflow"]
    assert page.getMessage() == "at page 7"
    assert page.exc_info is not None and isinstance(page.exc_info[1], ValueError)
    assert (vars(page)["page"], vars(page)["id"]) == (7, "logs")
    assert [each.getMessage()[-18:] for each in refused] == 2 * [", cannot be logged"]
    assert but.getMessage() == "but this"


async def test_a_workflow_called_where_it_should_be_named_is_told(durable: Environment) -> None:
    called: Any = parcel(None, 1)  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match=r"`start\(parcel, ...\)`"):
        await durable.run(called)


async def test_serving_names_or_a_module_without_workflows_is_told(empty_dsn: str) -> None:
    with pytest.raises(NotRegistered, match=r"no workflow 'shop\.orders' here.*not their names"):
        async with Durable(empty_dsn, serve=["shop.orders"]):  # type: ignore[list-item]
            pass
    with pytest.raises(NotRegistered, match="no workflow in module 'sys'"):
        async with Durable(empty_dsn, serve=[sys]):
            pass


def test_a_duration_is_seconds_or_a_timedelta() -> None:
    assert Retry(delay=0.5, delay_max=timedelta(minutes=1)).delay == 0.5
