"""Pages of a foreign API into a table, each exactly once: `python examples/data_sync.py`.

The cursor is the run's own variable: after a crash it stands where it stood. A page is fetched at
least once; its rows are written in the transaction that also records the step, so exactly once. A
page that takes long beats, and its next attempt goes on from what the last one has told.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import asyncpg

from durable import Context, Durable, Retry, activity, attempt, workflow

PAGES, PER_PAGE = 5, 20


@dataclass
class Page:
    rows: list[tuple[int, str]] = field(default_factory=list)
    next: int | None = None


@activity(retry=Retry(attempts=100, delay=1, delay_max=300), timeout=60, heartbeat_timeout=10)
async def fetch_page(cursor: int) -> Page:
    """Row by row, from the one that the attempt before had come to."""
    page = Page(*(attempt().details or ([],)))
    for number in range(cursor * PER_PAGE + len(page.rows), (cursor + 1) * PER_PAGE):
        page.rows.append((number, f"customer {number}"))
        attempt().heartbeat([page.rows])
    page.next = cursor + 1 if cursor + 1 < PAGES else None
    return page


async def write_page(conn: asyncpg.Connection, rows: list[tuple[int, str]]) -> int:
    await conn.execute("create table if not exists customer (number int primary key, name text)")
    await conn.executemany(
        "insert into customer values ($1, $2) on conflict (number) do update set name = $2", rows
    )
    return len(rows)


@workflow
async def sync_customers(ctx: Context) -> int:
    """How many rows were written."""
    cursor: int | None = 0
    count = 0
    while cursor is not None:
        page = await ctx.activity(fetch_page, cursor)
        count += await ctx.transaction(write_page, page.rows)
        cursor = page.next
    return count


async def main() -> None:
    async with Durable() as app:
        print(await app.run(sync_customers), "customers")


if __name__ == "__main__":
    asyncio.run(main())
