"""The functions for people: runs are started, cancelled and mended from SQL."""

from __future__ import annotations

import json
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings

from durable import Client, Context, Durable, RunCancelled, RunTerminated, Status, workflow
from durable._codec import sameness, values
from durable.errors import IdReused

from ..codec.test_from_json import jsons
from .stage import Stage, failed, turn


@workflow
async def from_sql(ctx: Context, words: dict[str, list[int]], n: int) -> list[Any]:
    return [words, n]


@workflow
async def from_sql_waits(ctx: Context) -> None:
    await ctx.sleep(days=1)


async def test_a_run_started_from_sql_is_the_one_that_python_means(dsn: str, stage: Stage) -> None:
    args = '[{"b": [1, 2], "aa": [], "a": [3]}, 7]'
    async with Durable(dsn, serve=[from_sql]) as app:
        query = "select durable.start('from_sql', $1::jsonb, id => 'x')"
        assert await stage.value(query, args) == "x"
        assert await stage.value(query, args) == "x"
        words = {"a": [3], "aa": [], "b": [1, 2]}
        handle = await app.start(from_sql, words, 7, id="x")
        assert await handle.result() == [words, 7]
        with pytest.raises(IdReused, match=r"args\[1\]"):
            await app.start(from_sql, words, 8, id="x")
        with pytest.raises(asyncpg.UniqueViolationError, match="other arguments"):
            await stage.value("select durable.start('from_sql', '[{}, 7]', id => 'x')")
        assert await stage.value(
            "select durable.start('from_sql', '[{}, 7]', id => 'x', compare => false)"
        )
        with pytest.raises(asyncpg.UniqueViolationError, match="does not allow"):
            await stage.value("select durable.start('x', '[]', id => 'x', if_exists => 'reject')")


async def test_digests_of_sql_are_those_of_python(stage: Stage) -> None:
    import asyncio

    loop = asyncio.get_running_loop()
    seen: list[Any] = []

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(jsons)
    def collect(value: Any) -> None:
        seen.append(value)

    await loop.run_in_executor(None, collect)
    texts = [json.dumps(call) for value in seen for call in ([value], [1, "a", value])]
    rows = await stage.observer.fetch(
        "select v::text as kept, durable.payload_digest(v::jsonb) as digest "
        "from unnest($1::text[]::jsonb[]) v",
        texts,
    )
    assert len(rows) > 200
    for row in rows:
        call = _as_kept(row["kept"])
        assert sameness.digest(values.encode(call)) == row["digest"], row["kept"]


def _as_kept(text: str) -> Any:
    return json.loads(text)


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ("'w', '{}'", "args is the array"),
        ("'w', null", "args is the array"),
        ("'', '[]'", "1 to 255"),
        ("'w', '[]', queue => ''", "1 to 255"),
        ("'w', '[]', delay => '1 s', at => now()", "both say"),
        ("'w', '[]', priority => 9", "whole number from -2 to 2"),
        ("'w', '[]', id => ''", "run"),
        ("'w', '[]', if_exists => 'maybe'", "if_exists"),
    ],
)
async def test_what_cannot_be_started_is_told_and_leaves_nothing(
    stage: Stage, call: str, why: str
) -> None:
    with pytest.raises(asyncpg.PostgresError, match=why):
        await stage.value(f"select durable.start({call})")
    assert await stage.value("select count(*) from durable.run") == 0


async def test_runs_are_asked_closed_held_and_retried_from_sql(dsn: str, stage: Stage) -> None:
    async with Durable(dsn, serve=[from_sql_waits]) as app:
        for id in ("cancelled", "terminated"):
            await stage.value("select durable.start('from_sql_waits', id => $1)", id)
        assert await stage.value("select durable.pause('cancelled')")
        assert await stage.value("select durable.cancel('cancelled')")
        assert await stage.value("select durable.resume('cancelled')")
        with pytest.raises(RunCancelled):
            await app.handle("cancelled").result()
        assert await stage.value("select durable.terminate('terminated', 'enough')")
        with pytest.raises(RunTerminated, match="enough"):
            await app.handle("terminated").result()
        for verb in ("cancel", "terminate", "pause", "resume"):
            assert not await stage.value(f"select durable.{verb}('terminated')")


async def test_a_retry_from_sql_says_why_not(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "a")
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="it is running"):
        await stage.value("select durable.retry('a')")
    await stage.commit(worker, turn(run, 1, close=failed(1)))
    await stage.value("select durable.retry('a')")
    assert (await stage.run(run))["status"] == "pending"


@pytest.mark.parametrize("verb", ["cancel", "retry", "terminate", "pause", "resume"])
async def test_no_such_run_is_told(stage: Stage, verb: str) -> None:
    with pytest.raises(asyncpg.PostgresError, match="no run with the id 'nobody'"):
        await stage.value(f"select durable.{verb}('nobody')")


async def test_a_roll_back_leaves_nothing_of_a_start_from_sql(dsn: str, stage: Stage) -> None:
    stranger = await stage.stranger()
    transaction = stranger.transaction()
    await transaction.start()
    id = await stranger.fetchval("select durable.start('from_sql_waits')")
    await transaction.rollback()
    async with Client(dsn) as client:
        assert await client.list() == []
        await stranger.fetchval("select durable.start('from_sql_waits', delay => '1 hour')")
        (only,) = await client.list()
        assert only.id != id
        assert only.status is Status.PENDING
