"""A deployment by canary, rolled back if it goes wrong: `python examples/deployment.py`.

Each stage is watched for a while before the next. Whatever fails (a step, the watch, a cancel by
`durable cancel`), the old version is back on all servers before the run ends.
"""

from __future__ import annotations

import asyncio
import sys

from durable import Compensation, Context, Durable, Retry, RunFailed, activity, workflow

STAGES = (1, 10, 50, 100)  # percent of the servers


class Unhealthy(Exception): ...


@activity(retry=Retry(attempts=3, delay=1), timeout=600)
async def roll_out(version: str, percent: int) -> None:
    print(f"  {version} on {percent} % of the servers")


@activity
async def error_rate(version: str) -> float:
    """Of the last minute, from monitoring."""
    return 0.2 if version.endswith("-broken") else 0.001


@workflow
async def deploy(ctx: Context, version: str, before: str, watch: float = 600) -> str:
    async with Compensation() as undo:
        undo.push_async_callback(ctx.activity, roll_out, before, 100)
        for percent in STAGES:
            await ctx.activity(roll_out, version, percent)
            await watch_over(ctx, version, watch)
    return version


async def watch_over(ctx: Context, version: str, seconds: float) -> None:
    """
    Raises:
        Unhealthy: more than 1 % of its requests fail.
    """
    end = ctx.now().timestamp() + seconds
    while ctx.now().timestamp() < end:
        await ctx.sleep(min(60, seconds))
        rate = await ctx.activity(error_rate, version)
        if rate > 0.01:
            raise Unhealthy(f"{rate:.0%} of the requests to {version} fail")


async def main(version: str) -> None:
    async with Durable() as app:
        try:
            print("deployed", await app.run(deploy, version, "v1", 2, id=f"deploy-{version}"))
        except RunFailed as error:
            print(error)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if sys.argv[1:] else "v2-broken"))
