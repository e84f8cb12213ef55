"""Money moves once: `python examples/payments.py`.

A payment is authorised, booked in our own ledger, captured when the parcel has left, and given back
if that does not happen in time. The provider gets the same idempotency key in every attempt. An
attempt whose answer was lost for good is not repeated blindly: the provider is asked.
"""

from __future__ import annotations

import asyncio
from typing import Literal

import asyncpg

from durable import Context, Durable, OutcomeUnknown, Retry, Signal, activity, attempt, workflow


class CardDeclined(Exception): ...


handed_over = Signal[str]("handed_over")  # the parcel's number
provider: dict[str, tuple[str, int, str]] = {}  # stands for the provider's ledger, by our key


@activity(raises=(CardDeclined,), retry=Retry(attempts=10, delay=1), record_start=True, timeout=20)
async def authorise(card: str, cents: int) -> str:
    if card == "stolen":
        raise CardDeclined(card)
    return provider.setdefault(attempt().idempotency_key, (card, cents, f"auth-{len(provider)}"))[2]


@activity
async def look_up(card: str, cents: int) -> str | None:
    """What the provider knows of such a payment, if it knows one."""
    return next((a for *known, a in provider.values() if known == [card, cents]), None)


@activity(retry=Retry(attempts=50, delay=1, delay_max=600))
async def settle(authorisation: str, how: Literal["captured", "released"]) -> str:
    return f"{authorisation} {how}"


async def book_payment(conn: asyncpg.Connection, authorisation: str, cents: int) -> None:
    await conn.execute("create table if not exists payment (id text primary key, cents bigint)")
    await conn.execute("insert into payment values ($1, $2)", authorisation, cents)


@workflow
async def pay(ctx: Context, card: str, cents: int, patience: float = 3 * 24 * 3600) -> str:
    try:
        authorisation = await ctx.activity(authorise, card, cents)
    except OutcomeUnknown:
        if (found := await ctx.activity(look_up, card, cents)) is None:
            raise
        authorisation = found
    await ctx.transaction(book_payment, authorisation, cents)
    try:
        async with asyncio.timeout(patience):
            await ctx.receive(handed_over)
    except TimeoutError:
        return await ctx.activity(settle, authorisation, "released")
    return await ctx.activity(settle, authorisation, "captured")


async def main() -> None:
    async with Durable() as app:
        handle = await app.start(pay, "visa", 4200)
        await handle.signal(handed_over, "JJD0001")
        print(await handle.result())


if __name__ == "__main__":
    asyncio.run(main())
