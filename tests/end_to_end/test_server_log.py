"""What the server's log shows: whose statement, which one, and how many when nothing happens."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import NamedTuple

import asyncpg
import pytest

from durable import Client, Context, Durable, activity, workflow
from durable._migrating import migrate
from durable._runtime import chores, claimer, process
from durable.embedded import FAST_AND_FORGETFUL, EmbeddedPostgres

LOGGING = {
    "log_statement": "all",
    "log_line_prefix": "@@%a|%n|",
    "log_parameter_max_length": "0",
    "jit": "on",
}

# Statements that asyncpg writes: transactions, subscriptions, questions about types.
DRIVERS = re.compile(
    r"BEGIN|COMMIT|ROLLBACK|(UN)?LISTEN|SELECT\s+(t\.oid|current_setting|set_config)"
    r"|WITH RECURSIVE typeinfo_tree",
)


class Entry(NamedTuple):
    application: str
    at: float
    statement: str

    @property
    def name(self) -> str:
        found = re.match(r"/\* durable: (\w+) \*/", self.statement)
        return found[1] if found else ""


class Server(EmbeddedPostgres):
    def said(self) -> list[Entry]:
        """The statements of our sessions, in order."""
        text = (self.directory / "server.log").read_text()
        entries = []
        for line in text.split("@@")[1:]:
            application, at, message = line.split("|", 2)
            found = re.match(r"LOG:\s+(?:statement|execute \S+): (.*)", message, re.DOTALL)
            if found and application.startswith("durable:"):
                entries.append(Entry(application, float(at), found[1].strip()))
        return entries


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(settings={**FAST_AND_FORGETFUL, **LOGGING}) as server:
        yield server


@activity
async def noted(x: int) -> int:
    return x


async def counted(conn: asyncpg.Connection) -> int:
    return int(await conn.fetchval("/* the user's */ select 7"))


@workflow
async def logged_run(ctx: Context, x: int) -> int:
    await ctx.activity(noted, x)
    await ctx.sleep(0.01)
    return await ctx.transaction(counted)


async def work(app: Durable, url: str) -> None:
    """A little of everything."""
    await asyncio.gather(*(app.run(logged_run, x, id=f"run-{x}") for x in range(5)))
    async with Client(url) as client:
        handle = await client.start("logged_run", 9, id="from elsewhere")
        assert await handle.result() == 7
        await client.history("run-1")
        await client.count_by_status()
        await client.handle("run-1").cancel()


async def until_idle(server: Server, beats: int) -> list[Entry]:
    """The last statements of our sessions, as soon as they are only heartbeats."""
    async with asyncio.timeout(45):
        while True:
            last = server.said()[-beats:]
            if len(last) == beats and {each.name for each in last} == {"beat"}:
                return last
            await asyncio.sleep(0.1)


async def test_each_statement_says_what_it_is_and_an_idle_worker_sends_one_a_second(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is done now and then would be seen between any two beats.
    monkeypatch.setattr(chores, "SWEEP_SECONDS", 0.1)
    monkeypatch.setattr(claimer, "RECONCILE_SECONDS", 0.1)
    url = server.url()
    async with Durable(url, serve=[logged_run]) as app:
        await work(app, url)
        idle = await until_idle(server, beats=4)
    assert (idle[-1].at - idle[0].at) / 3 > 0.95

    said = server.said()
    unnamed = [
        each for each in said if not each.name and not DRIVERS.match(each.statement)
        and not each.statement.startswith("/* the user's */")
    ]  # fmt: skip
    assert not unnamed
    names = {each.name for each in said}
    assert names >= {"beat", "claim", "commit", "start_many", "record", "history"}
    # Sessions are named after their worker, as the table of workers names it.
    applications = {each.application for each in said}
    assert applications == {"durable:migrate", f"durable:{process.name()}"[:63], "durable:client"}


async def test_without_notify_nobody_listens_and_all_is_found_by_polling(server: Server) -> None:
    url = server.url()
    await migrate(url)
    async with Durable(url, serve=[logged_run], notify=False), Client(url, notify=False) as client:
        handles = [await client.start("logged_run", x) for x in range(3)]
        assert [await each.result() for each in handles] == [7, 7, 7]
        assert await client.handle(handles[0].id).cancel() is False
    hints = [each for each in server.said() if re.search("(?i)listen|notify", each.statement)]
    assert hints == []
