"""When a worker counts as dead, as a table."""

from __future__ import annotations

import pytest

from durable._core.leases import seconds_left


@pytest.mark.parametrize(
    ("silent", "free", "beaten", "up", "dead", "why"),
    [
        (1.0, False, 99.0, 99.0, False, "it beats"),
        (14.9, False, 99.0, 99.0, False, "within its lease"),
        (15.1, False, 99.0, 99.0, True, "past its lease"),
        (2.9, True, 99.0, 99.0, False, "a dropped connection may come back"),
        (3.1, True, 99.0, 99.0, True, "its connection is gone, and it missed its beats"),
        (99.0, False, 14.0, 99.0, False, "the judge itself had a gap within a lease"),
        (99.0, False, 99.0, 14.0, False, "the server was down within a lease"),
        (99.0, True, 3.5, 99.0, True, "the shorter time is the one that applies"),
        (99.0, True, 2.5, 99.0, False, "not even the shorter time"),
        (99.0, True, 99.0, 2.5, False, "the server has just come back"),
        (99.0, False, float("-inf"), 99.0, False, "the judge has no beats at all"),
    ],
)
def test_death(silent: float, free: bool, beaten: float, up: float, dead: bool, why: str) -> None:
    left = seconds_left(
        silent_for=silent, lease=15.0, lock_is_free=free, judge_beaten_for=beaten, server_up_for=up
    )
    assert (left < 0) is dead, why


def test_a_free_lock_never_lengthens_a_lease() -> None:
    left = seconds_left(
        silent_for=2.5, lease=2.0, lock_is_free=True, judge_beaten_for=9.0, server_up_for=9.0
    )
    assert left == -0.5
