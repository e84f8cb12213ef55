"""What worker processes of a benchmark serve: ``durable worker bench.served``."""

from __future__ import annotations

from dataclasses import dataclass

from durable import Context, Signal, activity, workflow

go_on = Signal[int]("bench_go_on")


@activity(name="bench_served_step")
async def step(x: int) -> int:
    return x + 1


@workflow(name="bench_served_steps")
async def steps(ctx: Context, n: int) -> int:
    value = 0
    for _ in range(n):
        value = await ctx.activity(step, value)
    return value


@workflow(name="bench_one_step")
async def one_step(ctx: Context, x: int) -> int:
    return await ctx.activity(step, x)


@workflow(name="bench_signalled")
async def signalled(ctx: Context) -> int:
    return await ctx.receive(go_on)


@workflow(name="bench_steps_then_signal")
async def steps_then_signal(ctx: Context, n: int) -> int:
    value = 0
    for _ in range(n):
        value = await ctx.activity(step, value)
    return value + await ctx.receive(go_on)


@dataclass
class Order:
    """Small, as what goes in and out of an activity is."""

    id: int
    customer: str
    cents: int
    paid: bool = False


@activity(name="bench_pay")
async def pay(order: Order) -> Order:
    return Order(order.id, order.customer, order.cents + 1, True)


@workflow(name="bench_orders")
async def orders(ctx: Context, order: Order, n: int) -> Order:
    for _ in range(n):
        order = await ctx.activity(pay, order)
    return order


@activity(name="bench_echo")
async def echo(text: str) -> str:
    return text


@workflow(name="bench_texts")
async def texts(ctx: Context, size: int, n: int) -> int:
    text = "x" * size
    for _ in range(n):
        text = await ctx.activity(echo, text)
    return len(text)
