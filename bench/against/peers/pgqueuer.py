"""PgQueuer: a job queue in Postgres, over asyncpg. Jobs are enqueued by 500, taken by 100."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.queries import Queries

from ..adapter import main
from .queued import JOBS_AT_ONCE, Queued

SECONDS_TO_END = 5.0


class Pgqueuer(Queued):
    name = "pgqueuer"

    async def open(self, concurrency: int) -> None:
        await super().open(concurrency)
        connection = await asyncpg.connect(self.dsn)
        await Queries(AsyncpgDriver(connection)).install()
        self.pool = await asyncpg.create_pool(self.dsn, min_size=2, max_size=10)
        self.queries = Queries(AsyncpgPoolDriver(self.pool))
        self.worker = PgQueuer(AsyncpgDriver(connection))

        @self.worker.entrypoint("add_one")
        async def add_one(job: Any) -> None:
            id, n = job.payload.decode().split()
            self.handled(id, int(n))

        self.task = asyncio.ensure_future(self.worker.run(batch_size=JOBS_AT_ONCE))

    async def close(self) -> None:
        self.worker.shutdown.set()
        await asyncio.wait([self.task], timeout=SECONDS_TO_END)
        await self.pool.close()

    async def enqueue(self, ids: Sequence[str], n: int) -> None:
        payloads = [f"{id} {n}".encode() for id in ids]
        await self.queries.enqueue(["add_one"] * len(ids), payloads, [0] * len(ids))

    async def some_left(self) -> bool:
        return bool(await self.pool.fetchval("select 1 from pgqueuer limit 1"))


if __name__ == "__main__":
    main(Pgqueuer)
