"""Promises: asked for by a workflow, answered by whoever has the token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from durable import (
    Client,
    Context,
    Durable,
    PromiseRejected,
    RunFailed,
    RunStuck,
    Status,
    activity,
    workflow,
)
from durable.errors import InvalidCall, RunClosed, TokenRefused

from .conftest import WAIT_SECONDS, until

sent: dict[str, str] = {}


@activity(name="promises.send")
async def send(to: str, token: str) -> None:
    sent[to] = token


@workflow(name="promises.approval")
async def approval(ctx: Context, seconds: float) -> str:
    approved = ctx.promise(bool, name="approval")
    await ctx.activity(send, ctx.id, approved.token)
    try:
        async with asyncio.timeout(seconds):
            return "yes" if await approved else "no"
    except TimeoutError:
        return "too late"
    except PromiseRejected as error:
        return f"rejected: {error.message}"


@workflow(name="promises.fails")
async def fails_if_rejected(ctx: Context) -> str:
    answer = ctx.promise(str)
    await ctx.activity(send, ctx.id, answer.token)
    return await answer


@workflow(name="promises.several")
async def several(ctx: Context) -> list[int]:
    answers = [ctx.promise(int, name=f"part {n}") for n in range(3)]
    for n, each in enumerate(answers):
        await ctx.activity(send, f"{ctx.id} {n}", each.token)
    return await asyncio.gather(*answers)


@workflow(name="promises.lists")
async def lists(ctx: Context) -> int:
    answer = ctx.promise(list[int])
    await ctx.activity(send, ctx.id, answer.token)
    return sum(await answer)


@workflow(name="promises.leaves")
async def leaves(ctx: Context) -> str:
    answer = ctx.promise(bool)
    await ctx.activity(send, ctx.id, answer.token)
    return answer.token


@pytest.fixture
async def app(dsn: str) -> AsyncIterator[Durable]:
    sent.clear()
    async with asyncio.timeout(WAIT_SECONDS), Durable(dsn) as app:
        yield app


async def token_of(name: str) -> str:
    async def is_sent() -> bool:
        return name in sent

    await until(is_sent)
    return sent[name]


async def test_the_answer_is_what_await_gives(app: Durable, client: Client) -> None:
    handle = await app.start(approval, 86_400, id="a")
    token = await token_of("a")
    assert await client.resolve(token, True) is True
    assert await client.resolve(token, False) is False
    assert await handle.result() == "yes"


async def test_it_waits_as_one_row_and_says_for_what(app: Durable, client: Client) -> None:
    handle = await app.start(fails_if_rejected, id="b")
    token = await token_of("b")

    async def is_parked() -> bool:
        return await handle.status() is Status.WAITING

    await until(is_parked)
    known = await handle.describe()
    assert (known.waits_for, known.due_at) == ("promise 'promise' (op 1)", None)
    assert (known.waits_at or "").startswith("test_promises.py:")
    await client.resolve(token, "done")
    assert await handle.result() == "done"


async def test_a_rejection_is_raised(app: Durable, client: Client) -> None:
    first, second = (
        await app.start(approval, 60, id="c"),
        await app.start(fails_if_rejected, id="d"),
    )
    assert await client.reject(await token_of("c"), "not this one") is True
    await client.reject(await token_of("d"), "nor that")
    assert await first.result() == "rejected: not this one"
    with pytest.raises(RunFailed, match="nor that"):
        await second.result()


async def test_who_is_too_late_is_heard_by_nobody(app: Durable, client: Client) -> None:
    assert await app.run(approval, 0.01, id="e") == "too late"
    with pytest.raises(RunClosed, match="'e' is closed"):
        await client.resolve(sent["e"], True)


async def test_several_are_answered_in_any_order(app: Durable, client: Client) -> None:
    handle = await app.start(several, id="f")
    for n in (2, 0, 1):
        await client.resolve(await token_of(f"f {n}"), n * 10)
    assert await handle.result() == [0, 10, 20]
    assert len({sent[f"f {n}"] for n in range(3)}) == 3


async def test_an_answer_of_another_kind_is_refused_and_the_token_stays_good(
    app: Durable, client: Client
) -> None:
    handle = await app.start(approval, 60, id="g")
    token = await token_of("g")
    for value in ("yes", 1, None, [True]):
        with pytest.raises(InvalidCall, match="takes a value of type bool"):
            await client.resolve(token, value)
    with pytest.raises(InvalidCall, match="with a text"):
        await client.reject(token, 7)  # type: ignore[arg-type]
    assert await client.resolve(token, True) is True
    assert await handle.result() == "yes"


async def test_what_no_token_can_tell_sets_the_run_aside(app: Durable, client: Client) -> None:
    """And nothing is lost: the answer waits for code that can read it."""
    handle = await app.start(lists, id="h")
    assert await client.resolve(await token_of("h"), {"not": "a list"}) is True
    with pytest.raises(RunStuck, match="list"):
        await handle.result()


async def test_forged_and_foreign_tokens_are_refused(app: Durable, client: Client) -> None:
    await app.start(approval, 60, id="i")
    token = await token_of("i")
    other = "A" if token[30] != "A" else "B"
    changed = token[:30] + other + token[31:]
    spelled_otherwise = token[:42] + chr(ord(token[42]) + 1) + token[43:]  # bits that say nothing
    for forged in ("", "x", changed, spelled_otherwise, token[:-5], token + ".bool", "A" * 43, 7):
        with pytest.raises(TokenRefused):
            await client.resolve(forged, True)  # type: ignore[arg-type]
    assert await client.resolve(token, True) is True


async def test_tokens_stay_the_same_on_replay(app: Durable, database: Any) -> None:
    handle = await app.start(leaves, id="j")
    assert await handle.result() == sent["j"]
    assert await app.run(leaves, id="k") != sent["j"]


async def test_an_answer_joins_the_caller_s_transaction(
    app: Durable, client: Client, database: asyncpg.Connection[Any]
) -> None:
    handle = await app.start(approval, 60, id="l")
    token = await token_of("l")
    with pytest.raises(ZeroDivisionError):
        async with database.transaction():
            assert await client.resolve(token, False, connection=database) is True
            raise ZeroDivisionError
    async with database.transaction():
        assert await client.resolve(token, True, connection=database) is True
    assert await handle.result() == "yes"


async def test_sql_answers_too(app: Durable, database: asyncpg.Connection[Any]) -> None:
    handle = await app.start(approval, 60, id="m")
    assert await database.fetchval("select durable.resolve($1, 'true')", await token_of("m"))
    assert await handle.result() == "yes"
    shown = await database.fetch("select name, result from durable.history where kind = 'promise'")
    assert [tuple(row) for row in shown] == [("approval", "true")]


async def test_a_promise_has_a_name(app: Durable) -> None:
    with pytest.raises(RunFailed, match="it takes the type"):
        await app.run(nameless)


@workflow(name="promises.nameless")
async def nameless(ctx: Context) -> None:
    ctx.promise(bool, name="")
