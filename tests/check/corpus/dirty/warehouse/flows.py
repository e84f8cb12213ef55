from durable import Context, workflow

from .stock import Stock, choose
from .tools import clocks
from .tools.clocks import stamp as make_stamp


@workflow(name="warehouse.pick")
async def pick(ctx: Context, skus: list[str]) -> str:
    stock = Stock(skus)
    with stock.locked():
        shelf = choose(skus)
    async with stock:
        clocks.wait_a_little()
    return f"{shelf} {make_stamp()} {stock.label}"


@workflow(name="warehouse.count")
async def count(ctx: Context) -> list[str]:
    return sorted(map(clocks.label, ["a"]))


async def by_hand(ctx: Context) -> None:
    clocks.by_hand()


async def by_robot(ctx: Context) -> None:
    clocks.by_robot()


async def by_drone(ctx: Context) -> None:
    clocks.by_drone()


WAYS = {"hand": by_hand, "robot": by_robot}
STEPS = [by_drone]


@workflow(name="warehouse.dispatch")
async def dispatch(ctx: Context, way: str) -> None:
    await WAYS[way](ctx)
    for step in STEPS:
        await step(ctx)
