import os
import time
from datetime import datetime, timedelta

from . import activities
from .models import Order

LIMIT = int(os.environ.get("ORDER_LIMIT", "100000"))  # read once, while it is imported


def is_large(order: Order) -> bool:
    return order.total > LIMIT


def is_late(order: Order, now: datetime) -> bool:
    return now - order.placed_at > timedelta(days=3)


def measure() -> float:
    """Of a script: no workflow calls it."""
    return time.perf_counter()


async def check_stock(ctx, order: Order) -> list[bool]:
    return [await ctx.activity(activities.in_stock, line.sku) for line in order.lines]
