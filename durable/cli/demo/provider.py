"""A payment provider: a process of its own, slow, unreliable, with its own ledger.

``python -m durable.cli.demo.provider LEDGER`` prints its port and serves until it is killed.
It charges each idempotency key once, and fails one call in five: half of those before it
charged, half after, which the caller cannot tell apart.
"""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import sys
import time

DESKS = 6  # calls handled at once
SECONDS_PER_CALL = 0.08
FAILING = 0.2

LEDGER = """
create table ledger (key text primary key, payment text, order_id text, cents integer);
create table call (n integer primary key, key text, order_id text, began real, answer text);
"""


class Provider:
    def __init__(self, path: str) -> None:
        self._ledger = sqlite3.connect(path, isolation_level=None)
        self._ledger.executescript(LEDGER)
        self._desks = asyncio.Semaphore(DESKS)
        self._chance = random.Random(7)  # noqa: S311 - the same demo every time

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        if line:
            answer = await self._answer(json.loads(line))
            writer.write(json.dumps(answer).encode() + b"\n")
        writer.close()

    async def _answer(self, request: dict[str, str]) -> dict[str, str]:
        began = time.time()
        async with self._desks:
            await asyncio.sleep(SECONDS_PER_CALL * self._chance.uniform(0.5, 1.5))
            trouble = self._chance.random()
            if trouble < FAILING / 2:
                return self._noted(request, began, {"error": "try again later"})
            answer = {"payment": self._charge(request)}
            if trouble < FAILING:
                return self._noted(request, began, {"error": "internal error"})
            return self._noted(request, began, answer)

    def _charge(self, request: dict[str, str]) -> str:
        key, order, cents = request["key"], request["order"], request["cents"]
        self._ledger.execute(
            "insert into ledger values (?, ?, ?, ?) on conflict do nothing",
            (key, f"pay-{key[:8]}", order, cents),
        )
        payment: str = self._ledger.execute(
            "select payment from ledger where key = ?", (key,)
        ).fetchone()[0]
        return payment

    def _noted(
        self, request: dict[str, str], began: float, answer: dict[str, str]
    ) -> dict[str, str]:
        self._ledger.execute(
            "insert into call (key, order_id, began, answer) values (?, ?, ?, ?)",
            (request["key"], request["order"], began, json.dumps(answer)),
        )
        return answer


async def main(path: str) -> None:
    server = await asyncio.start_server(Provider(path).serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
