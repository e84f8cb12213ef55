"""What people get wrong, and what they read then. Nothing is lost by any of it."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import Any

import asyncpg
import pytest

import durable._authoring.registry as registry
from durable import Client, Context, Durable, RunFailed, RunStuck, Status, activity, workflow
from durable.errors import (
    CalledDirectly,
    ConfigurationError,
    DefinitionError,
    EncodeError,
    IdReused,
    InvalidCall,
    NotRegistered,
    RunExists,
    RunNotFound,
    SchemaMismatch,
    StoreUnavailable,
)


@activity
async def add(a: int, b: int) -> int:
    return a + b


async def plain(a: int) -> int:
    return a


@workflow
async def adds(ctx: Context, a: int) -> int:
    return await ctx.activity(add, a, 1)


@workflow
async def misuse(ctx: Context, how: str) -> Any:
    match how:
        case "direct":
            return await add(1, 2)
        case "called already":
            return await ctx.activity(plain(1))  # type: ignore[call-overload]
        case "unregistered":
            return await ctx.activity(plain, 1)
        case "arguments":
            return await ctx.activity(add, 1)  # type: ignore[call-overload]
        case "unserialisable":
            return await ctx.activity(add, 1, object())  # type: ignore[call-overload]
        case "foreign future":
            return await foreign["future"]
        case "thread":
            return await asyncio.to_thread(sorted, [])
        case "naive":
            return await ctx.sleep_until(__import__("datetime").datetime(2026, 1, 1))
        case "negative":
            return await ctx.sleep(-1)


foreign: dict[str, Any] = {}
kept: list[Context] = []


@workflow
async def keeps_ctx(ctx: Context) -> None:
    kept.append(ctx)


def monotonic() -> float:
    return time.monotonic()  # what a helper reads is not noticed


@workflow
async def holds_the_loop(ctx: Context) -> None:
    end = monotonic() + 3.5
    while monotonic() < end:
        pass


# Definitions


def test_a_sync_workflow_a_lambda_and_a_missing_ctx_are_refused_at_definition() -> None:
    with pytest.raises(DefinitionError, match="async def sync_one"):

        @workflow  # type: ignore[type-var]
        def sync_one(ctx: Context) -> None: ...

    with pytest.raises(DefinitionError, match="lambda has no name"):
        activity(lambda: 1)
    with pytest.raises(DefinitionError, match="takes no context"):

        @workflow
        async def no_ctx() -> None: ...


def test_two_functions_of_one_name_are_told_with_both_places() -> None:
    @activity(name="twin_activity")
    async def one() -> None: ...

    with pytest.raises(DefinitionError, match=r"test_bad_input\.py:\d+, one at .*test_bad_input"):

        @activity(name="twin_activity")
        async def two() -> None: ...

    activity(name="twin_activity")(one)  # the same function again: a reload
    registry._definitions.pop(("activity", "twin_activity"))


def test_an_activity_is_the_plain_function_outside_of_workflows() -> None:
    assert asyncio.run(add(1, 2)) == 3


# Calls


@pytest.fixture
async def app(dsn: str) -> Any:
    async with Durable(dsn, serve=[adds, misuse, keeps_ctx, holds_the_loop]) as app:
        yield app


@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [
        ("direct", CalledDirectly, "ctx.activity(add, ...)"),
        ("called already", DefinitionError, "called already"),
        ("unregistered", NotRegistered, "Put @activity on its definition"),
        ("arguments", InvalidCall, "add"),
        ("unserialisable", EncodeError, "b="),
        ("foreign future", RuntimeError, "attached to a different loop"),
        ("thread", None, "use a thread"),
        ("naive", InvalidCall, "Give it one"),
        ("negative", InvalidCall, "negative"),
    ],
)
async def test_misuse_inside_a_workflow_fails_its_run_in_words(
    app: Durable, how: str, kind: type[Exception] | None, words: str
) -> None:
    foreign["future"] = asyncio.get_running_loop().create_future()
    with pytest.raises(RunFailed) as caught:
        await app.run(misuse, how)
    assert words in caught.value.message
    assert kind is None or caught.value.type.endswith(kind.__name__)


async def test_wrong_calls_of_start_write_nothing(app: Durable) -> None:
    start: Any = app.start
    for args, kwargs, error in (
        ((adds,), {}, InvalidCall),
        ((adds, 1, 2), {}, InvalidCall),
        ((adds, object()), {}, EncodeError),
        ((adds, 1), {"id": ""}, InvalidCall),
        ((adds, 1), {"id": "x" * 256}, InvalidCall),
        ((adds, 1), {"id": "a\0b"}, InvalidCall),
        ((adds, 1), {"if_exists": "maybe"}, InvalidCall),
        ((plain, 1), {}, NotRegistered),
    ):
        with pytest.raises(error):
            await start(*args, **kwargs)
    assert await app.list() == []


async def test_an_id_used_again_with_other_arguments_names_the_difference(app: Durable) -> None:
    assert await app.run(adds, 1, id="x") == 2
    with pytest.raises(IdReused, match=r"args\[0\] \(it was 1, now 5\)"):
        await app.start(adds, 5, id="x")
    with pytest.raises(IdReused, match="workflow"):
        await app.start(keeps_ctx, id="x")
    with pytest.raises(RunExists, match="completed"):
        await app.start(adds, 1, id="x", if_exists="reject")
    assert await app.run(adds, 5, id="x", if_exists="after_close") == 6
    assert await app.run(adds, 7, id="x", if_exists="replace") == 8


async def test_a_run_that_is_not_there_is_said_so(app: Durable) -> None:
    for call in (app.handle("no").result, app.handle("no").cancel, app.handle("no").describe):
        with pytest.raises(RunNotFound, match="'no'"):
            await call()


async def test_a_workflow_that_nobody_serves_is_kept_and_shown(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Durable(dsn, serve=[adds]) as app:
        handle = await app.start("somebody_elses", 1, id="u")
        while await handle.status() is not Status.UNSERVED:
            await asyncio.sleep(0.05)
    assert "due runs of workflows that no live worker serves: 1." in caplog.text


async def test_ctx_used_after_its_run_is_refused(app: Durable) -> None:
    await app.run(keeps_ctx)
    with pytest.raises(InvalidCall, match="after its run had ended"):
        kept[-1].sleep(1)


async def test_a_workflow_that_holds_the_loop_is_named_with_its_line(
    app: Durable, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, logger="durable"):
        await app.run(holds_the_loop, id="hog")
    assert "run 'hog' of workflow 'holds_the_loop' has held the event loop" in caplog.text
    assert "test_bad_input.py" in caplog.text


async def test_changed_code_makes_the_run_stuck_and_fitting_code_frees_it(dsn: str) -> None:
    async def old(ctx: Context) -> int:
        first = await ctx.activity(add, 1, 1)
        await ctx.sleep(3600)
        return first

    async def new(ctx: Context) -> int:
        first = await ctx.activity(add, 2, 2)
        await ctx.sleep(3600)
        return first

    for fn in (old, new):
        fn.__qualname__ = "changing"

    async with Durable(dsn, serve=[workflow(name="changing")(old)]) as app:
        await app.start("changing", id="s")
        while await app.handle("s").status() is not Status.WAITING:
            await asyncio.sleep(0.01)
    async with Durable(dsn, serve=[workflow(name="changing")(new)]) as app:
        await app.handle("s").cancel()
        with pytest.raises(RunStuck, match="with other arguments") as caught:
            await app.handle("s").result()
        assert "test_bad_input.py:" in caught.value.report
    async with Durable(dsn, serve=[workflow(name="changing")(old)]) as app:
        while await app.handle("s").status() is not Status.CANCELLED:
            await asyncio.sleep(0.05)


# Places and times


def test_a_client_outside_of_async_with_says_so() -> None:
    async def use() -> None:
        await Client("postgresql://localhost/x").start("adds", 1)

    with pytest.raises(InvalidCall, match="async with Client"):
        asyncio.run(use())


async def test_a_second_loop_and_a_fork_are_refused(dsn: str) -> None:
    async with Client(dsn) as client:

        def elsewhere() -> None:
            asyncio.run(client.start("adds", 1))

        with pytest.raises(InvalidCall, match="another event loop"):
            await asyncio.to_thread(elsewhere)
        pid = os.fork()
        if pid == 0:
            try:
                client.store  # noqa: B018 - that it raises is the test
            except InvalidCall as error:
                os._exit(0 if "forked" in str(error) else 1)
            os._exit(2)
        _, status = os.waitpid(pid, 0)  # noqa: ASYNC222 - it ends at once
        assert os.waitstatus_to_exitcode(status) == 0


async def test_a_second_loop_is_refused_although_the_run_could_start_in_memory(dsn: str) -> None:
    async with Durable(dsn) as app:
        await app.run("adds", 1)  # now it has keys for more

        def elsewhere() -> None:
            asyncio.run(asyncio.wait_for(app.start("adds", 1, id="elsewhere"), 10))

        with pytest.raises(InvalidCall, match="another event loop"):
            await asyncio.to_thread(elsewhere)
        with pytest.raises(RunNotFound):
            await app.handle("elsewhere").status()


async def test_databases_that_cannot_be_used_are_told_apart(
    dsn: str, empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url, error, words in (
        ("not a url", ConfigurationError, "postgresql://user"),
        ("postgresql://localhost:1/x", StoreUnavailable, "cannot be reached"),
        (dsn.replace("/durable_test", "/no_such"), ConfigurationError, "no such database"),
        (empty_dsn, SchemaMismatch, "durable migrate"),
    ):
        with pytest.raises(error, match=words):
            async with Client(url):
                pass
    monkeypatch.delenv("DURABLE_DATABASE_URL", raising=False)
    monkeypatch.setenv("DURABLE_EMBEDDED", "never")
    with pytest.raises(ConfigurationError, match="DURABLE_DATABASE_URL"):
        async with Durable(serve=[adds]):
            pass


async def test_a_schema_for_newer_code_is_refused(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("update durable.setting set value = '99' where name = 'code_min'")
    await connection.close()
    with pytest.raises(SchemaMismatch, match="Upgrade the package"):
        async with Durable(dsn, serve=[adds]):
            pass
