"""Children, parents and heirs in memory: the verdicts of ``children.sql`` and ``closed.sql``."""

from __future__ import annotations

from collections.abc import Callable

from ..._codec.values import encode
from ..family import Heir, NewChild
from ..protocol import Delivery
from .tables import Result, Run, Tables

DEPTH_MAX = 100


def child_of(tables: Tables, parent: int, op: int | None) -> Run | None:
    found = (tables.run[key] for key in tables.children.get(parent, ()))
    return next((run for run in found if run.current and run.parent_op == op), None)


def target_of(tables: Tables, sender: int, sent: Delivery) -> Run | None:
    if sent.target is not None:
        return tables.run.get(sent.target)
    if sent.child is not None:
        return child_of(tables, sender, sent.child)
    return None if sent.to is None else tables.named(sent.to)


def bear(tables: Tables, parent: Run, new: NewChild) -> None:
    """Start a child, or tell its parent why not."""
    if child_of(tables, parent.run, new.op) is not None:
        return
    if parent.depth >= DEPTH_MAX or tables.named(new.id) is not None:
        why = "deep" if parent.depth >= DEPTH_MAX else "taken"
        key = f"refused/{new.op}/{len(tables.journal[parent.run]) - 1}"
        tables.accept(parent, "refused", why, key, None, new.op)
        return
    moment = tables.now()
    run = Run(
        run=tables.next_key(),
        id=new.id,
        workflow=new.workflow,
        queue=parent.queue if new.queue is None else new.queue,
        priority=parent.priority if new.priority is None else new.priority,
        status="pending",
        due_at=max(new.begins_at or moment, moment),
        deadline=new.deadline,
        seed=new.seed,
        created_at=moment,
        parent_run=parent.run,
        parent_op=new.op,
        on_parent_close=new.on_parent_close,
        depth=parent.depth + 1,
    )
    tables.insert(run, new.input, new.input_digest)


def closed(tables: Tables, run: Run) -> None:
    """What every end of a run brings about."""
    length, ended = len(tables.journal[run.run]), tables.result[run.run]
    parent = None if run.parent_run is None else tables.run.get(run.parent_run)
    if parent is not None and parent.closed_at is None and run.status != "continued":
        payload = {"completed": ended.result, "failed": ended.failure}.get(
            run.status, None if ended.reason is None else encode(ended.reason)
        )
        key = f"child/{run.run}/{length}"
        tables.accept(parent, "child", run.status, key, payload, run.parent_op)
    if _dependents(tables, run.run):
        tables.farewell[run.run] = length


def tell_children(tables: Tables, end: Callable[[Run, str], None]) -> bool:
    """``end`` closes a run from outside."""
    if not tables.farewell:
        return False
    key, length = tables.farewell.popitem()
    parent = tables.run.get(key)
    if parent is not None and parent.closed_at is not None:
        why = f"its parent {parent.id} has ended"
        for child in _dependents(tables, key):
            if child.on_parent_close == "terminate":
                end(child, why)
            else:
                tables.accept(child, "cancel", why, f"parent/{key}/{length}", None, None)
    return True


def go_on(tables: Tables, old: Run, heir: Heir) -> None:
    """A run that has ended as ``continued`` goes on as a new one."""
    tables.retire(old)
    new = Run(
        run=tables.next_key(),
        id=old.id,
        previous=old.run,
        workflow=old.workflow,
        queue=old.queue,
        priority=old.priority,
        status="pending" if old.paused_at is None else "paused",
        paused_at=old.paused_at,
        due_at=tables.now(),
        deadline=old.deadline,
        seed=heir.seed,
        created_at=tables.now(),
        parent_run=old.parent_run,
        parent_op=old.parent_op,
        on_parent_close=old.on_parent_close,
        depth=old.depth,
    )
    tables.insert(new, heir.input, tables.input[old.run][1])
    tables.result[old.run].heir = new.run
    tables.inherit(new.run, old.run, continues=True)
    journal = tables.journal[old.run]
    read = max((row.seq or 0 for row in journal), default=0)
    again = {journal[position].seq for position in heir.unread}
    for key, message in tables.inbox[old.run].items():
        if message.op is None and (message.seq in again or message.seq > read):
            new.last_seq += 1
            inherited = message._replace(run=new.run, seq=new.last_seq)
            tables.inbox[new.run][key] = inherited


def latest(tables: Tables, run: int | None) -> int | None:
    """The run that a run goes on as, and so on; itself if it does not."""
    while run is not None and (ended := tables.result.get(run)) is not None:
        if ended.heir is None:
            break
        run = ended.heir
    return run


def generations(tables: Tables, run: Run) -> list[Run]:
    """A run, and those that it has come of by going on, the nearest first."""
    line = [run]
    while (before := tables.run.get(line[-1].previous or 0)) and before.status == "continued":
        line.append(before)
    return line


def resume(tables: Tables, parent: Run, reopen: Callable[[Run], str | None]) -> str | None:
    """A parent is retried: what its open ops wait for must come. Why that cannot be, or None."""
    tables.farewell.pop(parent.run, None)
    voided = {tables.voids.get((parent.run, row.position)) for row in tables.journal[parent.run]}
    answered = {
        row.op
        for row in tables.journal[parent.run]
        if row.kind == "child" and row.position not in voided
    }
    for key in sorted(tables.children.get(parent.run, ())):
        child = tables.run[key]
        if not child.current or child.closed_at is None or child.parent_op in answered:
            continue
        if child.status == "completed":
            closed(tables, child)
        elif child.status == "failed":
            refusal = reopen(child)
            if refusal is not None:
                return f"its child {child.id} cannot be retried: {refusal}"
        else:
            tables.retire(child)
            tables.children[parent.run].discard(key)
            child.parent_run = child.parent_op = None
    return None


def has_seen_failure(tables: Tables, child: Run) -> Run | None:
    """The parent that knows of the child's failure, and is open or failed with it."""
    parent = None if child.parent_run is None else tables.run.get(child.parent_run)
    if parent is None or (parent.closed_at is not None and parent.status != "failed"):
        return None
    rows = tables.journal[parent.run]
    voided = {tables.voids.get((parent.run, row.position)) for row in rows}
    seen = any(
        row.kind == "child" and row.op == child.parent_op and row.position not in voided
        for row in rows
    )
    return parent if seen else None


def _dependents(tables: Tables, parent: int) -> list[Run]:
    children = [tables.run[key] for key in sorted(tables.children.get(parent, ()))]
    return [
        each for each in children
        if each.current and each.closed_at is None and each.on_parent_close != "abandon"
    ]  # fmt: skip


def close(tables: Tables, run: Run, status: str, result: Result, heir: Heir | None = None) -> None:
    """A run ends, by itself or from outside."""
    tables.close(run, status, result)
    if heir is not None:
        go_on(tables, run, heir)
    closed(tables, run)
