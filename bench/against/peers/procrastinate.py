"""Procrastinate: a job queue in Postgres, over psycopg. Jobs are deferred by 500; 100 at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import procrastinate

from ..adapter import main
from .queued import JOBS_AT_ONCE, Queued

POLL_SECONDS = 0.1  # 5 by default: how long a notification that is missed is missed
LEFT = "select 1 from procrastinate_jobs where status <> 'succeeded' limit 1"


class Procrastinate(Queued):
    name = "procrastinate"

    async def open(self, concurrency: int) -> None:
        await super().open(concurrency)
        connector = procrastinate.PsycopgConnector(conninfo=self.dsn)
        self.app = procrastinate.App(connector=connector)
        await self.app.open_async()
        await self.app.schema_manager.apply_schema_async()

        @self.app.task(name="add_one")
        async def add_one(id: str, n: int) -> None:
            self.handled(id, n)

        self.add_one = add_one
        self.task = asyncio.ensure_future(
            self.app.run_worker_async(
                concurrency=JOBS_AT_ONCE,
                fetch_job_polling_interval=POLL_SECONDS,
                install_signal_handlers=False,
            )
        )

    async def close(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])
        await self.app.close_async()

    async def enqueue(self, ids: Sequence[str], n: int) -> None:
        await self.add_one.batch_defer_async(*({"id": id, "n": n} for id in ids))

    async def some_left(self) -> bool:
        return bool(await self.app.connector.execute_query_all_async(LEFT))


if __name__ == "__main__":
    main(Procrastinate)
