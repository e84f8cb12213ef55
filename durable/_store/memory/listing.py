"""Runs as people look at them, in memory: what ``listing.sql`` answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from ..protocol import JournalRow, Message, Note
from . import family
from .readable import readable, readable_failure
from .tables import Result, Run, Tables, verb

FILTERS: dict[str, Callable[[Run, Any], bool]] = {
    "status": lambda run, wanted: run.status == wanted,
    "statuses": lambda run, wanted: run.status in wanted,
    "workflow": lambda run, wanted: run.workflow == wanted,
    "queue": lambda run, wanted: run.queue == wanted,
    "parent": lambda run, wanted: run.current and run.parent_run == wanted,
    "id_prefix": lambda run, wanted: run.current and run.id.startswith(wanted),
    "created_since": lambda run, wanted: run.created_at >= wanted,
    "created_until": lambda run, wanted: run.created_at < wanted,
    "closed_since": lambda run, wanted: run.closed_at is not None and run.closed_at >= wanted,
    "closed_until": lambda run, wanted: run.closed_at is not None and run.closed_at < wanted,
}

# Columns that belong to a history: of `run`, and of `result`.
RECORDED = ("run", "id", "workflow", "queue", "priority", "status", "seed", "versions",
            "created_at", "started_at", "closed_at", "due_at", "deadline", "report", "parent_op",
            "on_parent_close", "depth", "origins")  # fmt: skip
ENDS = ("result", "failure", "failed_at", "next_op", "reason")


class Listing:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    @verb
    def describe(self, id: str, meant: int | None = None) -> dict[str, Any] | None:
        meant = family.latest(self._tables, meant)
        run = self._tables.named(id) if meant is None else self._tables.run.get(meant)
        return None if run is None else self._described(run)

    @verb
    def page(
        self,
        filters: Mapping[str, Any],
        *,
        oldest_first: bool,
        limit: int,
        beyond: tuple[datetime, int] | None,
    ) -> list[dict[str, Any]]:
        if "parent" in filters:
            parent = self._tables.named(filters["parent"])
            filters = {**filters, "parent": parent.run if parent is not None else -1}
        found = sorted(
            (run.created_at, run.run)
            for run in self._tables.run.values()
            if all(FILTERS[name](run, wanted) for name, wanted in filters.items())
        )
        if beyond is not None:
            found = [at for at in found if (at > beyond if oldest_first else at < beyond)]
        if not oldest_first:
            found.reverse()
        return [self._described(self._tables.run[run]) for _, run in found[:limit]]

    @verb
    def delete(
        self,
        *,
        older_than: timedelta,
        status: Sequence[str] | None,
        workflow: str | None,
        dry_run: bool,
    ) -> int:
        before = self._tables.now() - older_than
        doomed = [
            run
            for run in self._tables.run.values()
            if run.closed_at is not None and run.closed_at < before
            and (status is None or run.status in status) and workflow in (None, run.workflow)
        ]  # fmt: skip
        if not dry_run:
            for run in doomed:
                self._tables.delete(run)
        return len(doomed)

    @verb
    def history(self, id: str) -> list[dict[str, Any]]:
        run = self._tables.named(id)
        return [] if run is None else [_event(row) for row in self._tables.journal[run.run]]

    @verb
    def selected(
        self, statuses: Sequence[str], workflow: str | None, limit: int | None
    ) -> list[int]:
        found = (run.run for run in self._tables.run.values()
                 if run.status in statuses and workflow in (None, run.workflow))  # fmt: skip
        return sorted(found, reverse=True)[:limit]

    @verb
    def recorded(self, runs: Sequence[int]) -> list[dict[str, Any]]:
        return [self._recorded(self._tables.run[run]) for run in sorted(runs)
                if run in self._tables.run]  # fmt: skip

    @verb
    def adopt(
        self,
        recorded: Mapping[str, Any],
        events: Sequence[JournalRow],
        voids: Mapping[int, int],
        notes: Sequence[Note],
        unread: Sequence[Message],
        parent: int | None,
    ) -> tuple[int | None, str | None]:
        tables = self._tables
        facts: dict[str, Any] = dict(recorded)
        if (other := tables.named(facts["id"])) is not None:
            return None, other.status
        key, is_open = tables.next_key(), facts["closed_at"] is None
        facts["created_at"] = facts["created_at"] or tables.now()
        args, digest = facts.pop("input"), facts.pop("input_digest")
        ended = [facts.pop(name) for name in ENDS]
        if is_open:
            facts["due_at"] = facts["due_at"] or tables.now()
            facts["paused_at"] = tables.now() if facts["status"] == "paused" else None
        else:
            tables.result[key] = Result(ended[0], ended[1], ended[2], ended[3] or 1, ended[4])
        if parent is None:
            facts |= {"parent_op": None, "on_parent_close": None}
        seqs = [row.seq or 0 for row in events] + [message.seq for message in unread]
        facts |= {"run": key, "parent_run": parent, "last_seq": max(seqs, default=0)}
        facts["read_seq"] = max((row.seq or 0 for row in events), default=0)
        run = Run(**facts)
        tables.insert(run, args, digest)
        tables.journal[key] = [msgspec.structs.replace(row, run=key) for row in events]
        tables.voids |= {(key, position): voided for position, voided in voids.items()}
        tables.attempt |= {(key, note.op): (UUID(int=0), note._replace(nth=0)) for note in notes}
        for each in unread:
            tables.inbox[key][f"imported:{each.seq}"] = each._replace(run=key)
        return key, None

    @verb
    def counts(self) -> dict[str, int]:
        return dict(Counter(run.status for run in self._tables.run.values()))

    def _described(self, run: Run) -> dict[str, Any]:
        tables = self._tables
        owner = tables.worker.get(run.worker) if run.worker is not None else None
        ended = tables.result.get(run.run)
        args, _ = tables.input[run.run]
        parent = None if run.parent_run is None else tables.run.get(run.parent_run)
        return {
            "run": run.run,
            "id": run.id,
            "workflow": run.workflow,
            "queue": run.queue,
            "priority": run.priority,
            "status": run.status,
            "created_at": run.created_at,
            "started_at": run.started_at,
            "closed_at": run.closed_at,
            "due_at": run.due_at,
            "deadline": run.deadline,
            "worker": None if owner is None else owner.registration.name,
            "waits_for": run.waits_for,
            "waits_at": run.waits_at,
            "report": run.report,
            "build": run.build,
            "reason": ended.reason if ended else None,
            "parent": parent.id if parent is not None else None,
            "events": len(tables.journal[run.run]),
            "input": readable(args),
            "result": readable(ended.result) if ended else None,
            "failure": readable_failure(ended.failure) if ended else None,
        }

    def _recorded(self, run: Run) -> dict[str, Any]:
        args, digest = self._tables.input[run.run]
        ended = self._tables.result.get(run.run)
        return {
            **{name: getattr(run, name) for name in RECORDED},
            "parent": run.parent_run,
            "input": args,
            "input_digest": digest,
            **{name: getattr(ended, name) if ended else None for name in ENDS},
            "events": len(self._tables.journal[run.run]),
            "notes": tuple(
                note for (of, _), (_, note) in self._tables.attempt.items() if of == run.run
            ),
        }


def _event(row: Any) -> dict[str, Any]:
    failure = readable_failure(row.failure)
    traceback = failure.pop("traceback", None) if failure is not None else None
    return {
        "position": row.position,
        "at": row.at,
        "kind": row.kind,
        "name": row.name,
        "input": readable(row.input),
        "result": readable(row.result),
        "failure": failure,
        "traceback": traceback,
        "site": row.site,
        "patches": row.patches,
    }
