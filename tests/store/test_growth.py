"""A commit reads the rows that it is about, however many others have come since its plans were
made."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from durable._store.protocol import Advance

from .stage import Stage, completed, parked, turn

# Finished runs, more than a plan that reads them all can hide.
MANY = """
insert into durable.run (run, id, workflow, queue, status, seed, created_at, closed_at)
select nextval('durable.run_key'), 'old-' || n, 'order', 'default', 'completed',
    '\\x00000000000000000000000000000000', now(), now()
from generate_series(1, 3000) n
"""

READ = "select idx_tup_fetch + seq_tup_read from pg_stat_xact_user_tables where relname = 'run'"


@pytest.mark.parametrize("ending", ["close", "park"])
async def test_a_run_is_put_down_without_a_look_at_all_others(stage: Stage, ending: str) -> None:
    worker = await stage.worker()
    first, second = await stage.born(worker, "a", "b")
    effects: dict[str, Any] = {"close": completed()} if ending == "close" else {"park": parked()}
    session = await stage.stranger()
    await read_by(stage, session, worker, turn(first, 1, **effects))  # its plans are made
    await stage.observer.execute(MANY)

    assert await read_by(stage, session, worker, turn(second, 1, **effects)) < 20


async def read_by(
    stage: Stage, session: asyncpg.Connection[Any], worker: Any, advance: Advance
) -> int:
    """Rows of ``run`` that the commit of an advance looks at."""
    async with session.transaction():
        answer = await stage.commit_on(session, worker, advance)
        assert answer["verdicts"] in (None, ["away"])
        read: int = await session.fetchval(READ)
    return read
