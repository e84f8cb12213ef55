"""Oban: a job queue in Postgres, over psycopg. Jobs are enqueued by 500, 100 run at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from oban import Oban, worker

from ..adapter import main
from ..processes import beside_python
from .queued import JOBS_AT_ONCE, Queued

LEFT = "select 1 from oban_jobs where state <> 'completed' limit 1"


@worker(queue="default")
class AddOne:
    async def process(self, job: Any) -> None:
        here.handled(job.args["id"], job.args["n"])


class ObanJobs(Queued):
    name = "oban"

    def prepare(self) -> None:
        command = [beside_python("oban"), "install", "--dsn", self.dsn]
        subprocess.run(command, check=True, stdout=sys.stderr)

    async def open(self, concurrency: int) -> None:
        global here
        here = self
        await super().open(concurrency)
        self.pool = await Oban.create_pool(self.dsn)
        self.oban = Oban(pool=self.pool, queues={"default": JOBS_AT_ONCE})
        await self.oban.start()

    async def close(self) -> None:
        await self.oban.stop()
        await self.pool.close()

    async def enqueue(self, ids: Sequence[str], n: int) -> None:
        jobs: list[Any] = [AddOne.new({"id": id, "n": n}) for id in ids]  # type: ignore[attr-defined]
        await self.oban.enqueue_many(jobs)

    async def some_left(self) -> bool:
        async with self.pool.connection() as connection:
            return await (await connection.execute(LEFT)).fetchone() is not None


here: ObanJobs


if __name__ == "__main__":
    main(ObanJobs)
