"""An environment as a whole: its beginning, its end, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from durable import Context, Durable, activity, workflow
from durable.errors import InvalidCall
from durable.testing import Environment

from .conftest import BEGIN

SCHEMAS = "select count(*) from pg_namespace where nspname like 'durable_test_%'"


@activity(name="testing/hello")
async def hello(name: str) -> str:
    return f"hello {name}"


@workflow(name="testing/greets_later")
async def greets_later(ctx: Context, name: str) -> str:
    await ctx.sleep(hours=1)
    return await ctx.activity(hello, name)


async def test_it_is_a_durable_with_all_its_verbs(env: Environment) -> None:
    assert isinstance(env, Durable)
    handle = await env.start(greets_later, "ada", id="a")
    described = await handle.describe()
    assert (described.id, described.input, described.created_at) == ("a", ["ada"], BEGIN)
    assert await handle.result() == "hello ada"
    assert [event["kind"] for event in await env.history("a")] == ["started", "timer", "activity"]
    assert [run.result async for run in env.list(workflow="testing/greets_later")] == ["hello ada"]
    assert await env.delete(older_than=0) == 0
    await env.advance(days=1)
    assert await env.delete(older_than=timedelta(hours=1)) == 1


async def test_without_a_database_the_process_s_own_is_not_touched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DURABLE_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nowhere")
    async with Environment() as env:
        assert await env.run(greets_later, "ada") == "hello ada"


async def test_on_postgres_it_leaves_nothing_behind(server_url: str) -> None:
    connection = await asyncpg.connect(server_url)
    try:
        before = await connection.fetchval(SCHEMAS)
        with pytest.raises(ZeroDivisionError):
            async with Environment(server_url) as env:
                assert await connection.fetchval(SCHEMAS) == before + 1
                await env.start(greets_later, "ada")
                raise ZeroDivisionError
        assert await connection.fetchval(SCHEMAS) == before
    finally:
        await connection.close()


@pytest.mark.once
async def test_a_workflow_that_is_defined_too_late_is_said_so() -> None:
    async with Environment() as env:

        @workflow(name="environment/late")
        async def late(ctx: Context) -> None: ...

        with pytest.raises(InvalidCall, match="defined after this environment was opened"):
            await env.start(late)
    async with Environment() as env:
        await env.run(late)


async def test_an_end_does_not_wait_for_what_sleeps_or_hangs(
    make: Callable[..., Environment],
) -> None:
    async with make() as env:
        env.stand_in(hello, hangs=True)
        for _ in range(3):
            await env.start(greets_later, "ada")
        await env.advance(hours=1)
        assert len(env.calls(hello)) == 3
    assert not env.is_open


async def test_it_can_be_opened_again_and_begins_anew(make: Callable[..., Environment]) -> None:
    env = make()
    for _ in range(2):
        async with env:
            assert await env.start(greets_later, "ada", id="a", if_exists="reject")


async def test_it_begins_now_unless_told_otherwise() -> None:
    assert abs(Environment().now() - datetime.now(UTC)) < timedelta(minutes=1)
    with pytest.raises(InvalidCall, match="time zone"):
        Environment(at=datetime(2030, 1, 1))


async def test_outside_of_its_block_it_says_so() -> None:
    env = Environment()
    for use in (env.advance(days=1), env.sleep(1), env.start(greets_later, "ada")):
        with pytest.raises(InvalidCall, match="async with Environment"):
            await use


@pytest.mark.parametrize("length", [-1, float("inf"), timedelta(days=-1)])
async def test_time_does_not_go_back(length: float | timedelta) -> None:
    async with Environment() as env:
        with pytest.raises(InvalidCall, match="Time cannot pass like that"):
            await env.advance(length)
