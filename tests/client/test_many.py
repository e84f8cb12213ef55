"""What is done to all runs that fit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from durable import Context, activity, workflow
from durable.errors import InvalidCall, RetryRefused
from durable.testing import Environment


@activity(name="many/breaks")
async def breaks(n: int) -> int:
    return n


@workflow(name="many/waits")
async def waits(ctx: Context, n: int) -> int:
    await ctx.sleep(3600)
    return n


@workflow(name="many/fails")
async def fails(ctx: Context, n: int) -> int:
    return await ctx.activity(breaks, n)


@pytest.fixture
async def env() -> AsyncIterator[Environment]:
    async with Environment() as env:
        env.stand_in(breaks, raises=ValueError("no"))
        for n in range(3):
            await env.start(fails, n, id=f"f-{n}")
            await env.start(waits, n, id=f"w-{n}")
        await env.advance(minutes=1)
        yield env


async def standing(env: Environment) -> dict[str, str]:
    return {each.id: each.status.value async for each in env.list()}


async def test_what_failed_is_retried_and_nothing_else(env: Environment) -> None:
    env.stand_in(breaks, returns=7)
    done = await env.retry_many(workflow="many/fails")
    assert [(each.id, each.error) for each in done] == [(f"f-{n}", None) for n in (2, 1, 0)]
    await env.advance(minutes=1)
    assert set((await standing(env)).values()) == {"completed", "waiting"}
    assert await env.retry_many(workflow="many/fails") == []


async def test_not_more_than_that(env: Environment) -> None:
    done = await env.retry_many(id_prefix="f-", limit=2)
    assert [each.id for each in done] == ["f-2", "f-1"]


async def test_one_that_is_refused_is_named_and_costs_the_others_nothing(env: Environment) -> None:
    await env.handle("f-1").restart()
    await env.advance(minutes=1)
    done = await env.retry_many(status="failed", workflow="many/fails")
    refused = {each.id: each.error for each in done if each.error is not None}
    assert len(done) == 4  # the one that was restarted, too
    assert list(refused) == ["f-1"]
    assert isinstance(refused["f-1"], RetryRefused)


async def test_what_is_open_is_asked_to_stop_or_ended(env: Environment) -> None:
    done = await env.cancel_many(workflow="many/waits", limit=1)
    assert [each.id for each in done] == ["w-2"]
    await env.advance(seconds=1)
    done = await env.terminate_many("enough", id_prefix="w-")
    assert [each.id for each in done] == ["w-1", "w-0"]
    told = await standing(env)
    assert (told["w-2"], told["w-1"], told["f-1"]) == ("cancelled", "terminated", "failed")
    assert (await env.handle("w-0").describe()).reason == "enough"


async def test_all_filters_of_a_list_are_understood(env: Environment) -> None:
    hour = env.now() + timedelta(hours=1)
    given = {
        "queue": "default", "id_prefix": "f", "created_since": env.now() - timedelta(days=1),
        "created_until": hour, "closed_since": env.now() - timedelta(days=1), "closed_until": hour,
        "status": "failed", "workflow": "many/fails", "parent": None,
    }  # fmt: skip
    assert len(await env.retry_many(**given)) == 3  # type: ignore[arg-type]
    assert await env.retry_many(parent="nobody") == []


async def test_all_runs_are_never_meant_by_saying_nothing(env: Environment) -> None:
    with pytest.raises(InvalidCall, match=r"terminate all runs.*terminate_many\(workflow="):
        await env.terminate_many()
    with pytest.raises(InvalidCall, match="without a filter"):
        await env.cancel_many(limit=5, status=None)
    with pytest.raises(InvalidCall, match="id_prefix=''"):
        await env.terminate_many(id_prefix="")
    with pytest.raises(InvalidCall, match="parent=5"):
        await env.terminate_many(parent=5)  # type: ignore[arg-type]
    with pytest.raises(InvalidCall, match="limit=-1 is no number of runs"):
        await env.terminate_many(workflow="many/waits", limit=-1)
    with pytest.raises(InvalidCall, match="no filter ids; there are status, workflow"):
        await env.retry_many(ids=["f-1"])  # type: ignore[call-arg]
    with pytest.raises(InvalidCall, match="status='gone'"):
        await env.retry_many(status="gone")
    assert set((await standing(env)).values()) == {"failed", "waiting"}


async def test_what_moves_meanwhile_is_met_and_met_once(
    env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While runs are looked for, one begins to hold and another goes on: a worker does the like
    all the time, and a second cancel would break off the clean-up that the first one began."""
    await env.handle("w-0").pause()
    page = env.store.listing.page

    async def moving(*args: Any, **given: Any) -> Any:
        found = await page(*args, **given)
        await env.handle("w-0").resume()
        await env.handle("w-1").pause()
        return found

    monkeypatch.setattr(env.store.listing, "page", moving)
    done = await env.cancel_many(workflow="many/waits")
    assert [each.id for each in done] == ["w-2", "w-1", "w-0"]
