import asyncio

import durable as d

from . import activities as acts
from .models import Order
from .rules import check_stock, is_large, is_late


@d.workflow(name="orders.place")
async def place(ctx: d.Context, order: Order) -> str:
    if is_large(order) or is_late(order, ctx.now()):
        await ctx.sleep(hours=1)
    if not all(await check_stock(ctx, order)):
        return "sold out"
    fallback = Order.empty(ctx.now(), ctx.uuid4())
    return await asyncio.wait_for(ctx.activity(acts.pay, order.total or fallback.total), 3600)


async def _refund(ctx: d.Context, order: Order) -> str:
    return await ctx.activity(acts.pay, -order.total)


refund = d.workflow(name="orders.refund")(_refund)


@d.workflow(name="orders.refund_all")
async def refund_all(ctx: d.Context, orders: list[Order]) -> list[str]:
    return [await ctx.child(refund, order) for order in orders] + [await ctx.child(_refund, orders[0])]
