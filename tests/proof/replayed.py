"""What the code of a run has asked for, as replay of its journal tells: for the checkers."""

from __future__ import annotations

from dataclasses import dataclass, field

from durable._authoring import registry
from durable._authoring.definitions import Definition
from durable._core import commands
from durable._runtime import rows
from durable._runtime.instance import Instance
from durable._runtime.work import arguments
from tests.proof.evidence import Evidence


@dataclass
class Replayed:
    """``turns``: what the code asked for, by the position of the event that it was fed.
    ``unread``: positions of the messages that nobody has received. ``error``: where it came to an
    end before its journal did, which is for one checker to tell."""

    turns: dict[int, list[commands.Command]] = field(default_factory=dict)
    unread: frozenset[int] = frozenset()
    next_op: int = 0
    error: Exception | None = None

    def asked(self) -> list[tuple[int, commands.Command]]:
        """All of it, in order, each with its position."""
        return [(position, each) for position, turn in self.turns.items() for each in turn]


def workflows() -> dict[str, Definition]:
    """Those of these tests: other tests of the process may use the same names for nothing."""
    known = registry.workflows().items()
    return {name: each for name, each in known if each.fn.__module__.startswith(__package__ or "")}


def instance_of(evidence: Evidence, run: int) -> Instance:
    row = next(each for each in evidence.tables["run"] if each["run"] == run)
    args = next(each["args"] for each in evidence.tables["input"] if each["run"] == run)
    definition = workflows()[row["workflow"]]
    return Instance(run, id=row["id"], claim=1, seed=row["seed"], definition=definition, input=args)


def replay(evidence: Evidence, run: int) -> Replayed:
    """Of a run whose workflow is one of these tests'; in this process, which ran none of it."""
    known: Replayed | None = evidence.replays.get(run)
    if known is not None:
        return known
    told = evidence.replays[run] = Replayed()
    instance = instance_of(evidence, run)
    replayer = instance.replayer
    try:
        for each in rows.read(evidence.journals[run]).rows:
            told.turns[each.position] = instance.again(each)
    except Exception as error:  # whatever it is, the promise is broken
        told.error = error
    finally:
        unread = replayer.mailbox.unread() + replayer.updates.unread()
        told.unread, told.next_op = frozenset(unread), replayer.next_op
        replayer.close()
    return told


def shown_at(
    evidence: Evidence, run: int
) -> tuple[dict[str, list[bytes]], dict[str, bytes | None]]:
    """What the code has published by stream, and set by state."""
    streams: dict[str, list[bytes]] = {}
    states: dict[str, bytes | None] = {}
    for _, each in replay(evidence, run).asked():
        if isinstance(each, commands.Publish) and each.kind == "stream":
            streams.setdefault(each.name, []).append(each.value)
        elif isinstance(each, commands.Publish):
            states[each.name] = each.value
    return streams, states


def begun_at(evidence: Evidence, run: int) -> set[int]:
    """By which ops the code has asked for children."""
    asked = replay(evidence, run).asked()
    return {each.op for _, each in asked if isinstance(each, commands.Spawn)}


def asked_at(evidence: Evidence, run: int) -> dict[int, tuple[int, object]]:
    """Where the code asked for each activity, and with which first argument."""
    row = next(each for each in evidence.tables["run"] if each["run"] == run)
    if not evidence.journals[run] or row["workflow"] not in workflows():
        return {}
    return {
        each.op: (position, next(iter(arguments(each.call)[0]), None))
        for position, each in replay(evidence, run).asked()
        if isinstance(each, commands.Run)
    }
