"""A web service that works on its own runs: `uvicorn examples.fastapi_app:app`.

    curl localhost:8000/orders/42 --json '{"card": "visa", "cents": 4200}'
    curl localhost:8000/orders/42

POST twice, and there is one order. SIGTERM drains: attempts finish, runs are
handed back, another process goes on with them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel

from durable import Context, Durable, activity, workflow
from durable.errors import IdReused, RunNotFound


class Order(BaseModel):
    card: str
    cents: int


@activity
async def charge(order: Order) -> str:
    return f"paid {order.cents} by {order.card}"


@workflow
async def checkout(ctx: Context, order: Order) -> str:
    payment = await ctx.activity(charge, order)
    await ctx.sleep(1)
    return payment


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with Durable(serve=[checkout]) as app.state.durable:
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/orders/{number}", status_code=202)
async def place(number: str, order: Order, request: Request) -> dict[str, str]:
    durable: Durable = request.app.state.durable
    try:
        handle = await durable.start(checkout, order, id=f"order-{number}")
    except IdReused as error:
        raise HTTPException(409, str(error)) from error
    return {"id": handle.id, "status": await handle.status()}


@app.get("/orders/{number}")
async def look(number: str, request: Request) -> dict[str, str]:
    durable: Durable = request.app.state.durable
    try:
        return {"status": await durable.handle(f"order-{number}").status()}
    except RunNotFound as error:
        raise HTTPException(404, str(error)) from error


@app.get("/health")
async def health(request: Request) -> dict[str, object]:
    state = request.app.state.durable.health()
    if not state.ok:
        raise HTTPException(503, list(state.reasons))
    return {"ok": True, "runs": state.runs}
