"""What a client does while a canonical workflow runs, through whatever befalls the database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import asyncpg

from durable import Client, Handle
from durable._codec.values import decode
from durable._store.protocol import Letter
from durable.errors import RetryRefused, StoreUnavailable
from tests.proof import history

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
