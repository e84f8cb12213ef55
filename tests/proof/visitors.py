"""What a client does while a canonical workflow runs, through whatever befalls the database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import asyncpg

from durable import Client, Handle, RunClosed, Signal, Update, UpdateFailed, UpdateRejected
from durable._client import asking
from durable._codec.values import decode
from durable._store.protocol import Letter
from durable.errors import RetryRefused, StoreUnavailable
from tests.proof import history

word = Signal[int]("canon.word")
add = Update[int, int]("canon.add")

Meanwhile = Callable[[Client, Handle[Any]], Coroutine[Any, Any, None]]


# What a client sees of a database that is not there, by ours or by asyncpg.
AWAY = (
    StoreUnavailable,
    OSError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)


async def cancel(client: Client, handle: Handle[Any]) -> None:
    accepted = None
    while accepted is None:  # a repeated request is the same one: it has one key
        with suppress(StoreUnavailable):
            if await client.store.journal.read([(handle._run or 0, 1)]):
                asked = Letter("cancel", None, "once", None)
                answer = await client.store.inbox.deliver(handle.id, asked, meant=handle._run)
                accepted = answer.state == "accepted"
                await client._news_for(answer.run)
        await asyncio.sleep(0.01)
    history.note("sent", run=handle.id, what="cancel", accepted=accepted)


async def terminate(client: Client, handle: Handle[Any]) -> None:
    while True:
        with suppress(StoreUnavailable):
            if await client.store.journal.read([(handle._run or 0, 1)]):
                await handle.terminate("enough")
                return
        await asyncio.sleep(0.01)


async def hold(client: Client, handle: Handle[Any]) -> None:
    """Until it stands still, or is over already."""
    for verb, ends in ((handle.pause, ("paused",)), (handle.resume, ())):
        while True:
            with suppress(StoreUnavailable):
                is_open = await verb()
                if not is_open or not ends or (await handle.status()).value in ends:
                    break
            await asyncio.sleep(0.01)


async def answer(client: Client, handle: Handle[Any]) -> None:
    accepted = None
    while accepted is None:
        with suppress(StoreUnavailable):
            for row in await client.store.journal.read([(handle._run or 0, 1)]):
                (token,) = decode(row.input or b"")
                accepted = await client.resolve(token, "yes")
                break
        await asyncio.sleep(0.01)
    history.note("sent", run=handle.id, what="answer", accepted=accepted)


async def say(handle: Handle[Any], n: int) -> None:
    """Until it is accepted, or the run is closed."""
    accepted = None
    while accepted is None:
        try:
            await handle.signal(word, n, key=f"word {n}")
            accepted = True
        except RunClosed:
            accepted = False
        except StoreUnavailable:
            await asyncio.sleep(0.01)
        history.note("sent", run=handle.id, what="signal", key=f"sent/word {n}", nth=n,
                     accepted=bool(accepted))  # fmt: skip


async def ask(client: Client, handle: Handle[Any], n: int, *, waits: bool = True) -> None:
    """Until the answer is known, or only until the question is in the database. Asked again it is
    the same question."""
    message = add(n, key=f"add {n}")
    while True:
        facts: dict[str, Any] = {"run": handle.id, "key": f"sent/{message.key}", "answer": None}
        try:
            if not waits:
                await asking.send(client, handle.id, message, meant=handle._run)
                history.note("asked", **facts)
                return
            facts |= {"answer": await handle.update(message), "status": "completed"}
        except StoreUnavailable:
            await asyncio.sleep(0.01)
            continue
        except UpdateRejected:
            facts["status"] = "rejected"
        except UpdateFailed:
            facts["status"] = "failed"
        except RunClosed:
            facts["status"] = "closed"
        history.note("answered", **facts)
        return


async def converse(client: Client, handle: Handle[Any]) -> None:
    """Of the last question, which the run has begun to answer, it will not think to the end."""
    await ask(client, handle, 1)
    await ask(client, handle, -1)
    await ask(client, handle, 13)
    await ask(client, handle, 100, waits=False)
    await say(handle, 0)
    await ask(client, handle, 100)


async def relay(client: Client, handle: Handle[Any]) -> None:
    """All at once, one of them twice: the run goes on as another three times meanwhile."""
    await ask(client, handle, 1, waits=False)
    for n in (0, 1, 2, 0, 3):
        await say(handle, n)
    await ask(client, handle, 1)
    await say(handle, 1)


async def retry(client: Client, handle: Handle[Any]) -> None:
    unsure = False
    while True:
        try:
            if unsure or (await handle.status()).value == "failed":
                await handle.retry()
                return
        except StoreUnavailable:
            unsure = True
        except RetryRefused:
            if unsure and (await handle.status()).value != "failed":
                return  # it was accepted unseen
        await asyncio.sleep(0.01)
