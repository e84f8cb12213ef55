"""A long-lived actor: an account that is asked to change, for years, through deploys and crashes.

python examples/account.py
"""

import asyncio
from dataclasses import dataclass

from durable import Client, Context, Durable, Query, Signal, Update, activity, workflow
from durable.errors import UpdateRejected


@dataclass
class Transfer:
    cents: int
    reason: str


transfer = Update[Transfer, int]("transfer")  # answered with the new balance
balance = Query[int]("balance")
close = Signal[None]("close")


@activity
async def book(owner: str, cents: int, reason: str) -> None:
    print(f"  book {cents:+} for {owner}: {reason}")


@workflow
async def account(ctx: Context, owner: str) -> int:
    cents = 0
    alone = asyncio.Lock()  # handlers run side by side: no two change the balance at once

    def is_covered(asked: Transfer) -> None:
        if cents + asked.cents < 0:
            raise ValueError(f"only {cents} left")

    async def change(asked: Transfer) -> int:
        nonlocal cents
        async with alone:
            is_covered(asked)  # another may have been quicker since the check
            await ctx.activity(book, owner, asked.cents, asked.reason)
            cents += asked.cents
            return cents

    ctx.on(transfer, change, check=is_covered)
    ctx.answer(balance, lambda: cents)
    await ctx.receive(close)
    async with alone:  # who is under way comes first
        return cents


async def main() -> None:
    async with Durable() as app:
        ada = await app.start(account, "ada", id="account-ada", if_exists="after_close")
        print(await ada.update(transfer, Transfer(500, "wages"), key="wages of May"))
        print(await ada.update(transfer, Transfer(500, "wages"), key="wages of May"), "(once)")
        try:
            await ada.update(transfer, Transfer(-900, "a boat"))
        except UpdateRejected as error:
            print("no:", error.message)
        print(await ada.update(transfer, Transfer(-200, "rent")))

    async with Client() as client:  # no worker lives: the journal answers
        print("balance:", await client.handle("account-ada", account).query(balance))

    async with Durable() as app:  # as after a deploy
        ada = app.handle("account-ada", account)
        await ada.signal(close)
        print("closed with", await ada.result())


if __name__ == "__main__":
    asyncio.run(main())
