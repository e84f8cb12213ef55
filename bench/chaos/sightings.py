"""What a process sees of the faults, noted in the history: the rare things alone, each when it
happens. A run of chaos in which none of them was seen has proved nothing."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg

from durable._store.postgres import journal
from durable._store.postgres.line import Line
from durable._store.protocol import Advance, Unavailable, Verdict
from tests.proof.history import note

FENCED = "fences refused"
UNKNOWN = "commits without an answer"
RESENT = "of them, recognised when sent again"
LEFT_OUT = "turns left out for a stranger's lock"
LOST = "turns lost to another owner"
TAKEOVERS = "takeovers, counted by each that took part"
TAKEN = "runs taken over"
ADOPTED = "runs adopted whose claim had no answer"
REBORN = "workers that began again after their death"
DROPPED = "runs dropped that were somebody else's by then"
UNANSWERED = "heartbeats without an answer"
STUCK = "runs stuck"
UNSERVED = "runs that nobody served"
REPEATED = "calls of clients sent again"

# Log lines that tell of one, by how they begin; a test looks that they are still said.
TOLD = {
    "adopting %d runs whose claim": ADOPTED,
    "worker %s was declared dead; it begins again": REBORN,
    "run %r is not this worker's any more": DROPPED,
}
COUNTED = {
    "durable_takeovers_total": TAKEOVERS,
    "durable_runs_taken_over_total": TAKEN,
    "durable_heartbeats_missed_total": UNANSWERED,
    "durable_runs_stuck_total": STUCK,
    "durable_runs_unserved_total": UNSERVED,
}
VERDICTS = {
    Verdict.DONE: RESENT,  # what is written now is a "go"
    Verdict.PARKED: RESENT,
    Verdict.LEFT_OUT: LEFT_OUT,
    Verdict.LOST: LOST,
}

ALL = (
    FENCED, UNKNOWN, RESENT, LEFT_OUT, LOST, TAKEOVERS, TAKEN, ADOPTED, REBORN, DROPPED,
    UNANSWERED, STUCK, UNSERVED, REPEATED,
)  # fmt: skip

# What a run must have seen, by its length in minutes, or it has tried nothing.
DEMANDED = ((0.9, (FENCED, UNKNOWN, RESENT, TAKEOVERS)), (10, (LEFT_OUT, LOST, TAKEN, ADOPTED)))


def saw(what: str, n: int = 1) -> None:
    note("seen", what=what, n=n)


class Metrics:
    """For ``Durable(metrics=...)``."""

    def count(self, name: str, n: int = 1, /, **labels: str) -> None:
        if name in COUNTED and n:
            saw(COUNTED[name], n)

    def observe(self, name: str, value: float, /, **labels: str) -> None:
        pass


class Listening(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        for beginning, what in TOLD.items():
            if str(record.msg).startswith(beginning):
                first = record.args[0] if isinstance(record.args, tuple) and record.args else 1
                saw(what, first if isinstance(first, int) else 1)


def watch() -> None:
    """From here on this process notes what it sees."""
    logging.getLogger("durable").addHandler(Listening())
    verdicts, commit, call = journal._verdicts, journal.Journal.commit, Line.call

    def seen(advances: Sequence[Advance], words: list[str] | None) -> list[Verdict]:
        for word in words or ():
            if word in VERDICTS:
                saw(VERDICTS[Verdict(word)])
        return verdicts(advances, words)

    async def committed(self: journal.Journal, worker: UUID, *given: Any, **more: Any) -> Any:
        try:
            return await commit(self, worker, *given, **more)
        except Unavailable:
            saw(UNKNOWN)
            raise

    async def called(self: Line, *given: Any, **more: Any) -> Any:
        try:
            return await call(self, *given, **more)
        except asyncpg.PostgresError as error:
            if error.sqlstate == journal.FENCED:
                saw(FENCED)
            raise

    journal._verdicts = seen
    journal.Journal.commit = committed  # type: ignore[method-assign]
    Line.call = called  # type: ignore[method-assign]
