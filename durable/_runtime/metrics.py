"""What a worker counts and measures, for whoever collects it.

Nothing is collected here, and nothing is measured for nobody. All calls come in the host's
loop. A collector that fails costs a line in the log, never a run.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any, Protocol

from .._store.protocol import Advance
from .limits import TimedOut
from .work import Runner, Work

log = logging.getLogger("durable.worker")


class Metrics(Protocol):
    """Where counts and measurements go: ``Durable(metrics=...)``. Both methods are called in the
    event loop and must not block. Names, labels and units: docs/operations.md.

    Example:
        class Printed:
            def count(self, name, n=1, /, **labels): print(name, "+", n, labels)
            def observe(self, name, value, /, **labels): print(name, "=", value, labels)
    """

    def count(self, name: str, n: int = 1, /, **labels: str) -> None:
        """``n`` more of something."""

    def observe(self, name: str, value: float, /, **labels: str) -> None:
        """One measurement: a value of a histogram."""


class Meter:
    """Metrics that never raise, and the few measurements that take more than one of them. With
    None nothing is said; ``is_on`` is for those who would have to measure first."""

    def __init__(self, metrics: Metrics | None) -> None:
        self.is_on = metrics is not None
        self._metrics = metrics
        self._has_failed = False

    def count(self, name: str, n: int = 1, **labels: str) -> None:
        self._try("count", name, n, labels)

    def observe(self, name: str, value: float, **labels: str) -> None:
        self._try("observe", name, value, labels)

    def _try(self, verb: str, name: str, value: float, labels: dict[str, str]) -> None:
        if not self.is_on:
            return
        try:
            getattr(self._metrics, verb)(name, value, **labels)
        except Exception:
            if not self._has_failed:  # what fails will fail again, a thousand times a second
                self._has_failed = True
                log.exception("the given metrics failed on %s; said once", name)

    def committed(self, advances: Sequence[Advance], began: float) -> None:
        if self.is_on:
            self.count("durable_commits_total")
            self.observe("durable_commit_rows", sum(len(each.rows) for each in advances))
            self.observe("durable_commit_seconds", time.monotonic() - began)

    def replayed(self, events: int, began: float) -> None:
        self.count("durable_replays_total")
        self.observe("durable_replay_events", events)
        self.observe("durable_replay_seconds", time.monotonic() - began)

    def beaten(self, due_lag: float, loop_lag: float, *, missed: int) -> None:
        self.observe("durable_due_lag_seconds", due_lag)
        self.observe("durable_loop_lag_seconds", loop_lag)
        if missed:
            self.count("durable_heartbeats_missed_total", missed)

    def taken_over(self, runs: int) -> None:
        self.count("durable_takeovers_total")
        self.count("durable_runs_taken_over_total", runs)

    def around(self, runner: Runner) -> Runner:
        """The same runner, with its attempts counted and timed if somebody wants that."""
        if not self.is_on:
            return runner

        async def measured(work: Work) -> tuple[bytes, Any]:
            name, began, outcome = work.command.name, time.monotonic(), "failed"
            try:
                answer = await runner(work)
                outcome = "ok"
                return answer
            except TimedOut:
                outcome = "timed_out"
                raise
            finally:
                self.count("durable_attempts_total", activity=name, outcome=outcome)
                self.observe("durable_attempt_seconds", time.monotonic() - began, activity=name)

        return measured
