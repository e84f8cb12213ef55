"""The ``inbox`` table in memory: the verdicts of ``inbox.sql``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from ..protocol import Answer, Delivered, Message
from . import family
from .runs import refuse_connection
from .tables import Tables, verb


class Inbox:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    @verb
    def deliver(
        self,
        *,
        id: str,
        kind: str,
        name: str | None,
        key: str,
        payload: bytes | None,
        meant: int | None = None,
        connection: Any = None,
    ) -> Delivered:
        refuse_connection(connection)
        meant = family.latest(self._tables, meant)
        run = self._tables.named(id) if meant is None else self._tables.run.get(meant)
        if run is None:
            return Delivered(None, "absent", None)
        if key not in self._tables.inbox[run.run] and run.closed_at is not None:
            return Delivered(run.run, "closed", run.status)
        self._tables.accept(run, kind, name, key, payload, None)
        return Delivered(run.run, "accepted", run.status)

    @verb
    def read(self, wanted: Iterable[tuple[int, int]]) -> list[Message]:
        inbox = self._tables.inbox
        return [
            message
            for run, seen in sorted(wanted)
            for message in inbox[run].values()
            if message.seq > seen
        ]

    @verb
    def answers(self, wanted: Sequence[tuple[int, str]]) -> list[Answer]:
        found = [self._answer(run, key) for run, key in wanted]
        return [each for each in found if each is not None]

    def _answer(self, key: int, sent: str) -> Answer | None:
        tables = self._tables
        run, message = tables.run.get(key), tables.inbox[key].get(sent)
        if run is None or message is None:
            missing = "absent" if run is None else "unknown"
            return Answer(key, sent, missing, None, None, run.report if run else None, None)
        reply = tables.answer.get((key, message.seq))
        if reply is not None:
            return Answer(key, sent, *reply[1:], run.report, None)
        if run.closed_at is None and run.status != "stuck":
            return None
        later = [each.run for each in tables.run.values() if each.previous == key]
        successor = min(later, default=None) if run.status == "continued" else None
        return Answer(key, sent, run.status, None, None, run.report, successor)

    @verb
    def mail(self, worker: UUID) -> dict[int, bool]:
        owned = self._tables.owned_by(worker)
        return {run.run: run.paused_at is not None for run in owned if run.due_at is not None}

    @verb
    def clear_due(self, worker: UUID, seen: Sequence[tuple[int, int]]) -> None:
        for key, last in seen:
            run = self._tables.run.get(key)
            if run is not None and (run.worker, run.last_seq, run.paused_at) == (
                worker,
                last,
                None,
            ):
                run.due_at = None
