"""The shop of ``durable demo``: ordinary user code. ``durable worker durable.cli.demo.shop``
serves it."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass

import asyncpg

from durable import Context, Retry, activity, attempt, workflow


@dataclass
class Order:
    id: str
    email: str
    sku: str
    pieces: int
    cents: int


@activity(retry=Retry(attempts=20, delay=0.2, delay_max=1))
async def charge(order_id: str, cents: int) -> str:
    """Ask the payment provider, a process of its own, under a key that stays the same
    whatever crashes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(os.environ["PROVIDER_PORT"]))
    try:
        request = {"key": attempt().idempotency_key, "order": order_id, "cents": cents}
        writer.write(json.dumps(request).encode() + b"\n")
        answer = json.loads(await reader.readline() or b'{"error": "hung up"}')
    finally:
        writer.close()
    if "error" in answer:
        raise ConnectionError(f"the provider says: {answer['error']}")
    return str(answer["payment"])


@activity(retry=Retry(attempts=3, delay=0.2))
async def record_payment(conn: asyncpg.Connection, order_id: str, payment: str, cents: int) -> None:
    await conn.execute(
        "insert into shop.payment (order_id, payment, cents) values ($1, $2, $3)",
        order_id, payment, cents,
    )  # fmt: skip


@activity(retry=Retry(attempts=2, delay=0.2))
async def reserve(conn: asyncpg.Connection, order_id: str, sku: str, pieces: int) -> None:
    """Fails while the shelf is empty: ``pieces`` of the stock has a check."""
    await conn.execute("update shop.stock set pieces = pieces - $2 where sku = $1", sku, pieces)
    await conn.execute(
        "insert into shop.reservation (order_id, sku, pieces) values ($1, $2, $3)",
        order_id, sku, pieces,
    )  # fmt: skip


@activity
async def notify(email: str, payment: str) -> str:
    await asyncio.sleep(0.05)
    return f"told {email} about {payment}"


@workflow
async def place(ctx: Context, order: Order) -> str:
    payment = await ctx.activity(charge, order.id, order.cents)
    await ctx.transaction(record_payment, order.id, payment, order.cents)
    await ctx.transaction(reserve, order.id, order.sku, order.pieces)
    await ctx.sleep(2)
    await ctx.activity(notify, order.email, payment)
    return payment
