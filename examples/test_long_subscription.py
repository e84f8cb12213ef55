"""A subscription that lasts for years: each year is a run of its own, under one id.

Needs pytest and pytest-asyncio with `asyncio_mode = "auto"` in the settings of pytest.
"""

from __future__ import annotations

from datetime import timedelta

from durable import Context, Signal, activity, workflow
from durable.testing import Environment

MONTHS = 12  # in one run: a journal stays short, however long the customer stays

switch = Signal[int]("switch")  # to another price
leave = Signal[None]("leave")


@activity
async def bill(customer: str, cents: int) -> None:
    raise NotImplementedError("calls the payment provider")


@workflow
async def membership(ctx: Context, customer: str, cents: int, paid: int = 0) -> int:
    leaves = ctx.receive(leave)
    switches = ctx.receive(switch)
    for _ in range(MONTHS):
        await ctx.activity(bill, customer, cents)
        paid += cents
        await ctx.sleep(days=30)
        if switches.done():
            cents = switches.result()
            switches = ctx.receive(switch)
        if leaves.done():
            return paid
    # What was sent and not looked at is there for the next year.
    return ctx.continue_as_new(customer, cents, paid)


async def test_ten_years_of_a_customer(durable: Environment) -> None:
    durable.stand_in(bill)
    before = durable.now()
    member = await durable.start(membership, "ada", 999, id="ada")

    await durable.advance(days=360 * 4 + 10)
    await member.signal(switch, 1299)
    await durable.advance(days=360 * 6)
    await member.signal(leave)

    months = 120 + 1
    switched = 4 * 12 + 1
    assert await member.result() == switched * 999 + (months - switched) * 1299
    assert len(durable.calls(bill)) == months
    assert durable.now() == before + timedelta(days=30 * months)
    assert (await member.describe()).events < 3 * MONTHS  # of its last year
