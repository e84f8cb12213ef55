"""Hints: whoever listens is told, and many who tell at once do it by few statements."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from durable._store.postgres.store import Store
from durable._store.protocol import Hint, Unavailable


@pytest_asyncio.fixture
async def store(dsn: str) -> AsyncIterator[Store]:
    store = await Store.open(dsn, name="tells")
    yield store
    await store.close()


@pytest_asyncio.fixture
async def heard(dsn: str) -> AsyncIterator[asyncio.Queue[str]]:
    heard: asyncio.Queue[str] = asyncio.Queue()
    connection = await asyncpg.connect(dsn)
    for channel in (*Hint, "end"):
        await connection.add_listener(channel, lambda *told: heard.put_nowait(told[2]))
    yield heard
    await connection.close()


async def all_heard(dsn: str, heard: asyncio.Queue[str]) -> list[str]:
    """What has been told until now: notifications come in the order of their commits."""
    connection = await asyncpg.connect(dsn)
    await connection.execute('notify "end"')
    await connection.close()
    told = []
    while (each := await heard.get()) != "end":
        told.append(each)
    return told


async def test_a_hundred_who_tell_at_once_are_told_of_once(
    dsn: str, store: Store, heard: asyncio.Queue[str]
) -> None:
    await asyncio.gather(*(store.notify(Hint.DUE) for _ in range(100)), store.notify(Hint.ENDED))
    assert sorted(await all_heard(dsn, heard)) == sorted([Hint.DUE, Hint.ENDED])


async def test_one_who_tells_while_another_is_telling_is_told_of_again(
    dsn: str, store: Store, heard: asyncio.Queue[str]
) -> None:
    first = asyncio.create_task(store.notify(Hint.DUE))
    while not store._hints_begun:
        await asyncio.sleep(0)
    await asyncio.gather(first, store.notify(Hint.DUE))  # of what the first may not have seen
    assert await all_heard(dsn, heard) == [Hint.DUE, Hint.DUE]


async def test_who_was_not_told_of_is_told_of_by_the_next(
    dsn: str, store: Store, heard: asyncio.Queue[str]
) -> None:
    session: Any = store._calls.session
    first = asyncio.create_task(store.notify(Hint.DUE))
    second = asyncio.create_task(store.notify(Hint.DUE))
    while not store._hints_begun:
        await asyncio.sleep(0)
    session.connection.terminate()  # in the middle of the first
    with pytest.raises(Unavailable):
        await first
    await second
    assert store._hints_begun == 2  # the first may have been heard all the same
    assert (await all_heard(dsn, heard))[-1:] == [Hint.DUE]
