"""Values that were recorded by other code, or damaged: they stop their own run only."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Literal

import asyncpg
import pytest

from durable import Client, Context, Durable, RunStuck, Status, activity, workflow
from durable.errors import DecodeError


@workflow
async def sane(ctx: Context, n: int) -> int:
    return n


async def test_a_recorded_result_that_no_longer_fits_makes_the_run_stuck(dsn: str) -> None:
    def step(annotation: Any) -> Any:
        async def step() -> Any:
            return "a\0b"

        step.__annotations__["return"] = annotation
        return activity(name="changing_step")(step)

    def flow(step: Any) -> Any:
        async def flow(ctx: Context) -> Any:
            first = await ctx.activity(step)
            await ctx.sleep(3600)
            return first

        return workflow(name="changing_flow")(flow)

    async with Durable(dsn, serve=[flow(step(str))]) as app:
        await app.start("changing_flow", id="s")
        while await app.handle("s").status() is not Status.WAITING:
            await asyncio.sleep(0.01)
    async with Durable(dsn, serve=[flow(step(Literal["\0x"]))]) as app:
        await app.handle("s").cancel()
        with pytest.raises(RunStuck, match="does not fit"):
            await app.handle("s").result()
    async with Durable(dsn, serve=[flow(step(str))]) as app:
        while await app.handle("s").status() is not Status.CANCELLED:
            await asyncio.sleep(0.01)


async def test_recorded_arguments_that_no_longer_fit_make_the_run_stuck(dsn: str) -> None:
    def flow(annotation: Any) -> Any:
        async def flow(ctx: Context, n: Any) -> Any:
            return n

        flow.__annotations__["n"] = annotation
        return workflow(name="changing_arguments")(flow)

    flow(str)
    async with Client(dsn) as client:
        await client.start("changing_arguments", "text\0", id="s")
    async with Durable(dsn, serve=[flow(int)]) as app:
        with pytest.raises(RunStuck, match=r"int in flow\(n='text.x00'\): Expected `int`"):
            await app.handle("s").result()
    async with Durable(dsn, serve=[flow(str)]) as app:
        while await app.handle("s").status() is not Status.COMPLETED:
            await asyncio.sleep(0.01)


@pytest.mark.once
async def test_a_report_with_text_that_the_database_refuses_is_written_all_the_same(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Refusing:
        def __new__(cls, *args: Any) -> Refusing:
            raise ValueError("a\0b \ud800" + "x" * 100_000)

    async def flow(ctx: Context, n: Any) -> None: ...

    flow.__annotations__["n"] = type("Text", (Refusing, str), {})
    async with Client(dsn) as client:
        await client.start("refusing_flow", "text", id="s")
    async with Durable(dsn, serve=[workflow(name="refusing_flow")(flow)]) as app:
        with caplog.at_level(logging.CRITICAL), pytest.raises(RunStuck, match=r"a␀b \?x") as caught:
            await app.handle("s").result()
        assert len(caught.value.report) < 10_000


async def test_a_result_that_no_longer_fits_raises_in_the_caller_only(dsn: str) -> None:
    def flow(annotation: Any) -> Any:
        async def flow(ctx: Context) -> Any:
            return "text"

        flow.__annotations__["return"] = annotation
        return workflow(name="changing_result")(flow)

    old = flow(str)
    async with Client(dsn) as client:
        async with Durable(dsn, serve=[old]) as worker:
            assert await worker.run(old, id="r") == "text"
        with pytest.raises(DecodeError, match="Expected `int`, got `str`"):
            await client.handle("r", flow(int)).result()
        assert await client.handle("r", old).result() == "text"
        assert await client.handle("r").status() is Status.COMPLETED


async def test_a_damaged_row_stops_its_own_run_only(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    async with Durable(dsn, serve=[sane]) as app:
        await app.start("nobody", 1, id="damaged")
        for body in (b"", b"\x02", b"\x01\xc1", b"\x01" + b"\x91" * 1000, b"\x01\x81\x01"):
            await connection.execute("update durable.input set args = $1", body)
            described = await app.handle("damaged").describe()
            assert "unreadable" in described.input  # type: ignore[operator]
        await connection.execute("update durable.run set workflow = 'sane', status = 'pending'")
        with pytest.raises(RunStuck, match="does not fit a payload"):
            await app.handle("damaged").result()
        assert await app.run(sane, 5) == 5
    await connection.close()


async def test_a_recorded_error_whose_class_is_gone_makes_the_run_stuck(dsn: str) -> None:
    class Declined(Exception):
        def __init__(self, code: int) -> None:
            super().__init__(f"declined: {code}")
            self.code = code

    class Expired(Declined):
        pass

    codes: list[int] = []

    def flow(raises: type[Exception]) -> Any:
        async def pays() -> None:
            raise Expired(5)

        async def flow(ctx: Context) -> None:
            try:
                await ctx.activity(activity(name="pays_or_raises", raises=(raises,))(pays))
            except Declined as error:
                codes.append(error.code)
            await ctx.sleep(3600)

        return workflow(name="sees_an_error")(flow)

    async with Durable(dsn, serve=[flow(Declined)]) as app:
        await app.start("sees_an_error", id="s")
        while await app.handle("s").status() is not Status.WAITING:
            await asyncio.sleep(0.01)
    async with Durable(dsn, serve=[flow(KeyError)]) as app:
        await app.handle("s").cancel()
        with pytest.raises(RunStuck, match="Expired was raised, and is not one of them"):
            await app.handle("s").result()
    async with Durable(dsn, serve=[flow(Declined)]) as app:
        while await app.handle("s").status() is not Status.CANCELLED:
            await asyncio.sleep(0.01)
    assert set(codes) == {5}
