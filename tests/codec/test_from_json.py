"""``durable.payload``: jsonb as a payload, byte for byte what the codec writes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from importlib import resources
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from durable._codec.values import DEPTH_MAX, PAYLOAD_BYTES_MAX, decode, encode
from durable._store.postgres.statements import with_schema
from durable.errors import EncodeError, PayloadTooLarge

from .values import BORDERS

SCHEMA = "we ird"

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**200), 2**200),
    st.sampled_from(BORDERS),
    st.floats(allow_nan=False, allow_infinity=False),
    texts,
)
jsons = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20
)

BIG: list[Any] = [
    "a" * 31, "a" * 32, "ä" * 127, "a" * 255, "a" * 256, "a" * 65_535, "a" * 65_536,
    [0] * 15, [0] * 16, [0] * 65_535, [0] * 65_536,
    {str(n): n for n in range(15)}, {str(n): n for n in range(16)},
    {str(n): n for n in range(65_536)}, 2**120 - 1, 2**127, 2**128, -(2**2000), 10**300,
]  # fmt: skip


@pytest_asyncio.fixture
async def connection(empty_dsn: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(empty_dsn)
    script = resources.files("durable._store.postgres") / "sql" / "payload.sql"
    await connection.execute(f'create schema "{SCHEMA}"')
    await connection.execute(with_schema(script.read_text(encoding="utf-8"), SCHEMA))
    yield connection
    await connection.close()


async def packed(connection: asyncpg.Connection[Any], texts: list[str]) -> list[tuple[Any, bytes]]:
    """Each as Postgres keeps it (it sorts keys), and as a payload."""
    rows = await connection.fetch(
        f'select v::text as kept, "{SCHEMA}".payload(v::jsonb) as payload '
        "from unnest($1::text[]::jsonb[]) v",
        texts,
    )
    return [(json.loads(row["kept"]), row["payload"]) for row in rows]


async def test_sql_writes_what_python_writes(connection: asyncpg.Connection[Any]) -> None:
    drawn: list[Any] = [*BORDERS, *BIG]

    @settings(max_examples=250, deadline=None, database=None)
    @given(jsons)
    def draw(value: Any) -> None:
        drawn.append(value)

    draw()
    for kept, payload in await packed(connection, [json.dumps(each) for each in drawn]):
        assert payload == encode(kept)
        assert decode(payload) == kept


async def test_null_of_sql_is_none(connection: asyncpg.Connection[Any]) -> None:
    assert await connection.fetchval(f'select "{SCHEMA}".payload(null)') == encode(None)


async def test_what_the_codec_refuses_is_refused(connection: asyncpg.Connection[Any]) -> None:
    deep: Any = []
    for _ in range(DEPTH_MAX - 1):
        deep = [deep]
    [(_, payload)] = await packed(connection, [json.dumps(deep)])
    assert decode(payload) == deep
    large = "a" * PAYLOAD_BYTES_MAX
    for refused, why, error in ([deep], "64 deep", EncodeError), (large, "bytes", PayloadTooLarge):
        with pytest.raises(error):
            encode(refused)
        with pytest.raises(asyncpg.ProgramLimitExceededError, match=why):
            await packed(connection, [json.dumps(refused)])
    with pytest.raises(asyncpg.NumericValueOutOfRangeError):
        await packed(connection, ["1e-400"])
