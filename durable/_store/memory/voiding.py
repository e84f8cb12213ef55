"""What a retry does to a journal in memory: the ``voided`` row of ``retry.sql``."""

from __future__ import annotations

import os
from datetime import datetime

from ..protocol import JournalRow
from .tables import Run, Tables


def void(tables: Tables, run: Run) -> str | None:
    """Take back the event that the run failed with; null, or why not."""
    rows = tables.journal[run.run]
    ended, skipped, latest = tables.result[run.run], 0, rows[-1]
    for latest in reversed(rows):  # the last event that no earlier retry took back
        if latest.kind == "voided":
            skipped += 1
        elif skipped:
            skipped -= 1
        else:
            break
    if ended.failed_at not in (None, latest.position):
        return (
            f"events follow the failure at position {ended.failed_at} (up to "
            f"{latest.position}): it was handled before the run failed. Fork the run from "
            "before it instead."
        )
    redo = "redo" if ended.failed_at is None else None
    at = max(latest.at, tables.now())
    tables.voids[run.run, len(rows)] = latest.position
    rows.append(recorded(run.run, len(rows), "voided", redo, op=ended.next_op, at=at))
    del tables.result[run.run]
    return None


def recorded(
    run: int, position: int, kind: str, name: str | None, *, at: datetime, op: int | None = None
) -> JournalRow:
    return JournalRow(run, position, kind, at, os.urandom(16), op, name)
