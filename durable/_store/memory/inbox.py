"""The ``inbox`` table in memory: the verdicts of ``inbox.sql``."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from ..._codec.tokens import read_token
from .. import verbs
from ..protocol import DOUBTFUL_FROM, Answer, Answered, Delivered, Letter, Message, Taker
from . import family
from .runs import claim, refuse_connection
from .tables import Run, Tables, verb


class Inbox:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    @verb
    def deliver_many(self, sent: Sequence[verbs.Sent]) -> list[Delivered | None]:
        return [
            self._deliver(*each, None) if self._tables.named(each[0]) else None for each in sent
        ]

    @verb
    def deliver(
        self, id: str, letter: Letter, *, meant: int | None = None, connection: Any = None,
        taker: Taker | None = None,
    ) -> Delivered:  # fmt: skip
        refuse_connection(connection)
        return self._deliver(id, letter, meant, taker)

    def _deliver(
        self, id: str, letter: Letter, meant: int | None, taker: Taker | None
    ) -> Delivered:
        meant = family.latest(self._tables, meant)
        run = self._tables.named(id) if meant is None else self._tables.run.get(meant)
        if run is None:
            return Delivered(None, "absent", None)
        for each in family.generations(self._tables, run):
            if letter.key in self._tables.inbox[each.run]:
                return Delivered(each.run, "accepted", run.status)
        if run.closed_at is not None:
            return Delivered(run.run, "closed", run.status)
        self._tables.accept(run, *letter, None)
        delivered = Delivered(run.run, "accepted", run.status)
        by = None if taker is None else self._tables.worker.get(taker.worker)
        waits = run.status == "waiting" and run.worker is None and run.crashes < DOUBTFUL_FROM
        if taker is None or by is None or not (waits and by.serves(run)):
            return delivered
        claimed = claim(self._tables, run, taker.worker, taker.versions)
        taker.give(claimed._replace(messages=(self._tables.inbox[run.run][letter.key],)))
        return delivered._replace(is_taken=True)

    @verb
    def answer(
        self, token: str, answer: bytes, kind: str | None, *, connection: Any = None
    ) -> Answered:
        refuse_connection(connection)
        told = read_token(token)
        run = self._tables.run.get(told.run) if told is not None else None
        if told is None or run is None or not hmac.compare_digest(told.mac, told.mac_by(run.seed)):
            return Answered(None, None, "forged", None, told and told.kind)
        state = self._resolve(run, told.op, told.kind, answer, kind)
        return Answered(run.run, run.id, state, run.status, told.kind)

    def _resolve(
        self, run: Run, op: int, expected: str | None, answer: bytes, kind: str | None
    ) -> str:
        key = f"promise/{op}"
        if key in self._tables.inbox[run.run]:
            return "answered"
        if run.closed_at is not None:
            return "closed"
        fits = kind in (None, expected) or (expected, kind) == ("float", "int")
        if expected is not None and not fits:
            return "unfit"
        name = "reject" if kind is None else None
        self._tables.accept(run, "promise", name, key, answer, op)
        return "accepted"

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
