"""Code that changes under open runs: what fits goes on, what does not is set aside in words."""

from __future__ import annotations

from collections.abc import Iterator

import asyncpg
import pytest

from durable import Context, Durable, RunStuck, Signal, activity, workflow
from durable.errors import InvalidCall, SchemaMismatch
from durable.testing import History, replay
from tests.runtime.test_runs import until_async

news = Signal[str]("deploys/news")
deployed: set[str] = set()


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    deployed.clear()
    yield
    deployed.clear()


@activity(name="deploys/act")
async def act(what: str) -> str:
    return what


@workflow(name="deploys/waits")
async def waits(ctx: Context) -> str:
    done = await ctx.activity(act, "first")
    if "ends early" in deployed:
        return done
    return done + await ctx.receive(news)


@activity(name="deploys/who")
async def who(id: str) -> list[str]:
    """The builds of those that have the run in memory."""
    workers = [app._worker for app in by]
    return [each.registration.build for each in workers
            if each is not None and id in {run.id for run in each.active.values()}]  # fmt: skip


@workflow(name="deploys/who_works")
async def who_works(ctx: Context) -> list[str]:
    return await ctx.activity(who, ctx.id)


by: list[Durable] = []


@pytest.mark.once
async def test_code_that_ends_where_the_run_went_on_is_a_divergence_and_no_bug_of_ours(
    dsn: str,
) -> None:
    async with Durable(dsn, serve=[waits], build="1") as app:
        handle = await app.start(waits, id="a")

        async def waits_for_news() -> bool:
            return (await handle.describe()).waits_for is not None

        await until_async(waits_for_news)
    deployed.add("ends early")
    async with Durable(dsn, serve=[waits], build="2") as app:
        handle = app.handle("a", waits)
        await handle.signal(news, "!")
        with pytest.raises(RunStuck) as caught:
            await handle.result()
        report = caught.value.report
        assert report.startswith("At position 2 the journal holds a run that goes on")
        assert "nothing: it has returned already" in report
        assert "report it" not in report
    deployed.clear()
    async with Durable(dsn, serve=[waits], build="3") as app:
        assert await app.handle("a", waits).result() == "first!"


async def test_a_pinned_run_waits_for_its_build(dsn: str) -> None:
    async with (
        Durable(dsn, serve=[who_works], build="1") as one,
        Durable(dsn, serve=[who_works], build="2") as two,
    ):
        by[:] = [one, two]
        assert await one.run(who_works, build="2") == ["2"]
        assert await two.run(who_works, build="1") == ["1"]
        handle = await one.start(who_works, build="3")
        assert await handle.pin("2")
        assert await handle.result() == ["2"]
        assert not await handle.pin("1"), "it is closed"
        with pytest.raises(InvalidCall, match="build"):
            await one.start(who_works, build="")


async def test_this_code_works_beside_a_schema_that_is_newer(dsn: str) -> None:
    """What a later version adds, this one does not know: columns, a table, a step more."""
    connection = await asyncpg.connect(dsn)
    for table in ("run", "journal", "inbox", "worker", "result", "attempt"):
        await connection.execute(f"alter table durable.{table} add column of_later text")
    await connection.execute("create table durable.of_later (run bigint)")
    await connection.execute("update durable.setting set value = '2' where name = 'schema_version'")
    async with Durable(dsn, serve=[waits]) as app:
        handle = await app.start(waits, id="beside")
        await handle.signal(news, "!")
        assert await handle.result() == "first!"
        assert replay(await History.of(app, "beside")).status == "completed"
    await connection.execute("update durable.setting set value = '2' where name = 'code_min'")
    await connection.close()
    with pytest.raises(SchemaMismatch, match="admits code for 2 and newer"):
        async with Durable(dsn, serve=[waits]):
            pass
