"""A divergence, told with what the run itself knows: lines, arguments, the command of a fork.

The core sees neither values nor ids; here they are put into its words.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from .._codec import sameness
from .._core import commands
from .._store.protocol import JournalRow
from ..errors import CodecError, Divergence, shorten

if TYPE_CHECKING:
    from .instance import Instance

# What an event is called if it has no name of its own, or a reason in its place.
NAMELESS = {"started": "its start", "cancel": "its cancellation"}


def seen(error: Divergence, instance: Instance, row: JournalRow | None = None) -> Divergence:
    """The same, as a divergence of this run; ``row`` is the event at which it has shown."""
    module = instance.definition.fn.__module__
    id, module = shlex.quote(instance.id), "MODULE" if module == "__main__" else module
    site = turn_of = otherwise = None
    if row is not None:
        site, turn_of = row.site, _named(row)
        otherwise = _other_argument(instance, row) if error.kind == "arguments" else None
    return error.seen(site, *instance.waiting(), turn_of=turn_of, otherwise=otherwise,
                      whose=f"{id} {module}")  # fmt: skip


def _named(row: JournalRow) -> str:
    name = NAMELESS.get(row.kind)
    return name or (f"{row.kind} {row.name!r}" if row.name else row.kind)


def _other_argument(instance: Instance, row: JournalRow) -> str | None:
    """The first in which the recorded call and the code's differ, where both are here."""
    operation = instance.replayer._operations.get(row.op or 0)
    if row.input is None or operation is None or not isinstance(operation.asked, commands.Run):
        return None
    call = operation.asked.call
    try:
        found = sameness.difference(row.input, call.input, call.definition.signature)
    except CodecError:
        return None
    return found and f"{found.path} was {shorten(found.before)}, and is {shorten(found.now)} now"
