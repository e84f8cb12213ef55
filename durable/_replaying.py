"""Replay without a database: a history is fed to the code at hand, and what that comes to is told.

Nothing is written and nothing is let out: no activity runs, no log line appears, no message is
sent. The code of the workflow itself runs, and does what it does when a worker takes the run up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeAlias

from ._authoring.definitions import Definition, workflow_of
from ._codec.failures import decode_failure
from ._core import commands, divergence
from ._core.hosts import lent
from ._histories import History
from ._runtime.closing import closing
from ._runtime.instance import Instance
from ._runtime.versions import differing
from ._store.memory.readable import readable
from ._store.protocol import Close, JournalRow
from .errors import Divergence, InvalidCall, shorten

# How a run stands whose code has not ended.
WAITS = "waits"

# How a run has ended: status, result, failure.
End: TypeAlias = tuple[str, bytes | None, bytes | None]


@dataclass(frozen=True, slots=True)
class Waiting:
    """One thing that the code waits for."""

    op: int
    what: str  # in words
    site: str  # file:line that asked


@dataclass(frozen=True, slots=True)
class Replayed:
    """What the code at hand came to, with the history of a run.

    Attributes:
        history: that was replayed.
        position: of the next event: so many have been recorded.
        status: "waits", if the code goes on from here; else how it ended: "completed", "failed",
            "cancelled", "continued".
        waits: all that it waits for, each with the line that asked.
        waits_for, waits_at: the same in short, as ``durable show`` has it.
        result: what the code has returned.
        error: what it has raised.
    """

    history: History
    position: int
    status: str
    waits: tuple[Waiting, ...] = ()
    waits_for: str | None = None
    waits_at: str | None = None
    result: Any = None
    error: BaseException | None = None

    def __str__(self) -> str:
        who = f"{self.history.workflow} {self.history.id!r}"
        return f"{who} fits its {self.position} events: {self.told}"

    @property
    def told(self) -> str:
        """How the run stands with this code, in words."""
        if self.status == WAITS:
            return f"waits for {self.waits_for}"
        if self.error is not None:
            return f"{self.status} with {type(self.error).__name__}: {self.error}"
        return self.status + (f" with {shorten(self.result)}" if self.result is not None else "")


def replay(history: History, workflow: Callable[..., Any] | None = None) -> Replayed:
    """Feed a recorded run to the code at hand: does it still ask for what its journal holds?

    Reads and writes no database, runs no activity, lets out no log line. ``workflow`` is the
    function; by default the one that is registered under the recorded name.

    Raises:
        Divergence: the code does not fit the journal; ``position``, ``recorded``, ``asked`` and
            ``site`` tell where. A run that was closed must also end as it did.
        DecodeError: a recorded value does not fit its annotation any more.
        NotRegistered: no workflow of that name is imported.
        InvalidCall: ``workflow`` is another one than that of the history.

    Example:
        for history in History.load("tests/histories.jsonl"):
            replay(history)
    """
    with Copy(history, workflow) as copy:
        with lent():  # to one run: an eighth of the time (bench replay)
            for row in history.fed:
                copy.feed(row)
        return copy.end()


class Copy:
    """The code of a run, as it is fed from its history event by event; ``with`` throws it away.

    ``instance`` is what a worker would hold. Nothing that the code asks for is done.
    """

    def __init__(self, history: History, workflow: Callable[..., Any] | None = None) -> None:
        self.history = history
        self.definition = definition_of(history, workflow)
        self.instance = Instance(
            history.run,
            id=history.id,
            claim=0,
            seed=history.seed,
            definition=self.definition,
            input=history.input,
            parent=history.parent,
            origins=history.origins,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.instance.replayer.close()

    @property
    def outcome(self) -> commands.Close | None:
        """How the code has ended; None if it goes on."""
        # What a worker takes from the commands of the last turn; those of a replay are dropped.
        return self.instance.replayer._outcome if self.instance.replayer.closed else None

    def feed(self, row: JournalRow) -> None:
        """One event, and the turn that it leads to.

        Raises:
            Divergence, DecodeError: the code does not fit.
        """
        self.instance.replay([row])

    def waits(self) -> tuple[Waiting, ...]:
        """All that the code waits for, in the order in which it asked."""
        return tuple(
            Waiting(op, divergence.describe(each), each.site)
            for op, each in sorted(self.instance.replayer.open.items())
        )

    def end(self) -> Replayed:
        """What the code has come to after the last event.

        Raises:
            Divergence: it has ended and the run has not, or the other way round, or otherwise; or
                an attempt has begun that the code does not ask for.
        """
        history, outcome = self.history, self.outcome
        position = len(history.events)
        is_over = history.closed_at is not None and history.status != "terminated"
        close = None
        if outcome is not None:
            close = closing(outcome, self.definition, self.instance.replayer.next_op)
        if history.status != "terminated" and (close is not None or is_over):
            self._check_end(close, position)
        if close is None:
            self.instance.take_over(history.notes)
            waits_for, waits_at = self.instance.waiting() if position else ("a worker", None)
            return Replayed(history, position, WAITS, self.waits(), waits_for, waits_at)
        error = outcome.error if isinstance(outcome, commands.Fail) else None
        result = outcome.value if isinstance(outcome, commands.Complete) else None
        return Replayed(history, position, close.status, result=result, error=error)

    def _check_end(self, close: Close | None, position: int) -> None:
        history = self.history
        recorded = (history.status, history.result, history.failure)
        now = close[:3] if close is not None else (WAITS, None, None)
        if _same(recorded if history.closed_at else (WAITS, None, None), now):
            return
        raise Divergence(
            position=position,
            recorded=_ending(*recorded) if history.closed_at else "a run that goes on",
            asked=_ending(*now) if close is not None else "more: it goes on",
            site=self.instance.waiting()[1] if close is None else None,
            kind="other" if close is None else "over",
        )


def definition_of(history: History, workflow: Callable[..., Any] | None = None) -> Definition:
    """The workflow that a history is replayed with.

    Raises:
        NotRegistered, InvalidCall: as of :func:`replay`.
    """
    definition = workflow_of(history.workflow if workflow is None else workflow)
    if definition.name != history.workflow:
        raise InvalidCall(
            f"The history of run {history.id!r} is one of workflow {history.workflow!r}, and "
            f"cannot be replayed with {definition.name!r} ({definition.place}). A workflow that "
            f"was renamed keeps its name in the database by @workflow(name={history.workflow!r})."
        )
    return definition


def told(error: Exception, history: History) -> str:
    """Why a history does not fit, with what may have to do with it: other versions."""
    return str(error) + differing(history.versions)


def _same(first: End, second: End) -> bool:
    """Whether two ends are one: tracebacks tell where the code stood, and may change."""
    if first[2] is None or second[2] is None:
        return first == second
    return first[0] == second[0] and _raised(first[2]) == _raised(second[2])


def _raised(failure: bytes) -> tuple[str, str, str]:
    described = decode_failure(failure)
    return described.module, described.type, described.message


def _ending(status: str, result: bytes | None, failure: bytes | None) -> str:
    if failure is not None:
        return f"its end, {status} with " + ": ".join(_raised(failure)[1:])
    return f"its end, {status}" + ("" if result is None else f" with {shorten(readable(result))}")
