"""The commands that change many runs, or begin one out of another."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from durable import Client, Context, Durable, Retry, Status, activity, workflow
from durable.cli import main

mood = {"broken": True, "first": "charge"}


@activity(name="cli_many/fragile", retry=Retry(attempts=1))
async def fragile(x: object) -> object:
    if mood["broken"]:
        raise ValueError("not yet")
    return x


@workflow(name="cli_many/run")
async def run(ctx: Context, x: int) -> object:
    return await ctx.activity(fragile, x)


@workflow(name="cli_many/waits")
async def waits(ctx: Context) -> object:
    first = await ctx.activity(fragile, mood["first"])
    await ctx.sleep(3600)
    return first


class Told(NamedTuple):
    code: int
    out: str
    err: str


async def durable(*arguments: str) -> Told:
    """The command in a thread of its own: what it imports is there already."""
    out, err = io.StringIO(), io.StringIO()

    def call() -> int:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main(list(arguments))
            except SystemExit as ended:
                return int(ended.code or 0)
        raise AssertionError("it ends with a code")

    return Told(await asyncio.to_thread(call), out.getvalue(), err.getvalue())


async def until(app: Durable, id: str, status: Status) -> None:
    while await app.handle(id).status() is not status:
        await asyncio.sleep(0.01)


async def test_many_are_retried_cancelled_and_terminated_by_what_they_have_in_common(
    dsn: str,
) -> None:
    on = ("--database", dsn)
    mood["broken"] = True
    async with Durable(dsn, serve=[run]) as app:
        for n in range(3):
            await app.start(run, n, id=f"order-{n}")
            await until(app, f"order-{n}", Status.FAILED)
    retried = await durable("retry", "--workflow", "cli_many/run", "--limit", "2", *on)
    assert retried == (0, "order-2 will be retried.\norder-1 will be retried.\n", "")
    some = await durable("retry", "order-0", "order-1", "nobody", *on)
    assert (some.code, some.out) == (1, "order-0 will be retried.\n")
    assert "it is pending; only a failed" in some.err
    assert "nobody" in some.err
    found = await durable("retry", "--status", "failed", "-o", "json", *on)
    assert (found.code, json.loads(found.out)) == (0, [])
    ended = await durable("terminate", "--id-prefix", "order", "--reason", "no", "-o", "json", *on)
    facts = json.loads(ended.out)
    assert [(each["done"], each["why"]) for each in facts] == [(True, None)] * 3
    again = await durable("terminate", "order-1", "-o", "json", *on)
    assert (again.code, json.loads(again.out)[0]["done"]) == (1, False)
    assert (await durable("cancel", "--workflow", "cli_many/run", *on)).out == "No runs.\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("retry", "nobody"), 4, "nobody"),
        (("retry", "nobody", "nowhere"), 4, "nowhere"),
        (("retry",), 2, "say which runs: `durable retry ID ...`"),
        (("terminate", "--limit", "3"), 2, "say which runs"),
        (("cancel", "a", "--workflow", "b"), 2, "not both"),
        (("restart", "nobody"), 4, "nobody"),
        (("list", "--stuck", "--status", "failed"), 2, "never both"),
        (("fork", "a", "json", "--at", "1", "--result", "{"), 2, "--result is no JSON"),
        (("fork", "nobody", "json", "--at", "1"), 4, "nobody"),
    ],
)
async def test_what_cannot_be_done_has_its_exit_code(
    dsn: str, arguments: tuple[str, ...], code: int, words: str
) -> None:
    told = await durable(*arguments, "--database", dsn)
    assert told.code == code
    assert words in told.err


async def test_a_lost_database_is_another_exit_code_for_many_too() -> None:
    nowhere = ("--database", "postgresql://localhost:1/x")
    assert (await durable("retry", "a", "b", *nowhere)).code == 8


async def test_a_stuck_run_is_listed_with_its_report_and_forked_out_of(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on: Any = ("--database", dsn)
    mood.update(broken=False, first="charge")
    async with Durable(dsn, serve=[waits]) as app:
        await app.start(waits, id="order-1")
        await until(app, "order-1", Status.WAITING)
    mood["first"] = "check"
    async with Durable(dsn, serve=[waits]) as app:
        await app.handle("order-1").cancel()
        await until(app, "order-1", Status.STUCK)
    listed = (await durable("list", "--stuck", *on)).out.splitlines()
    assert listed[0] == "order-1  cli_many/waits"
    assert "At position 1 the journal holds the result of activity" in listed[1]
    assert listed[2].startswith("  Likely cause: ")
    shown = (await durable("show", "order-1", *on)).out.splitlines()
    assert shown[-6] == "stuck:"
    assert "(args[0] was 'charge', and is 'check' now)" in shown[-5]
    assert shown[-2].endswith(f": durable fork order-1 {__name__} --at 1")
    assert shown[-1] == "at once, when mended: durable retry order-1"
    refused = await durable("fork", "order-1", __name__, "--at", "2", *on)
    assert (refused.code, refused.out) == (1, "")
    given = ("--at", "1", "--id", "b", "--result", '"by hand"')
    unfit = await durable("fork", "order-1", __name__, *given, *on)
    assert "with other arguments" in unfit.err
    mood["first"] = "charge"
    forked = await durable("fork", "order-1", __name__, *given, *on)
    mood["first"] = "check"
    assert forked.out == "b shares the first event of order-1 and goes on.\n"
    told = await durable("fork", "order-1", __name__, "--at", "1", "--id", "c", "-o", "json", *on)
    assert json.loads(told.out) == {"id": "c", "of": "order-1", "at": 1}
    assert (await durable("restart", "order-1", *on)).out == "order-1 begins anew.\n"
    async with Durable(dsn, serve=[waits]) as app:
        for id in ("c", "order-1"):
            await until(app, id, Status.WAITING)
        await until(app, "b", Status.STUCK)
    mood["first"] = "charge"
    async with Durable(dsn, serve=[waits]) as app:
        await until(app, "b", Status.WAITING)
    async with Client(dsn) as client:
        results = [[each["result"] for each in await client.history(id)][-1] for id in ("b", "c")]
    assert results == ["by hand", "check"]
