"""Child runs: results, failures, cancelling, what becomes of them when their parent ends."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from durable import (
    ChildError,
    ChildRefused,
    Client,
    Context,
    Durable,
    Retry,
    RunFailed,
    Signal,
    Status,
    activity,
    workflow,
)
from durable.errors import InvalidCall, RetryRefused
from tests.end_to_end.processes import until

told = Signal[str]("child.told")
done = Signal[None]("child.done")

BROKEN: set[str] = set()
DOUBLED: list[int] = []


@activity(name="child.double")
async def double(number: int) -> int:
    DOUBLED.append(number)
    return 2 * number


@activity(name="child.check", retry=Retry(attempts=1))
async def check(what: str) -> str:
    if what in BROKEN:
        raise LookupError(f"{what} is broken")
    return what


@workflow(name="child.doubles")
async def doubles(ctx: Context, number: int) -> int:
    return await ctx.activity(double, number)


@workflow(name="child.family")
async def family(ctx: Context, count: int) -> list[int]:
    return await asyncio.gather(*(ctx.child(doubles, n) for n in range(count)))


@workflow(name="child.one_by_one")
async def one_by_one(ctx: Context, count: int) -> int:
    total = 0
    for number in range(count):
        total += await ctx.child(doubles, number)
    return total


@workflow(name="child.listens")
async def listens(ctx: Context) -> str:
    try:
        return await ctx.receive(told)
    finally:
        await ctx.activity(double, 1)


@workflow(name="child.raises")
async def raises(ctx: Context, what: str) -> str:
    await ctx.activity(double, 5)
    try:
        return await ctx.activity(check, what)
    except Exception as error:
        raise ValueError(f"no {what}") from error


@workflow(name="child.told_of")
async def told_of(ctx: Context, what: str) -> dict[str, Any]:
    try:
        return {"result": await ctx.child(raises, what, id=f"{what}-child")}
    except ChildError as error:
        cause = error.cause
        assert isinstance(cause, ChildError)
        return {
            "id": error.id, "workflow": error.workflow, "status": error.status, "type": error.type,
            "message": error.message, "cause": cause.type, "text": str(error),
            "traced": "no " + what in error.traceback,
        }  # fmt: skip


@workflow(name="child.relies")
async def relies(ctx: Context, what: str) -> str:
    first = ctx.child(listens, id=f"{what}-listens")
    second = ctx.child(raises, what, id=f"{what}-raises")
    return f"{await second} and {await first}"


@workflow(name="child.talks")
async def talks(ctx: Context) -> list[str]:
    child = await ctx.start_child(listens)
    child.signal(told, "hello")
    return [await child.result(), await child.result(), child.id]


@workflow(name="child.hurries")
async def hurries(ctx: Context) -> str:
    try:
        async with asyncio.timeout(0.05):
            return await ctx.child(listens, id="hurried")
    except TimeoutError:
        return "too late"


@workflow(name="child.stops_it")
async def stops_it(ctx: Context) -> str:
    child = await ctx.start_child(listens, id="stopped")
    await ctx.sleep(0.01)
    child.cancel()
    try:
        return await child.result()
    except ChildError as error:
        return error.status


@workflow(name="child.takes_id")
async def takes_id(ctx: Context, id: str) -> str:
    try:
        await ctx.child(doubles, 1, id=id)
    except ChildRefused as error:
        return f"{error.status}: {error}"
    return "it was free"


@workflow(name="child.endless")
async def endless(ctx: Context, depth: int) -> int:
    try:
        return await ctx.child(endless, depth + 1)
    except ChildRefused as error:
        assert "100 generations" in str(error)
        return depth


@workflow(name="child.leaves")
async def leaves(ctx: Context, fails: bool) -> None:
    await ctx.start_child(listens, id="to-cancel")
    await ctx.start_child(listens, id="to-terminate", on_parent_close="terminate")
    await ctx.start_child(listens, id="to-abandon", on_parent_close="abandon")
    if fails:
        raise RuntimeError("the parent fails")


@workflow(name="child.waits_on")
async def waits_on(ctx: Context, name: str) -> Any:
    child = await ctx.start_child("child.elsewhere", 21, id=name, queue="other", priority=2)
    return await child.result()


@workflow(name="child.elsewhere")
async def elsewhere(ctx: Context, number: int) -> int:
    return number * 2


@workflow(name="child.bad_calls")
async def bad_calls(ctx: Context) -> list[str]:
    begin: Any = ctx.child
    errors: list[str] = []
    for args, options in (
        ([doubles], {}),
        ([doubles, "one"], {}),
        ([doubles, 1], {"id": ""}),
        ([doubles, 1], {"priority": 7}),
        ([doubles, 1], {"delay": 1, "at": ctx.now()}),
        ([doubles, 1], {"on_parent_close": "explode"}),
        ([doubles, 1], {"number": 2}),
        (["nobody's" * 100], {}),
    ):
        try:
            begin(*args, **options)
        except InvalidCall as error:
            errors.append(str(error))
    return errors


@pytest_asyncio.fixture
async def app(dsn: str, rehearsed: bool) -> AsyncIterator[Durable]:
    BROKEN.clear()
    DOUBLED.clear()
    served: list[Any] = [
        doubles, family, one_by_one, listens, raises, told_of, relies, talks, hurries, stops_it,
        takes_id, endless, leaves, waits_on, bad_calls,
    ]  # fmt: skip
    async with Durable(dsn, serve=served) as app:
        yield app


async def is_closed(app: Client, id: str, status: Status) -> None:
    async def over() -> bool:
        return await app.handle(id).status() is status

    await until(over)


async def test_children_run_and_their_results_come_back(app: Durable) -> None:
    assert await app.run(family, 40, id="family") == [2 * n for n in range(40)]
    assert sorted(DOUBLED) == list(range(40))
    history = await app.history("family")
    assert [each["kind"] for each in history] == ["started"] + 40 * ["child"]
    assert await app.run(one_by_one, 5) == 20


async def test_a_child_that_fails_tells_its_parent_why(app: Durable) -> None:
    BROKEN.add("lamp")
    assert await app.run(told_of, "lamp") == {
        "id": "lamp-child", "workflow": "child.raises", "status": "failed", "type": "ValueError",
        "message": "no lamp", "cause": "ActivityError", "traced": True,
        "text": "Child 'lamp-child' (child.raises) failed: ValueError: no lamp",
    }  # fmt: skip


async def test_a_child_that_was_started_takes_signals_and_is_asked_twice(app: Durable) -> None:
    handle = await app.start(talks, id="talks")
    first, second, id = await handle.result()
    assert (first, second) == ("hello", "hello") and id.startswith("talks/")
    assert (await app.handle(id).describe()).parent == "talks"


async def test_who_stops_waiting_stops_the_child_and_waits_for_its_clean_up(app: Durable) -> None:
    assert await app.run(hurries) == "too late"
    assert await app.handle("hurried").status() is Status.CANCELLED
    assert DOUBLED == [1]  # the child's finally


async def test_a_handle_cancels_its_child(app: Durable) -> None:
    assert await app.run(stops_it) == "cancelled"


async def test_cancelling_the_parent_cancels_the_child_it_waits_for(app: Durable) -> None:
    handle = await app.start(relies, "cup", id="relies")
    await until(lambda: _is_there(app, "cup-listens"))
    await handle.cancel()
    await is_closed(app, "relies", Status.CANCELLED)
    await is_closed(app, "cup-listens", Status.CANCELLED)


async def test_an_id_that_is_taken_is_refused(app: Durable) -> None:
    await app.run(doubles, 1, id="somebody")
    text = await app.run(takes_id, "somebody")
    assert text.startswith("refused: Child 'somebody' (child.doubles) was refused: another run has")
    assert await app.run(takes_id, "nobody") == "it was free"


async def test_runs_that_begin_each_other_without_end_are_stopped(app: Durable) -> None:
    assert await app.run(endless, 0) == 100


def test_of_many_generations_that_fail_the_last_says_why_and_the_first_is_named() -> None:
    error: ChildError = ChildRefused(id="last", workflow="w", status="refused", message="too deep")
    for n in reversed(range(100)):
        error = ChildError(
            id=f"{n}", workflow="w", status="failed", type="ChildError", message=str(error)
        )
    assert str(error).startswith("Child '0' (w) failed: ChildError: Child '1' (w) failed")
    assert str(error).endswith("Child 'last' (w) was refused: too deep")
    assert len(str(error)) < 1_100


@pytest.mark.parametrize("fails", [False, True])
async def test_when_a_parent_ends_its_children_are_treated_as_was_said(
    app: Durable, fails: bool
) -> None:
    handle = await app.start(leaves, fails)
    await is_closed(app, "to-cancel", Status.CANCELLED)
    await is_closed(app, "to-terminate", Status.TERMINATED)
    reason = (await app.handle("to-cancel").describe()).reason
    assert reason is not None and reason == f"its parent {handle.id} has ended"
    await app.handle("to-abandon").signal(told, "still here")
    assert await app.handle("to-abandon").result() == "still here"


async def test_children_are_served_by_other_workers_of_other_queues(app: Durable, dsn: str) -> None:
    handle = await app.start(waits_on, "served-elsewhere")
    async with Durable(dsn, serve=[elsewhere], queues=["other"]):
        assert await handle.result() == 42


async def test_a_retried_parent_takes_its_failed_children_along(app: Durable) -> None:
    BROKEN.add("pot")
    handle = await app.start(relies, "pot", id="relies-on-pot")
    with pytest.raises(RunFailed, match="ChildError"):
        await handle.result()
    await is_closed(app, "pot-listens", Status.CANCELLED)  # it was being waited for
    with pytest.raises(RetryRefused, match="its parent relies-on-pot has seen"):
        await app.handle("pot-raises").retry()
    BROKEN.clear()
    await handle.retry()
    await until(lambda: _is_there(app, "pot-listens", Status.WAITING))  # begun anew
    await app.handle("pot-listens").signal(told, "all is well")
    assert await handle.result() == "pot and all is well"
    assert DOUBLED.count(5) == 1  # what the failed child had done is not done again


async def test_a_retried_parent_asks_again_for_what_was_refused(app: Durable, dsn: str) -> None:
    await app.run(doubles, 1, id="free-again-raises")
    handle = await app.start(relies, "free-again")
    with pytest.raises(RunFailed, match="ChildRefused"):
        await handle.result()
    connection = await asyncpg.connect(dsn)
    await connection.execute("delete from durable.run where id = 'free-again-raises'")
    await connection.close()
    await is_closed(app, "free-again-listens", Status.CANCELLED)
    await handle.retry()
    await until(lambda: _is_there(app, "free-again-listens", Status.WAITING))
    await app.handle("free-again-listens").signal(told, "here")
    assert await handle.result() == "free-again and here"


async def test_bad_calls_are_refused_where_they_are_made(app: Durable) -> None:
    errors = await app.run(bad_calls)
    for text, error in zip(
        ["number", "do not fit", "id=''", "priority=7", "delay= and at=", "on_parent_close",
         "no option number", "workflow="], errors, strict=True,
    ):  # fmt: skip
        assert text in error


async def _is_there(app: Client, id: str, status: Status | None = None) -> bool:
    found = [each.status for each in await app.list(id_prefix=id)]
    return bool(found) and status in (None, found[0])


@pytest.mark.once
async def test_people_are_shown_who_has_begun_whom(app: Durable, dsn: str) -> None:
    await app.run(family, 25, id="shown")
    assert [each.parent for each in await app.list(parent="shown")] == 25 * ["shown"]
    (grandchild,) = await app.list(parent="shown", limit=1, order="oldest")

    def told(*command: str) -> str:
        words = [sys.executable, "-m", "durable", *command, "--database", dsn]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    text = await asyncio.to_thread(told, "show", "shown")
    assert text.count("  child   shown/") == 20 and "more: durable list --parent shown" in text
    assert "  parent  shown\n" in await asyncio.to_thread(told, "show", grandchild.id)
    listed = await asyncio.to_thread(told, "list", "--parent", "shown")
    assert listed.count("child.doubles") == 25
