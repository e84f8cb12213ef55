"""The code that replaces it: a step more in each round, for turns that have not been yet."""

from __future__ import annotations

from durable import Context, activity, workflow
from tests.end_to_end.rollout import go


@activity(name="rollout/step")
async def step(name: str) -> str:
    return f"{name} done"


@activity(name="rollout/check")
async def check(name: str) -> None:
    """What was forgotten."""


@workflow(name="rollout/part")
async def part(ctx: Context, name: str) -> str:
    await ctx.sleep(0.02)
    return await ctx.activity(step, name)


@workflow(name="rollout/order")
async def order(ctx: Context, name: str, rounds: int) -> list[str]:
    done: list[str] = []
    for n in range(rounds):
        if ctx.patched("rollout/checked"):
            await ctx.activity(check, f"{name}/{n}")
        done.append(await ctx.activity(step, f"{name}/{n}"))
        done.append(await ctx.child(part, f"{name}/{n}/part"))
        await ctx.receive(go)
    return done
