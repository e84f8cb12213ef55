"""A fan-out: a thousand pages are fetched as children of one run, fifty at a time.

    python examples/fan_out.py

Each page is a run of its own, with retries and a journal of its own; any worker may take it. Stop
the program anywhere and run it again: pages that were fetched are not fetched again.
"""

import asyncio

from durable import ChildError, Context, Durable, Retry, activity, attempt, workflow

AT_ONCE = 50


@activity(retry=Retry(attempts=4, delay=0.01))
async def fetch(page: int) -> str:
    if page == 404:
        raise LookupError("no such page")
    if page % 100 == 7 and attempt().number == 1:
        raise ConnectionError("the line broke")
    return f"<p>{page}</p>"


@workflow
async def page_size(ctx: Context, page: int) -> int:
    return len(await ctx.activity(fetch, page))


@workflow
async def crawl(ctx: Context, pages: int) -> str:
    free = asyncio.Semaphore(AT_ONCE)  # bounds what is begun in one turn, and under way
    missing: list[int] = []

    async def size(page: int) -> int:
        async with free:
            try:
                return await ctx.child(page_size, page)
            except ChildError:
                missing.append(page)
                return 0

    async with asyncio.TaskGroup() as group:
        sizes = [group.create_task(size(page)) for page in range(pages)]
    total = sum(each.result() for each in sizes)
    return f"{pages - len(missing)} pages of {total} bytes; missing: {missing}"


async def main() -> None:
    async with Durable() as app:
        print(await app.run(crawl, 1000, id="crawl", if_exists="after_close"))


if __name__ == "__main__":
    asyncio.run(main())
