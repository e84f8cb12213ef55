"""When a worker counts as dead. The times are the database's, but for the judge's own."""

from __future__ import annotations

# How long a worker may miss beats once its heartbeat connection is gone. A dropped connection
# alone is no death: it gets this long to connect again.
FREE_LOCK_SECONDS = 3.0


def seconds_left(
    *,
    silent_for: float,
    lease: float,
    lock_is_free: bool,
    judge_beaten_for: float,
    server_up_for: float,
) -> float:
    """How long a worker that has been silent for so long keeps its right to live; it is dead when
    that is negative.

    After an outage every heartbeat is late. So nobody may judge by a time through which it has
    not itself beaten without a gap, with the server up.
    """
    applies = min(lease, FREE_LOCK_SECONDS) if lock_is_free else lease
    return applies - min(silent_for, judge_beaten_for, server_up_for)
