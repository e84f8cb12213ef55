"""Runs that may be what kills workers.

A run whose code ends the whole process (a crash in C, ``os._exit``, memory that runs out) would go
from worker to worker and take its neighbours along each time. So the store counts owners that died
while a run did not move. From the second on the run is *doubtful*: a worker puts one such run on
trial, and takes the next when that one has moved, or has lived on for a while; then two, then four:
a crash of everybody, which makes all runs doubtful, is over after a few rounds. A death counts
against those on trial, and more than once only against one that was alone there.
"""

from __future__ import annotations

import logging
import time
from typing import NamedTuple

from .instance import Instance

log = logging.getLogger("durable.worker")

# Deaths that count against a run before it is set aside: two that may have been anybody's doing,
# one that may have been another's on trial with it, and two alone.
CRASHES_MAX = 5

# What kills its worker most often does so at once, in its replay or in its next step.
TRIAL_SECONDS = 10.0

# So many at most are on trial together: if one of them kills, each is tried alone after that.
TOGETHER_MAX = 128


class _Trial(NamedTuple):
    instance: Instance
    position: int  # of its journal, when it was taken
    until: float


class Doubtful:
    def __init__(self) -> None:
        self._allowed = 1
        self._trials: list[_Trial] = []

    @property
    def room(self) -> int:
        """How many may be taken now."""
        return 0 if self._trials else self._allowed

    def hold(self, instance: Instance) -> None:
        log.warning(
            "run %r was owned by several workers that died; it is tried with care",
            instance.id,
            extra=instance.facts,
        )
        until = time.monotonic() + TRIAL_SECONDS
        self._trials.append(_Trial(instance, instance.position, until))

    def review(self) -> list[int]:
        """Forget those that are doubtful no more; returns the runs that merely lived on."""
        now, acquitted = time.monotonic(), list[int]()
        held, self._trials = self._trials, []
        for trial in held:
            instance = trial.instance
            has_moved = instance.position > trial.position and not instance.in_flight
            if instance.lost or has_moved or instance.close is not None:
                continue
            if now >= trial.until:
                acquitted.append(instance.run)
            else:
                self._trials.append(trial)
        if not held:  # the last of them is over: what comes next is another story
            self._allowed = 1
        elif not self._trials:
            self._allowed = min(self._allowed * 2, TOGETHER_MAX)
        return acquitted


def report(crashes: int) -> str:
    """Why a run that killed its workers is set aside."""
    return (
        f"{crashes} workers in a row died while this run was theirs and did not move, the last "
        "ones while they ran it alone among such runs. Its code, or an activity that it calls "
        "next, seems to end the whole process: a crash in an extension, os._exit(), memory that "
        "runs out (`durable show` tells what was recorded before; the exit codes of the workers "
        "and the kernel's log tell more). Other code takes it up by itself; `durable retry` tries "
        "it again with the code that is there."
    )
