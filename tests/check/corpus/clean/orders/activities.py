import functools
import os
import random
import time

import httpx

from durable import Retry, activity

_seen: dict[str, float] = {}
quick = functools.partial(activity, retry=Retry(attempts=2), timeout=5)
patient = activity(retry=Retry(attempts=50))


@quick(name="orders.in_stock")
def in_stock(sku: str) -> bool:
    time.sleep(0.01)
    _seen[sku] = time.time()
    return random.random() < 0.9


@patient
async def pay(cents: int) -> str:
    async with httpx.AsyncClient() as client:
        answer = await client.post(os.environ["PAY_URL"], json={"cents": cents})
    return answer.text
