"""The runtime's clock: never early, and as little late as the quickest answer allows."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from durable._runtime.clock import DRIFT_MAX, Clock
from durable._runtime.timers import Timers

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def read(clock: Clock, mark: float) -> datetime:
    """What it says at a moment of the monotonic clock."""
    return clock._base + timedelta(seconds=mark - clock._mark)


def test_the_first_answer_is_believed_whatever_this_machine_thinks() -> None:
    clock, mark = Clock(), time.monotonic()
    clock.set(NOON, mark)
    assert read(clock, mark) == NOON
    assert NOON <= clock.now() < NOON + timedelta(seconds=60)


def test_an_answer_that_was_long_on_its_way_does_not_put_it_back() -> None:
    clock = Clock()
    clock.set(NOON, 100.0)
    clock.set(NOON + timedelta(seconds=0.7), 101.0)  # asked at .7, heard at 1
    late = timedelta(seconds=1) - (read(clock, 101.0) - NOON)
    assert timedelta(0) <= late <= timedelta(seconds=DRIFT_MAX)
    clock.set(NOON + timedelta(seconds=2), 102.0)  # a quick one
    assert read(clock, 102.0) == NOON + timedelta(seconds=2)


def test_a_database_whose_clock_was_set_back_is_followed() -> None:
    clock = Clock()
    clock.set(NOON, 100.0)
    clock.set(NOON - timedelta(hours=1), 101.0)
    assert read(clock, 101.0) == NOON - timedelta(hours=1)


def test_a_clock_that_runs_too_fast_comes_back_slowly() -> None:
    clock = Clock()
    clock.set(NOON, 0.0)
    for second in range(1, 101):  # the database's seconds are 50 us longer than ours
        clock.set(NOON + timedelta(seconds=second * (1 - 5e-5)), float(second))
    ahead = read(clock, 100.0) - (NOON + timedelta(seconds=100 * (1 - 5e-5)))
    assert ahead == timedelta(0)


async def test_a_timer_that_was_far_off_fires_at_the_beat_after_the_clock_was_set() -> None:
    clock, fired = Clock(), list[tuple[int, int]]()
    clock.set(NOON, time.monotonic())
    timers = Timers(clock, lambda run, op: fired.append((run, op)))
    timers.arm(7, 1, NOON + timedelta(hours=1))
    timers.look()
    assert fired == []
    clock.set(NOON + timedelta(hours=2), time.monotonic())
    timers.look()
    assert fired == [(7, 1)]


def test_it_is_not_early_where_this_machine_runs_too_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    clock.set(NOON, 0.0)
    monkeypatch.setattr(time, "monotonic", lambda: 40 * (1 + 4e-5))  # heartbeats are lost meanwhile
    assert clock.now() <= NOON + timedelta(seconds=40)
