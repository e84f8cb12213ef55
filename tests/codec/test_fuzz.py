"""Bytes from outside, under every annotation, in calls, failures and views: a value or a
refusal in words, and nothing else."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import asyncpg
from hypothesis import given, settings
from hypothesis import strategies as st

from durable import Client
from durable._codec.failures import decode_failure, encode_failure, rebuild
from durable._codec.signatures import Signature
from durable._codec.values import decode, encode
from durable.errors import DecodeError, PayloadTooLarge

from .test_classes import CASES, Frozen, Wide
from .test_failures import CardDeclined, Slotted, Sold
from .values import values


def takes(a: int, either: Frozen | Wide, *more: Frozen, named: list[Wide], **rest: int) -> None: ...


SEEDS = [
    *(encode(value) for value, _ in CASES),
    Signature(takes).encode_call((1, Wide(1), Frozen(2)), {"named": [Wide(1)], "z": 3}),
    encode_failure(ExceptionGroup("all", [CardDeclined("1", code=5), Sold("a", 2)])),
]
ANNOTATIONS = [expected for _, expected in CASES]
payloads = st.one_of(
    st.binary(max_size=60).map(lambda body: b"\x01" + body),
    values.map(encode),
    st.builds(
        lambda seed, at, byte, end: (
            seed[: at % len(seed)] + bytes([byte]) + seed[at % len(seed) + 1 :]
        )[: end or None],
        st.sampled_from(SEEDS), st.integers(0, 400), st.integers(0, 255), st.integers(-3, 0),
    ),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(payloads, st.sampled_from(ANNOTATIONS))
def test_any_bytes_under_any_annotation_are_a_value_or_a_refusal(p: bytes, expected: Any) -> None:
    with contextlib.suppress(DecodeError, PayloadTooLarge):
        decode(p, expected)
    with contextlib.suppress(DecodeError, PayloadTooLarge):
        Signature(takes).decode_call(p)
    with contextlib.suppress(DecodeError, PayloadTooLarge):
        rebuild(decode_failure(p), [CardDeclined, Slotted, Sold, OSError])


async def test_views_show_whatever_stands_in_the_tables(dsn: str) -> None:
    drawn: list[bytes] = [b"", b"\x02\x01", b"\x01" + b"\x91" * 999]

    @settings(max_examples=120, deadline=None, database=None)
    @given(payloads)
    def draw(payload: bytes) -> None:
        drawn.append(payload)

    draw()
    async with Client(dsn) as client:
        handle = await client.start("nobody", id="r")
        connection = await asyncpg.connect(dsn)
        run = await connection.fetchval("select run from durable.run")
        await connection.execute(
            "insert into durable.journal (run, position, op, kind, name, input, result, failure, "
            "at, key) select $1, n - 1, n, 'activity', 'x', p, case when n % 2 = 0 then p end, "
            "case when n % 2 = 1 then p end, now(), int8send(n) || int8send(n) "
            "from unnest($2::bytea[]) with ordinality u(p, n)",
            run,
            drawn,
        )
        rows = await connection.fetch(
            "select input::text, result::text, failure::text, traceback from durable.history "
            "order by position"
        )
        await connection.fetch("select * from durable.runs")
        await connection.fetch("select * from durable.waiting")
        assert len(await client.history("r")) == len(drawn)
        assert (await handle.describe()).events == len(drawn)
        await connection.close()
    for payload, row in zip(drawn, rows, strict=True):
        with contextlib.suppress(DecodeError):
            decode(payload)
            shown = json.loads(row["input"])
            assert not (isinstance(shown, dict) and "unreadable" in shown), payload
