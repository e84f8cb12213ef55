"""A table starts workflows: an order that is committed is worked on, one that is rolled back never
was. The application that inserts knows nothing of Durable, and may be written in anything.

    DURABLE_DATABASE_URL=postgresql://... python examples/order_trigger.py
"""

import asyncio
import os

import asyncpg

from durable import Context, Durable, activity, workflow

TABLE = """
create table if not exists orders (
    id bigint primary key generated always as identity, email text not null, cents bigint not null);

create or replace function start_order() returns trigger language plpgsql as $$
begin
    perform durable.start(
        'order_placed',
        jsonb_build_array(jsonb_build_object('email', new.email, 'cents', new.cents)),
        id => 'order-' || new.id);
    return new;
end
$$;

create or replace trigger order_placed after insert on orders
    for each row execute function start_order();
"""


@activity
async def send_receipt(email: str, cents: int) -> str:
    print(f"To: {email}\nThank you for your {cents / 100:.2f}.")
    return email


@workflow
async def order_placed(ctx: Context, order: dict[str, str | int]) -> str:
    return await ctx.activity(send_receipt, str(order["email"]), int(order["cents"]))


async def shop(url: str) -> list[int]:
    """The application: two orders, of which one fails."""
    insert = "insert into orders (email, cents) values ($1, $2) returning id"
    connection = await asyncpg.connect(url)
    await connection.execute(TABLE)
    ids: list[int] = [await connection.fetchval(insert, "ada@example.com", 4200)]
    try:
        async with connection.transaction():
            ids.append(await connection.fetchval(insert, "eve@example.com", 1))
            raise ValueError("no such card")
    except ValueError as error:
        print(f"rolled back: {error}")
    await connection.close()
    return ids


async def main() -> None:
    url = os.environ["DURABLE_DATABASE_URL"]
    async with Durable(url, serve=[order_placed]) as app:
        good, bad = await shop(url)
        print("=>", await app.handle(f"order-{good}").result())
        runs = await app.list(id_prefix=f"order-{bad}")
        print(f"{len(runs)} runs of the order that was rolled back")


if __name__ == "__main__":
    asyncio.run(main())
