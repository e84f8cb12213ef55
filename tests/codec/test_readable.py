"""``durable.readable``: what people see of a payload in SQL, on a real Postgres."""

from __future__ import annotations

import json
import math
import struct
import time as clock
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from importlib import resources
from typing import Any, TypeAlias
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
import msgpack
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from durable._codec.failures import encode_failure
from durable._codec.signatures import Signature
from durable._codec.values import encode
from durable._store.postgres.statements import with_schema

from .values import values

SCHEMA = "we ird"
Read: TypeAlias = Callable[[list[bytes]], Awaitable[list[Any]]]


@pytest_asyncio.fixture
async def connection(empty_dsn: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(empty_dsn)
    script = resources.files("durable._store.postgres") / "sql" / "readable.sql"
    await connection.execute(f'create schema "{SCHEMA}"')
    await connection.execute(with_schema(script.read_text(encoding="utf-8"), SCHEMA))
    yield connection
    await connection.close()


@pytest.fixture
def read(connection: asyncpg.Connection[Any]) -> Read:
    async def read(payloads: list[bytes]) -> list[Any]:
        rows = await connection.fetch(
            f'select "{SCHEMA}".readable(p)::text as shown from unnest($1::bytea[]) p', payloads
        )
        return [json.loads(row["shown"], parse_float=Decimal) for row in rows]

    return read


def shown(value: Any) -> Any:
    """What ``readable`` should make of a value, in Python."""
    match value:
        case None | bool() | int():
            return value
        case float():
            if math.isfinite(value):
                return value
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        case str():
            return value.replace("\0", "␀")
        case bytes():
            return "\\x" + value.hex()
        case list() | tuple():
            return [shown(each) for each in value]
        case set() | frozenset():
            return [shown(each) for each in sorted(value, key=lambda each: encode(each)[1:])]
        case dict():
            return {key_text(key): shown(each) for key, each in value.items()}
        case datetime() | time():
            zone = value.tzinfo
            if isinstance(zone, ZoneInfo):
                return f"{value.isoformat()}[{zone.key}]"
            return value.isoformat().replace("+00:00", "Z") if zone is UTC else value.isoformat()
        case date():
            return value.isoformat()
        case timedelta():
            seconds = Decimal(value // timedelta(microseconds=1)) / 1_000_000
            return f"{seconds:.6f}".removesuffix(".000000") + "s"
    return str(value)


def key_text(key: Any) -> str:
    text = shown(key)
    return text if isinstance(text, str) else json_text(text)


def json_text(value: Any) -> str:
    """JSON as written piece by piece: no blanks."""
    match value:
        case list():
            return "[" + ",".join(json_text(each) for each in value) + "]"
        case dict():
            return "{" + ",".join(f"{json_text(k)}:{json_text(v)}" for k, v in value.items()) + "}"
        case str():
            return json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


def plain_keys(value: Any) -> bool:
    """No floats in keys: Python and Postgres write the same number in two ways."""
    match value:
        case dict():
            return all(keyable(k) and plain_keys(v) for k, v in value.items())
        case list() | tuple():
            return all(map(plain_keys, value))
    return True


def keyable(key: Any) -> bool:
    if isinstance(key, tuple | frozenset):
        return all(map(keyable, key))
    escaped = isinstance(key, str) and any(ord(c) < 32 or ord(c) == 127 for c in key)
    return not isinstance(key, float) and not escaped


def agrees(told: Any, wanted: Any) -> bool:
    """Floats as floats: Python and Postgres write one and the same with other digits."""
    match wanted:
        case float():
            return isinstance(told, int | Decimal) and float(told) == wanted
        case list():
            return len(told) == len(wanted) and all(map(agrees, told, wanted))
        case dict():
            return told.keys() == wanted.keys() and all(
                agrees(told[key], each) for key, each in wanted.items()
            )
    return type(told) is type(wanted) and bool(told == wanted)


async def test_readable_agrees_with_python_on_any_value(read: Read) -> None:
    drawn: list[Any] = []

    @settings(max_examples=250, deadline=None, database=None)
    @given(values.filter(plain_keys))
    def draw(value: Any) -> None:
        drawn.append(value)

    draw()
    for value, told in zip(drawn, await read([encode(each) for each in drawn]), strict=True):
        assert agrees(told, shown(value)), (value, told)


async def test_readable_never_fails_whatever_the_bytes(read: Read) -> None:
    drawn: list[bytes] = []

    @settings(max_examples=250, deadline=None, database=None)
    @given(st.binary(max_size=50), values, st.integers(0), st.integers(0, 255))
    def draw(body: bytes, value: Any, at: int, byte: int) -> None:
        damaged = bytearray(encode(value))
        damaged[at % len(damaged)] = byte
        drawn.extend([body, b"\x01" + body, bytes(damaged), bytes(damaged)[: at % len(damaged)]])

    draw()
    assert len(await read(drawn)) == len(drawn)


SHOWN: list[tuple[Any, Any]] = [
    (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00Z"),
    (
        datetime(2026, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")),
        "2026-01-01T00:00:00+01:00[Europe/Berlin]",
    ),
    (timedelta(days=1, microseconds=5), "86400.000005s"),
    (Decimal("1.10"), "1.10"),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (2**200, 2**200),
    (-(2**200), -(2**200)),
    (b"\x00\xff", "\\x00ff"),
    ({1: "a", (1, "x"): 2, None: 3}, {"1": "a", '[1,"x"]': 2, "null": 3}),
    ({"nested": {(1, 2): {"k": [(), set()]}}}, {"nested": {"[1,2]": {"k": [[], []]}}}),
    ({frozenset({(1, 2)}): {}}, {"[[1,2]]": {}}),
    ("a\0b\\000\\c\u20ac\U0001f600", "a␀b\\000\\c\u20ac\U0001f600"),
    (
        [float("nan"), float("-inf"), 1e308, 5e-324, -1.5],
        ["NaN", "-Infinity", 1e308, 5e-324, -1.5],
    ),
    ([], []),
    ({}, {}),
    (None, None),
]


async def test_readable_shows(read: Read) -> None:
    told = await read([encode(value) for value, _ in SHOWN])
    for (value, expected), each in zip(SHOWN, told, strict=True):
        assert agrees(each, expected), (value, each)


async def test_a_call_reads_as_its_arguments(read: Read) -> None:
    def ship(to: str, *, fast: bool) -> None: ...

    assert await read([Signature(ship).encode_call(("x",), {"fast": True})]) == [
        ["x", {"fast": True}]
    ]


ODD = [
    (b"", "empty"),
    (b"\x02\x01", "another version"),
    (b"\x01", "too early"),
    (b"\x01\xdd\xff\xff\xff\xff", "too early"),
    (b"\x01\xdb\xff\xff\xff\xff", "too early"),
    (b"\x01\x01\x01", "follows its end"),
    (b"\x01\xa2\xff\xff", "not UTF-8"),
    (b"\x01\xa3\xed\xa0\x80", "not UTF-8"),
    (b"\x01\xc1", "0xc1"),
    (b"\x01" + b"\x91" * 65 + b"\x01", "64 deep"),
    (b"\x01" + msgpack.packb(msgpack.ExtType(50, b"")), "extension type 50"),
]


async def test_odd_payloads_are_unreadable_in_words(read: Read) -> None:
    told = await read([payload for payload, _ in ODD])
    for (payload, why), each in zip(ODD, told, strict=True):
        assert why in each["unreadable"], payload


async def test_short_floats_and_compressed_payloads_are_read(
    read: Read, connection: asyncpg.Connection[Any]
) -> None:
    assert await read([b"\x01\xca" + struct.pack(">f", 1.5)]) == [Decimal("1.5")]
    await connection.execute("create table kept (payload bytea)")
    await connection.execute("insert into kept values ($1)", encode(["a" * 100] * 1000))
    told = await connection.fetchval(
        f'select jsonb_array_length("{SCHEMA}".readable(payload)) from kept'
    )
    assert told == 1000


async def test_a_failure_reads_in_short(connection: asyncpg.Connection[Any]) -> None:
    try:
        raise ValueError("no \0 such thing")
    except ValueError as error:
        payload = encode_failure(error, attempts=3)
    query = f'select "{SCHEMA}".readable_failure($1)::text'
    told = json.loads(await connection.fetchval(query, payload))
    assert (told["type"], told["message"], told["attempts"]) == ("ValueError", "no ␀ such thing", 3)
    assert told["traceback"].endswith("ValueError: no ␀ such thing")
    for other in (b"", encode(5), encode([])):
        assert "unreadable" in json.loads(await connection.fetchval(query, other))
    assert await connection.fetchval(query, None) is None


async def test_readable_runs_in_parallel_queries(connection: asyncpg.Connection[Any]) -> None:
    await connection.execute("create table many (payload bytea)")
    await connection.executemany("insert into many values ($1)", [(encode({"n": 1}),)] * 500)
    for name, on in [("force_parallel_mode", "on"), ("debug_parallel_query", "on")]:
        if await connection.fetchval("select 1 from pg_settings where name = $1", name):
            await connection.execute(f"set {name} = {on}")
    garbage = (
        f"""select count(*) from many where "{SCHEMA}".readable(payload || 'x') ? 'unreadable'"""
    )
    assert await connection.fetchval(garbage) == 500


async def test_a_thousand_small_payloads_take_well_under_a_second(read: Read) -> None:
    order = {"id": UUID(int=1), "lines": [{"sku": "a", "qty": 2}] * 3, "total": Decimal("9.90")}
    payloads = [encode([order, number]) for number in range(1000)]
    await read(payloads[:10])
    began = clock.perf_counter()
    await read(payloads)
    assert clock.perf_counter() - began < 1
