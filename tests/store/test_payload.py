"""``durable.payload``: what SQL sends is read in Python as itself."""

from __future__ import annotations

import json
from typing import Any

import asyncpg
import pytest

from durable._codec.values import PAYLOAD_BYTES_MAX, decode

from .stage import Stage

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2**63 - 1, -(2**63), 2**64 - 1, 2**64, 0.5, -1e-300, 1.0,
    "", "a", "x" * 31, "x" * 32, "x" * 255, "x" * 256, "x" * 65_535, "x" * 65_536, "žluťoučký 🐴",
    [], [1, [2, [3]]], list(range(15)), list(range(16)), [None] * 65_536,
    {}, {"a": 1, "b": {"c": None}}, {f"k{n}": n for n in range(16)},
]  # fmt: skip


async def test_it_is_what_python_reads(stage: Stage) -> None:
    for value in VALUES:
        payload = await stage.value("select durable.payload($1::jsonb)", json.dumps(value))
        read = decode(payload)
        assert read == value
        assert type(read) is type(value)


async def test_it_reads_back_as_jsonb(stage: Stage) -> None:
    for value in VALUES:
        if len(json.dumps(value)) < 10_000:
            same = "select durable.readable(durable.payload($1::jsonb)) = $1::jsonb"
            assert await stage.value(same, json.dumps(value)), value


async def test_sql_null_is_none(stage: Stage) -> None:
    assert decode(await stage.value("select durable.payload(null)")) is None


@pytest.mark.parametrize("text", ["[" * 70 + "]" * 70, json.dumps("x" * PAYLOAD_BYTES_MAX)])
async def test_what_cannot_be_read_back_is_refused(stage: Stage, text: str) -> None:
    with pytest.raises((asyncpg.DataError, asyncpg.ProgramLimitExceededError)):
        await stage.value("select durable.payload($1::jsonb)", text)
