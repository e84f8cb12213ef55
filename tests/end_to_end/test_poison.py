"""A run that ends the process of whoever takes it up."""

from __future__ import annotations

import pytest

from durable import Client
from tests.end_to_end.processes import Workers, check_promises, count, make_world, until


async def test_a_run_that_kills_its_workers_is_set_aside_without_its_neighbours(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIAL_SECONDS", "0.3")
    workers = Workers(dsn)
    await make_world(dsn)
    orders = [f"o{n}" for n in range(4)]
    neighbours = [f"n{n}" for n in range(1)]
    async with Client(dsn) as client:
        await client.start("poison", id="poison")
        for name in neighbours:
            await client.start("neighbour", name, id=name)
        for name in orders:
            await client.start("order", name, id=name)
        deaths = 0
        alive = workers.start()

        async def is_over() -> bool:
            nonlocal alive, deaths
            if alive.poll() is not None:  # as a supervisor does
                assert alive.returncode == 9
                deaths += 1
                alive = workers.start()
            closed = await count(client, "completed")
            return closed == len(orders) + len(neighbours)

        try:
            await until(is_over, workers)
            known = await client.handle("poison").describe()
            assert known.status == "stuck"
            assert known.report is not None
            assert known.report.startswith("5 workers in a row died")
            assert deaths >= 5
        finally:
            workers.end()
    await check_promises(dsn, orders)
