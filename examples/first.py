import asyncio

from durable import Context, Durable, activity, workflow


@activity
async def charge(cents: int) -> None:
    print(f"charging {cents} cents")


@activity
async def ship(sku: str) -> None:
    print(f"shipping {sku}")


@workflow
async def order(ctx: Context, cents: int) -> str:
    await ctx.activity(charge, cents)
    await ctx.activity(ship, "socks")
    await ctx.sleep(20)  # press Ctrl-C (or kill -9) here, and run me again
    return "done"


async def main() -> None:
    async with Durable() as app:
        print(await app.run(order, 4200, id="order-42"))


if __name__ == "__main__":
    asyncio.run(main())
