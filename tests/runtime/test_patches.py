"""Workers with old code and with new code, one after the other, on the same runs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest

from durable import (
    Context,
    Durable,
    RunFailed,
    RunStuck,
    Signal,
    State,
    Status,
    activity,
    workflow,
)
from durable.errors import InvalidCall

go = Signal[None]("go in test_patches")


@activity
async def patched_step(name: str) -> str:
    return name


def deployed(code: Callable[[Context], Any]) -> Callable[[Context], Any]:
    """This version of the one workflow of these tests."""
    code.__qualname__ = "changing_in_test_patches"
    return workflow(name="changing_in_test_patches")(code)


async def old(ctx: Context) -> list[str]:
    done = [await ctx.activity(patched_step, "charge")]
    await ctx.receive(go)
    return [*done, await ctx.activity(patched_step, "ship")]


async def new(ctx: Context) -> list[str]:
    done = [await ctx.activity(patched_step, "charge")]
    if ctx.patched("check"):
        done.append(await ctx.activity(patched_step, "check"))
    await ctx.receive(go)
    if ctx.patched("mail"):
        await ctx.sleep(0)
        done.append(await ctx.activity(patched_step, "mail"))
    return [*done, await ctx.activity(patched_step, "ship")]


async def begun(app: Durable, id: str) -> None:
    await app.start("changing_in_test_patches", id=id)
    while await app.handle(id).status() is not Status.WAITING:
        await asyncio.sleep(0.01)


async def patches(app: Durable, id: str) -> list[list[str] | None]:
    return [each["patches"] for each in await app.history(id)]


async def test_an_open_run_takes_what_is_before_it_and_keeps_what_is_behind(dsn: str) -> None:
    async with Durable(dsn, serve=[deployed(old)]) as app:
        await begun(app, "a")
    async with Durable(dsn, serve=[deployed(new)]) as app:
        await begun(app, "b")
        assert await patches(app, "b") == [None, ["check"], None]
    async with Durable(dsn, serve=[deployed(new)]) as app:
        for id in "ab":
            await app.handle(id).signal(go)
        assert await app.handle("a").result() == ["charge", "mail", "ship"]
        assert await app.handle("b").result() == ["charge", "check", "mail", "ship"]
        assert await patches(app, "a") == [None, None, ["mail"], None, None, None]


async def test_code_that_was_rolled_back_leaves_the_run_stuck_until_the_patch_is_there_again(
    dsn: str,
) -> None:
    async with Durable(dsn, serve=[deployed(new)]) as app:
        await begun(app, "a")
        await app.handle("a").signal(go)
        await app.handle("a").result()
        await begun(app, "b")
    async with Durable(dsn, serve=[deployed(old)]) as app:
        await app.handle("b").signal(go)
        with pytest.raises(RunStuck, match=r"position 1 .* patch 'check'"):
            await app.handle("b").result()
    async with Durable(dsn, serve=[deployed(new)]) as app:
        while await app.handle("b").status() is not Status.COMPLETED:
            await asyncio.sleep(0.01)
        assert len(await app.handle("b").result()) == 4


async def test_a_report_tells_both_lines_the_cause_and_what_to_do(dsn: str) -> None:
    async def ships(ctx: Context) -> list[str]:
        return [await ctx.activity(patched_step, "ship")]

    async with Durable(dsn, serve=[deployed(old)]) as app:
        await begun(app, "a")
    async with Durable(dsn, serve=[deployed(ships)]) as app:
        await app.handle("a").signal(go)
        with pytest.raises(RunStuck) as caught:
            await app.handle("a").result()
        first, cause, advice, fork = str(caught.value.report).splitlines()
        assert re.search(
            r"position 1 .* 'patched_step' \(op 1\) with other arguments "
            r"\(args\[0\] was '\w+', and is 'ship' now\), asked for at "
            r"test_patches.py:\d+; .* asks for activity 'patched_step' \(op 1\) at "
            r"test_patches.py:\d+\.$",
            first,
        )
        assert cause.startswith("Likely cause: ")
        assert "goes on by itself" in advice
        assert fork.endswith(f": durable fork a {__name__} --at 1")
        await app.handle("a").retry()
    async with Durable(dsn, serve=[deployed(old)]) as app:
        assert len(await app.handle("a").result()) == 2


async def test_a_turn_that_could_not_be_finished_is_begun_anew_by_fitting_code(dsn: str) -> None:
    """What it is to send, and which patches it asks for, nobody knew before."""
    told = State[str]("told in test_patches")

    async def circles(ctx: Context) -> None:
        await ctx.receive(go)
        while True:
            await asyncio.sleep(0)

    async def mended(ctx: Context) -> str:
        await ctx.receive(go)
        ctx.set(told, "new" if ctx.patched("x") else "old")
        ctx.send("nobody", go)
        await ctx.receive(go)
        return "through"

    async with Durable(dsn, serve=[deployed(circles)]) as app:
        await begun(app, "a")
        await app.handle("a").signal(go)
        with pytest.raises(RunStuck, match="only yield to each other"):
            await app.handle("a").result()
    async with Durable(dsn, serve=[deployed(mended)]) as app:
        while await app.handle("a").state(told) is None:
            await asyncio.sleep(0.01)
        assert await app.handle("a").state(told) == "new"
        kinds = [each["kind"] for each in await app.history("a")]
        assert kinds[:4] == ["started", "signal", "voided", "signal"]
    async with Durable(dsn, serve=[deployed(mended)]) as app:
        await app.handle("a").signal(go)
        assert await app.handle("a").result() == "through"


async def test_a_first_turn_that_goes_in_a_circle_is_begun_anew_too(dsn: str) -> None:
    async def circling(ctx: Context) -> str:
        while True:
            await asyncio.sleep(0)

    async def mended(ctx: Context) -> str:
        return "through" if ctx.patched("x") else "?"

    async with Durable(dsn, serve=[deployed(circling)]) as app:
        await app.start("changing_in_test_patches", id="a")
        with pytest.raises(RunStuck, match="only yield to each other"):
            await app.handle("a").result()
    async with Durable(dsn, serve=[deployed(mended)]) as app:
        while await app.handle("a").status() is not Status.COMPLETED:
            await asyncio.sleep(0.01)
        assert await app.handle("a").result() == "through"
        assert await patches(app, "a") == [None, None, ["x"]]


async def test_a_retry_after_the_code_raised_runs_no_step_again(dsn: str) -> None:
    ran: list[str] = []
    mood = {"raises": True}

    @activity(name="counted_in_test_patches")
    async def counted() -> str:
        ran.append("ran")
        return "done"

    async def raising(ctx: Context) -> str:
        done = await ctx.activity(counted)
        if mood["raises"]:
            raise ValueError("this code is broken")
        return done

    async with Durable(dsn, serve=[deployed(raising)]) as app:
        handle = await app.start("changing_in_test_patches", id="a")
        with pytest.raises(RunFailed):
            await handle.result()
        mood["raises"] = False
        await handle.retry()
        assert await handle.result() == "done"
    assert ran == ["ran"]


async def test_run_ahead_of_their_commit_each_turn_has_a_row_that_tells(dsn: str) -> None:
    async def many(ctx: Context) -> list[bool]:
        async def one(n: int) -> bool:
            await ctx.activity(patched_step, str(n))
            return ctx.patched("odd") if n % 2 else False

        found = await asyncio.gather(*map(one, range(20)))
        await ctx.receive(go)
        return found

    async with Durable(dsn, serve=[deployed(many)]) as app:
        await begun(app, "a")
        assert sorted(map(str, await patches(app, "a"))) == ["None"] * 11 + ["['odd']"] * 10
    async with Durable(dsn, serve=[deployed(many)]) as app:
        await app.handle("a").signal(go)
        assert await app.handle("a").result() == [False, True] * 10


async def test_a_retry_runs_the_turn_of_what_it_takes_back_anew(dsn: str) -> None:
    async def fails(ctx: Context) -> str:
        await ctx.activity(patched_step, "charge")
        raise ValueError("this code is broken")

    async def mended(ctx: Context) -> str:
        await ctx.activity(patched_step, "charge")
        return "mended" if ctx.patched("mended") else "broken"

    async with Durable(dsn, serve=[deployed(fails)]) as app:
        handle = await app.start("changing_in_test_patches", id="a")
        with pytest.raises(RunFailed, match="broken"):
            await handle.result()
    async with Durable(dsn, serve=[deployed(mended)]) as app:
        await app.handle("a").retry()
        assert await app.handle("a").result() == "mended"
        assert await patches(app, "a") == [None, None, None, ["mended"]]


async def test_what_cannot_name_a_patch_is_told(dsn: str) -> None:
    async def asks(ctx: Context) -> str:
        told = []
        for id in ("", "x" * 255, "~x", "a\0b", "\ud800", 7, None):
            try:
                ctx.patched(id)  # type: ignore[arg-type]
            except InvalidCall as error:
                told.append(str(error))
        return "\n".join(told)

    async with Durable(dsn, serve=[deployed(asks)]) as app:
        told = await app.run("changing_in_test_patches")
    assert told.count("cannot name a patch") == 7


async def test_any_text_can_name_a_patch(dsn: str) -> None:
    name = '{"Käse",\\ NULL}'

    async def asks(ctx: Context) -> bool:
        return ctx.patched(name)

    async with Durable(dsn, serve=[deployed(asks)]) as app:
        assert await (await app.start("changing_in_test_patches", id="a")).result() is True
        assert await patches(app, "a") == [[name]]
