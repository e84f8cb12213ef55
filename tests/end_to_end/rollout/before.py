"""The code as it was."""

from __future__ import annotations

from durable import Context, activity, workflow
from tests.end_to_end.rollout import go


@activity(name="rollout/step")
async def step(name: str) -> str:
    return f"{name} done"


@workflow(name="rollout/part")
async def part(ctx: Context, name: str) -> str:
    await ctx.sleep(0.02)
    return await ctx.activity(step, name)


@workflow(name="rollout/order")
async def order(ctx: Context, name: str, rounds: int) -> list[str]:
    """After each round it waits for a message, and so for whoever takes it up next."""
    done: list[str] = []
    for n in range(rounds):
        done.append(await ctx.activity(step, f"{name}/{n}"))
        done.append(await ctx.child(part, f"{name}/{n}/part"))
        await ctx.receive(go)
    return done
