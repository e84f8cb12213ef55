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
