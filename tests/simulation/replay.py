"""Journals that a simulation wrote, fed to fresh code: to their end, and cut anywhere.

A run that is thrown out of memory after some event and built again must ask for the very same from
there on. What began in the world must have been asked for by events that were written before.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from durable._authoring.definitions import Definition
from durable._core import commands
from durable._runtime import rows
from durable._runtime.closing import closing
from durable._runtime.instance import Instance
from durable._store.memory.tables import Run, Tables
from durable._store.protocol import JournalRow

from .watch import Watch

ENDS = commands.Complete | commands.Fail | commands.Stop | commands.Continue


class Replay:
    """One run, fed again."""

    def __init__(self, tables: Tables, run: Run, definition: Definition) -> None:
        args, _ = tables.input[run.run]
        self.instance = Instance(
            run.run, id=run.id, claim=1, seed=run.seed, definition=definition, input=args
        )
        self.asked_at: dict[int, int] = {}
        self.ends: list[Any] = []

    def feed(self, row: JournalRow) -> str:
        """A digest of what its turn asks for."""
        asked = self.instance.again(row)
        for each in asked:
            if isinstance(each, commands.Run):
                self.asked_at[each.op] = row.position
            elif isinstance(each, ENDS):
                self.ends.append(each)
        told = "\n".join(_shown(self.instance, each) for each in asked)
        return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()

    def close(self) -> None:
        self.instance.replayer.close()


def _shown(instance: Instance, command: commands.Command) -> str:
    if isinstance(command, ENDS):
        return repr(closing(command, instance.definition, instance.replayer.next_op))
    if isinstance(command, commands.Spawn):
        return repr((*command[:-2], command.call.id, command.call.input))
    if isinstance(command, commands.Run):
        return repr((command.op, command.kind, command.name, command.digest, command.site,
                     command.call.nth))  # fmt: skip
    return repr(command)


def differences(
    tables: Tables, watch: Watch, definitions: dict[str, Definition], chance: random.Random, *,
    cuts: int | None,
) -> Iterator[str]:  # fmt: skip
    """What replay does otherwise, in words. Each journal is cut in ``cuts`` places; None: in
    all."""
    for run in list(tables.run.values()):
        definition = definitions[run.workflow]
        history = [row for row in tables.journal[run.run] if row.kind != "terminated"]
        read = rows.read(history).rows
        try:
            yield from _differences(tables, watch, run, definition, read, chance, cuts)
        except Exception as error:
            yield f"run {run.run} ({run.id}): replay raises {type(error).__name__}: {error}"


def _differences(
    tables: Tables, watch: Watch, run: Run, definition: Definition, read: list[JournalRow],
    chance: random.Random, cuts: int | None,
) -> Iterator[str]:  # fmt: skip
    whole = Replay(tables, run, definition)
    told = [whole.feed(row) for row in read]
    whole.close()
    yield from _early(watch, run, whole.asked_at)
    yield from _ended_otherwise(tables, run, whole)
    places: Iterable[int] = range(1, len(read))
    if cuts is not None:
        places = sorted(chance.sample(range(1, len(read)), min(cuts, max(0, len(read) - 1))))
    for cut in places:
        again = Replay(tables, run, replace(definition))
        differing = [row.position for row, asked in zip(read, told, strict=True)
                     if row.position <= cut and again.feed(row) != asked]  # fmt: skip
        again.close()
        if differing:
            yield f"run {run.run} ({run.id}): cut at {cut}, it differs at {differing[0]}"


def _early(watch: Watch, run: Run, asked_at: dict[int, int]) -> Iterator[str]:
    for (key, op), begun in watch.begun.items():
        if key == run.run and op in asked_at and begun[0].events <= asked_at[op]:
            yield f"run {key}: op {op} began before position {asked_at[op]} was written"
        elif key == run.run and op not in asked_at:
            yield f"run {key}: op {op} began, and no event leads to it"


def _ended_otherwise(tables: Tables, run: Run, whole: Replay) -> Iterator[str]:
    if run.status not in ("completed", "failed", "cancelled", "continued"):
        return
    if not whole.ends:
        yield f"run {run.run} ({run.id}): its journal does not lead to an end"
        return
    close = closing(whole.ends[-1], whole.instance.definition, whole.instance.replayer.next_op)
    stands = tables.result[run.run].result
    if (close.status, close.result) != (run.status, stands):
        yield f"run {run.run} ({run.id}): it {run.status} as {stands!r}, replayed {close}"
