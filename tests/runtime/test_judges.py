"""When others find out that a worker is dead."""

from __future__ import annotations

import pytest

from durable import Durable
from durable._runtime import chores, lease

from .takeovers import rows, until_rows, worker_of

# One that has been silent for a while, and whose connection is gone.
SILENT = """
insert into durable.worker (worker, name, state, host, pid, pid_started, workflows, queues, build,
    lease_seconds, locks, started_at, beat_at)
values (gen_random_uuid(), 'silent', 'live', '', 1, 0, '{}', '{}', '1', 15, true,
    durable.now(), statement_timestamp() - interval '2.2 s')"""


@pytest.mark.once
async def test_a_judge_comes_when_the_time_of_a_silent_worker_is_up(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (lease, chores):
        monkeypatch.setattr(module, "BEAT_SECONDS", 60.0)  # no beat of its own brings it there
    async with Durable(dsn) as app:
        worker = worker_of(app)
        worker._lease.beaten_since -= 60.0
        await rows(dsn, SILENT)
        worker.chores.judge_soon()
        await until_rows(dsn, "select 1 from durable.worker where name = 'silent'", count=0)
