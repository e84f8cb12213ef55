"""The workflows of the examples, told in virtual time; and each example as a program."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from durable import RunFailed, Status
from durable.testing import Environment
from examples import data_sync, deployment, payments, quiet_hours, saga

ROOT = Path(__file__).resolve().parent.parent
LINES_MAX = 80


async def test_a_trip_is_undone_last_first(durable: Environment) -> None:
    with pytest.raises(RunFailed, match="the last car"):
        await durable.run(saga.book_trip, saga.Trip("Bob", "LH 123", "Grand Hotel", "the last car"))
    undone = [call.args[0] for call in durable.calls(saga.cancel_booking)]
    assert undone == ["Grand Hotel/Bob", "LH 123/Bob"]

    booked = await durable.run(saga.book_trip, saga.Trip("Ada", "LH 9", "Inn", "a car"))
    assert booked == ["LH 9/Ada", "Inn/Ada", "a car/Ada"]
    assert len(durable.calls(saga.cancel_booking)) == 2


async def test_wherever_a_trip_or_a_sync_is_cut_off_it_comes_to_the_same(
    durable: Environment,
) -> None:
    trip = saga.Trip("Bob", "LH 123", "Grand Hotel", "the last car")
    assert (await durable.crash_everywhere(saga.book_trip, trip)).status == "failed"
    durable.stand_in(data_sync.write_page, lambda rows: len(rows))
    assert (await durable.crash_everywhere(data_sync.sync_customers)).result == 100


@pytest.mark.parametrize(
    ("hour", "waits"),
    [(12, timedelta(0)), (22, timedelta(hours=10)), (3, timedelta(hours=5))],
)
async def test_nobody_is_woken_up(hour: int, waits: timedelta) -> None:
    begins = datetime(2030, 1, 1, hour, tzinfo=UTC)
    async with Environment(at=begins) as durable:
        reader = quiet_hours.Reader("ada@example.org", "UTC")
        sent = await durable.run(quiet_hours.notify_reader, reader, "hello")
        assert sent - begins == waits


async def test_a_healthy_version_goes_everywhere_and_a_broken_one_back(
    durable: Environment,
) -> None:
    assert await durable.run(deployment.deploy, "v2", "v1", 120) == "v2"
    assert [c.args for c in durable.calls(deployment.roll_out)] == [
        ("v2", percent) for percent in deployment.STAGES
    ]
    with pytest.raises(RunFailed, match="20% of the requests"):
        await durable.run(deployment.deploy, "v3-broken", "v2", 120)
    assert [c.args for c in durable.calls(deployment.roll_out)][4:] == [
        ("v3-broken", 1),
        ("v2", 100),
    ]


async def test_a_cancelled_deployment_is_rolled_back(durable: Environment) -> None:
    handle = await durable.start(deployment.deploy, "v2", "v1")
    await durable.advance(seconds=90)
    await handle.cancel()
    await durable.advance()
    assert await handle.status() is Status.CANCELLED
    assert durable.calls(deployment.roll_out)[-1].args == ("v1", 100)


async def test_a_sync_writes_each_page_once(durable: Environment) -> None:
    written: list[Any] = []

    async def write(rows: list[tuple[int, str]]) -> int:
        written.extend(rows)
        return len(rows)

    durable.stand_in(data_sync.write_page, write)
    assert await durable.run(data_sync.sync_customers) == 100
    assert [number for number, _ in written] == list(range(100))


@pytest.mark.parametrize("comes", [True, False])
async def test_a_payment_is_captured_or_released(durable: Environment, comes: bool) -> None:
    durable.stand_in(payments.book_payment, returns=None)
    handle = await durable.start(payments.pay, "visa", 4200)
    await durable.advance(days=1)
    if comes:
        await handle.signal(payments.handed_over, "JJD1")
    result = await handle.result()
    assert result.endswith("captured" if comes else "released")


async def test_a_declined_card_fails_the_payment(durable: Environment) -> None:
    with pytest.raises(RunFailed, match="stolen"):
        await durable.run(payments.pay, "stolen", 1)


@pytest.mark.parametrize("name", ["saga", "quiet_hours", "deployment", "data_sync", "payments"])
def test_each_runs_as_a_program_and_is_short(name: str, dsn: str) -> None:
    path = ROOT / "examples" / f"{name}.py"
    assert path.read_text().count("\n") < LINES_MAX
    done = subprocess.run(
        [sys.executable, str(path)],
        cwd=ROOT,
        env={**os.environ, "DURABLE_DATABASE_URL": dsn},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
