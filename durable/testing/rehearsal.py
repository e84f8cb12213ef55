"""A worker whose runs are built again from their journals after every turn.

So whatever the database does not hold, or holds otherwise than the code saw it, shows at once:
in a workflow that is not deterministic, or in Durable.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._core import commands, divergence
from .._runtime import rows
from .._runtime.cache import Cache
from .._runtime.instance import Instance
from .._runtime.worker import LiveWorker
from .._store.protocol import Advance, Verdict
from ..errors import CodecError, Divergence


class RehearsalWorker(LiveWorker):
    """While ``replays`` is set, a run is thrown out of memory after each turn, and built again
    from what the database holds, before it learns of anything new."""

    replays = True

    async def start(self) -> None:
        if self.replays:
            self.cache = Cache(0)
        await super().start()

    def _written(self, instance: Instance, advance: Advance, verdict: Verdict) -> None:
        if not self.replays:
            super()._written(instance, advance, verdict)
            return
        instance.in_flight = True  # nothing is fed to it meanwhile
        super()._written(instance, advance, verdict)
        goes_on = self.active.get(instance.run) is instance and verdict is Verdict.DONE
        if goes_on:
            self.own(self._rehearse(instance))
        else:
            instance.in_flight = False

    async def _rehearse(self, instance: Instance) -> None:
        """Run the code again, from the start to where it stands."""
        asked = dict(instance.replayer.open)
        history = await self.store.journal.read([(instance.run, 0)])
        if instance.lost:
            return
        if history[-1].kind == "terminated":
            instance.in_flight = False  # its next commit is told so
            return
        report = None
        try:
            instance.rewind()
            instance.replay(rows.read(history).rows)
            instance.position = len(history)
            report = _difference(asked, instance.replayer.open, len(history))
        except (Divergence, CodecError) as error:
            report = str(error)
        instance.in_flight = False
        if report is not None:
            self.refused(instance, report)
        elif instance.has_news:
            self.committer.submit(instance)


def _difference(before: dict[int, Any], after: dict[int, Any], position: int) -> str | None:
    """What the code asks for on replay and did not ask for at first, or the other way round."""
    if _known(before) == _known(after):
        return None
    changed = [op for op in sorted({*before, *after})
               if _known({op: before.get(op)}) != _known({op: after.get(op)})]  # fmt: skip
    first, again = (_told(commands.get(changed[0])) for commands in (before, after))
    return (
        f"When it was run again from its journal of {position} events, the code asked for "
        f"{again}, where it had asked for {first}. A workflow must do the same each time: clocks, "
        "chance and I/O belong into activities, or come from ctx (ctx.now(), ctx.random, "
        "ctx.uuid4())."
    )


def _known(asked: Mapping[int, Any]) -> list[tuple[Any, ...]]:
    return [(op, type(each), getattr(each, "name", None), getattr(each, "digest", None))
            for op, each in sorted(asked.items())]  # fmt: skip


def _told(command: commands.Open | None) -> str:
    return "nothing" if command is None else f"{divergence.describe(command)} at {command.site}"
