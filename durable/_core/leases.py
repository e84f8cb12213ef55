"""When a worker counts as dead. The times are the database's, but for the judge's own."""

from __future__ import annotations

# How long a worker may miss beats once its heartbeat connection is gone. A dropped connection
# alone is no death: it gets this long to connect again.
FREE_LOCK_SECONDS = 3.0


def silence_allowed(lease: float, *, lock_is_free: bool) -> float:
    """Seconds without a beat that a worker may live."""
    return min(lease, FREE_LOCK_SECONDS) if lock_is_free else lease


def is_dead(
    *,
    silent_for: float,
    lease: float,
    lock_is_free: bool,
    judge_beaten_for: float,
    server_up_for: float,
) -> bool:
    """Whether a worker that has been silent for so long has lost its right to live.

    After an outage every heartbeat is late. So nobody may judge by a time through which it has
    not itself beaten without a gap, with the server up.
    """
    applies = silence_allowed(lease, lock_is_free=lock_is_free)
    return silent_for > applies and judge_beaten_for >= applies and server_up_for >= applies
