"""What bounds a worker, and how it tells that it is well."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from .._authoring.registry import is_name
from .._core.retries import seconds
from .lease import START_DEADLINE
from .metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """What bounds a worker.

    Attributes:
        queues: the queues it takes runs from.
        runs_max: runs in memory at once; more wait in the database.
        activities_max: attempts under way at once; more wait in memory.
        transactions_max: connections for ``ctx.transaction``.
        grace: seconds (or a timedelta) that attempts get to finish when the worker drains.
        lease: seconds (or a timedelta) of silence after which others take this worker's runs.
        build: a name for this version of your code; each build that lives tries a stuck run
            once. By default every process counts as one of its own.
        metrics: where counts and measurements go: see :class:`Metrics`. None costs nothing.
    """

    queues: tuple[str, ...] = ("default",)
    runs_max: int = 1_000
    activities_max: int = 200
    transactions_max: int = 4
    grace: float = 10.0
    lease: float = 15.0
    build: str | None = None
    metrics: Metrics | None = None

    def __post_init__(self) -> None:
        if isinstance(self.queues, str) or not all(map(is_name, self.queues)):
            raise ValueError(
                f"queues={self.queues!r}: it takes the names of queues, as in queues=('default',)"
            )
        if self.build is not None and not is_name(self.build):
            raise ValueError(f"build={self.build!r:.300}: it takes a name, as in build='v7'")
        for name in ("runs_max", "activities_max", "transactions_max"):
            most = getattr(self, name)
            if not isinstance(most, int) or most < 1:
                raise ValueError(f"{name}={most!r}: it must be a number, at least 1")
        for name in ("grace", "lease"):
            object.__setattr__(self, name, seconds(getattr(self, name), what=name))
        if self.lease < START_DEADLINE:
            raise ValueError(
                f"lease={self.lease}: a worker beats once a second and must be allowed to miss "
                f"a beat; use {START_DEADLINE:g} seconds or more"
            )


@dataclass(frozen=True, slots=True)
class Health:
    """How this process stands, from memory: no statement is sent.

    ``ok`` is False when something is wrong; ``reasons`` says what, in words: no heartbeat
    is answered, commits are refused (a missing grant, a full disk), a part of the worker
    fails, it is draining.
    """

    ok: bool
    reasons: tuple[str, ...]
    worker: UUID | None
    runs: int
    activities: int
    silence: float  # seconds since the database last answered a heartbeat
    due_lag: float  # seconds that the longest due run has waited for a worker
    loop_lag: float  # seconds that the host's event loop was late at the last heartbeat
