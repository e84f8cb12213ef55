"""A subscription that bills every 30 days, and its tests: a year passes in milliseconds.
Needs pytest, and pytest-asyncio in its auto mode."""

from __future__ import annotations

from datetime import timedelta

import pytest

from durable import Context, Retry, RunCancelled, activity, workflow
from durable.testing import Environment


class CardDeclined(Exception): ...


@activity(retry=Retry(attempts=5, delay=60, delay_max=3600), raises=(CardDeclined,))
async def charge(card: str, cents: int) -> str:
    raise NotImplementedError("calls the payment provider")


@activity
async def send_mail(address: str, subject: str) -> None:
    raise NotImplementedError("calls the mail provider")


@workflow
async def subscription(ctx: Context, card: str, address: str, months: int) -> str:
    try:
        for _ in range(months):
            await ctx.activity(charge, card, cents=999)
            await ctx.sleep(days=30)
    except CardDeclined:
        await ctx.activity(send_mail, address, "Your card was declined")
        return "ended: card declined"
    await ctx.activity(send_mail, address, "Will you stay with us?")
    return "ended: term is over"


@pytest.fixture(autouse=True)
def mail_works(durable: Environment) -> None:
    durable.stand_in(send_mail)


async def test_a_year_of_payments(durable: Environment) -> None:
    durable.stand_in(charge, returns="tx")
    before = durable.now()

    assert await durable.run(subscription, "visa", "ada@example.com", 12) == "ended: term is over"

    assert len(durable.calls(charge)) == 12
    assert durable.now() == before + timedelta(days=360)


async def test_a_provider_that_is_away_is_asked_again(durable: Environment) -> None:
    durable.stand_in(charge, raises=[TimeoutError(), ConnectionError()], returns="tx")
    before = durable.now()

    await durable.run(subscription, "visa", "ada@example.com", 1)

    minutes = [(call.at - before) / timedelta(minutes=1) for call in durable.calls(charge)]
    assert minutes == [0, 1, 3]


async def test_a_declined_card_ends_it_with_a_mail(durable: Environment) -> None:
    durable.stand_in(charge, raises=CardDeclined("no funds"))
    await durable.run(subscription, "visa", "ada@example.com", 12)
    assert durable.calls(send_mail)[0].args == ("ada@example.com", "Your card was declined")


async def test_a_customer_who_leaves_is_not_charged_again(durable: Environment) -> None:
    durable.stand_in(charge, returns="tx")
    handle = await durable.start(subscription, "visa", "ada@example.com", 12)
    await durable.advance(days=45)
    await handle.cancel()
    with pytest.raises(RunCancelled):
        await handle.result()
    assert len(durable.calls(charge)) == 2
