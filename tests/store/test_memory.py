"""The store in memory: what is its own, and that people see the same of a payload in both."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from importlib import resources
from typing import Any

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durable._codec.failures import encode_failure
from durable._codec.values import encode
from durable._store.memory.readable import readable, readable_failure
from durable._store.memory.store import Store
from durable._store.memory.tables import Tables
from durable._store.postgres.statements import with_schema
from durable._store.protocol import Hint
from durable.errors import InvalidCall

from ..codec.test_readable import ODD, agrees, plain_keys
from ..codec.values import values
from .stage import MemoryStage

SHOW = 'select "s".readable(p)::text, "s".readable_failure(p)::text from unnest($1::bytea[]) p'


async def shown_by_postgres(dsn: str, payloads: list[bytes]) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(dsn)
    script = resources.files("durable._store.postgres") / "sql" / "readable.sql"
    try:
        await connection.execute('create schema "s"')
        await connection.execute(with_schema(script.read_text(encoding="utf-8"), "s"))
        rows = await connection.fetch(SHOW, payloads)
        return [tuple(json.loads(each, parse_float=Decimal) for each in row) for row in rows]
    finally:
        await connection.close()


def alike(mine: Any, theirs: Any) -> bool:
    """What cannot be read is told in other words here."""
    unreadable = [isinstance(each, dict) and "unreadable" in each for each in (mine, theirs)]
    return all(unreadable) or agrees(theirs, mine)


async def test_payloads_are_shown_as_postgres_shows_them(empty_dsn: str) -> None:
    drawn: list[bytes] = [payload for payload, _ in ODD]
    drawn.append(encode_failure(ValueError("no \0 such thing"), attempts=3))

    @settings(max_examples=250, deadline=None, database=None)
    @given(values.filter(plain_keys), st.binary(max_size=50))
    def draw(value: Any, body: bytes) -> None:
        drawn.extend([encode(value), body, b"\x01" + body])

    draw()
    for payload, theirs in zip(drawn, await shown_by_postgres(empty_dsn, drawn), strict=True):
        assert alike(readable(payload), theirs[0]), payload
        assert alike(readable_failure(payload), theirs[1]), payload
    assert readable(None) is readable_failure(None) is None


async def test_a_connection_of_postgres_cannot_be_joined_or_had() -> None:
    async with MemoryStage() as stage:
        with pytest.raises(InvalidCall, match="durable_database_url"):
            await stage.start("a", connection=object())
        with pytest.raises(InvalidCall, match="stand_in"):
            stage.store.outcomes.backend()


async def test_stores_of_one_database_see_each_other_and_hints_cross_threads() -> None:
    tables = Tables()
    heard = asyncio.Event()
    heartbeat = await Store(tables).open_heartbeat()
    heartbeat.on_news = heard.set

    await asyncio.to_thread(asyncio.run, Store(tables).notify(Hint.DUE))

    await heard.wait()
    await heartbeat.close()
    assert not tables.listeners[Hint.DUE]
