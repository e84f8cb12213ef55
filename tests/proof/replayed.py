"""What the code of a run has asked for, as replay of its journal tells: for the checkers."""

from __future__ import annotations

from durable._authoring import registry
from durable._authoring.definitions import Definition
from durable._core import commands
from durable._runtime import rows
from durable._runtime.instance import Instance
from tests.proof.evidence import Evidence


def workflows() -> dict[str, Definition]:
    """Those of these tests: other tests of the process may use the same names for nothing."""
    known = registry.workflows().items()
    return {name: each for name, each in known if each.fn.__module__.startswith(__package__ or "")}


def instance_of(evidence: Evidence, run: int) -> Instance:
    row = next(each for each in evidence.tables["run"] if each["run"] == run)
    args = next(each["args"] for each in evidence.tables["input"] if each["run"] == run)
    definition = workflows()[row["workflow"]]
    return Instance(run, id=row["id"], claim=1, seed=row["seed"], definition=definition, input=args)


def shown_at(
    evidence: Evidence, run: int
) -> tuple[dict[str, list[bytes]], dict[str, bytes | None]]:
    """What the code has published by stream, and set by state, as replay tells."""
    instance = instance_of(evidence, run)
    streams: dict[str, list[bytes]] = {}
    states: dict[str, bytes | None] = {}
    try:
        for event in rows.read(evidence.journals[run]).rows:
            for each in instance.replayer.feed(rows.to_event(event, instance.replayer.open)):
                if isinstance(each, commands.Publish) and each.kind == "stream":
                    streams.setdefault(each.name, []).append(each.value)
                elif isinstance(each, commands.Publish):
                    states[each.name] = each.value
    except Exception:  # for another checker to tell
        return streams, states
    finally:
        instance.replayer.close()
    return streams, states


def begun_at(evidence: Evidence, run: int) -> set[int]:
    """By which ops the code has asked for children, as replay tells."""
    ops: set[int] = set()
    instance = instance_of(evidence, run)
    try:
        for event in rows.read(evidence.journals[run]).rows:
            asked = instance.replayer.feed(rows.to_event(event, instance.replayer.open))
            ops.update(each.op for each in asked if isinstance(each, commands.Spawn))
    except Exception:  # for another checker to tell
        return ops
    finally:
        instance.replayer.close()
    return ops


def asked_at(evidence: Evidence, run: int) -> dict[int, tuple[int, object]]:
    """Where the code asked for each op, and with which first argument, as replay tells."""
    row = next(each for each in evidence.tables["run"] if each["run"] == run)
    if not evidence.journals[run] or row["workflow"] not in workflows():
        return {}
    instance, asked = instance_of(evidence, run), dict[int, tuple[int, object]]()
    try:
        for event in rows.read(evidence.journals[run]).rows:
            for each in instance.replayer.feed(rows.to_event(event, instance.replayer.open)):
                if isinstance(each, commands.Run):
                    asked[each.op] = event.position, next(iter(each.call.arguments()[0]), None)
    except Exception:  # for another checker to tell
        return asked
    finally:
        instance.replayer.close()
    return asked
