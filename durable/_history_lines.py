"""Histories as lines of JSON: the run's own line first, then one for each of its events.

Whoever reads them gets the very bytes that the database holds: a payload is written in base64,
and beside it as a value for people (``durable.readable``), which is never read back. Files may be
put one after the other, and compared line by line. What cannot be read is refused in words: a
line that is no such line, a file that was cut, a format that is newer than this code.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from ._core.statuses import CLOSED, Status
from ._runtime import rows
from ._store.memory.readable import readable, readable_failure
from ._store.protocol import JournalRow, Message, Note
from .errors import HistoryUnreadable, InternalError

if TYPE_CHECKING:
    from ._histories import History

FORMAT = 1
MARK = "durable history"  # the first key of a run's line; its value is the format

# What holds an encoded value: of runs, events, notes and messages.
PAYLOADS = frozenset({"input", "result", "failure", "details", "payload"})

# Kinds of events, and what replay needs of each.
NEEDS: dict[str, tuple[str, ...]] = {
    "started": (),
    "activity": ("op", "name", "input"),
    "transaction": ("op", "name", "input"),
    "timer": ("op", "digest"),
    "signal": ("name", "result"),
    "cancel": (),
    "update": ("name", "seq", "result"),
    "child": ("op", "name", "digest"),
    "promise": ("op", "name"),
    "refused": (),
    "voided": ("op",),
    "terminated": (),
}

# What stands in the run's own line beside its facts.
LISTS: dict[str, Any] = {"notes": Note, "unread": Message}

SEED_BYTES, DUE_BYTES = 16, 8

# What is counted is counted on: a position, an op, the number of a message.
NUMBER_MAX = 2**62

# Writing


def written(history: History) -> Iterator[str]:
    header = msgspec.structs.asdict(history)
    events, notes, unread = (header.pop(name) for name in ("events", "notes", "unread"))
    told: dict[str, Any] = {MARK: FORMAT, "events": len(events)}
    told |= _written(header)
    if notes:
        told["notes"] = [_written(note._asdict()) for note in notes]
    if unread:
        told["unread"] = [_written(message._asdict()) for message in unread]
    yield _json(told)
    for event in events:
        facts = msgspec.structs.asdict(event)
        del facts["run"]
        yield _json(_written(facts))


def _written(facts: Mapping[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name, value in facts.items():
        if value is None:
            continue
        told[name] = msgspec.to_builtins(value)
        if name in PAYLOADS:
            show = readable_failure if name == "failure" else readable
            told[name] = {"base64": told[name], "value": show(value)}
    return told


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "))


# Reading


def parsed(lines: Iterable[bytes], source: str) -> Iterator[dict[str, Any]]:
    """What makes a ``History``, for each run of a file.

    Raises:
        HistoryUnreadable
    """
    number = last = 0
    facts: dict[str, Any] | None = None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            told = _object(line)
            if facts is None:
                facts, last = _begun(told), number
            else:
                facts["events"].append(_event(told, facts))
            if len(facts["events"]) == facts["length"]:
                yield _whole(facts)
                facts = None
        except _Unfit as error:
            raise HistoryUnreadable(source=source, line=number, why=str(error)) from None
    if facts is not None:
        why = (
            f"the file ends in the middle of run {facts['id']!r}, which began at line {last}: "
            f"{len(facts['events'])} of its {facts['length']} events are there"
        )
        raise HistoryUnreadable(source=source, line=number, why=why)


class _Unfit(Exception):
    """Why a line cannot be read, in words."""


def _object(line: bytes) -> dict[str, Any]:
    try:
        told = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _Unfit(f"it is no JSON ({error})") from None
    except RecursionError:
        raise _Unfit("it is nested too deep") from None
    if not isinstance(told, dict):
        raise _Unfit("it is no JSON object")
    return told


def _begun(told: dict[str, Any]) -> dict[str, Any]:
    from ._histories import History

    if MARK not in told:
        known = "an event without its run" if "position" in told else f"it has no {MARK!r}"
        raise _Unfit(f"{known}: a run's own line stands before its events")
    if told.pop(MARK) != FORMAT:
        raise _Unfit(f"it is of another format than {FORMAT}; a newer Durable wrote it")
    length = told.pop("events", None)
    if type(length) is not int or length < 0:
        raise _Unfit("it does not say how many events the run has")
    lists = [(name, kind, told.pop(name, [])) for name, kind in LISTS.items()]
    header = _converted(History, _raw(told))
    facts = {name: getattr(header, name) for name in header.__struct_fields__}
    for name, kind, values in lists:
        if not isinstance(values, list):
            raise _Unfit(f"its {name} are no list")
        facts[name] = tuple(_tuple(kind, each) for each in values)
    if facts["status"] not in set(Status):
        raise _Unfit(f"its status {facts['status']!r} is none of {', '.join(Status)}")
    if (facts["status"] in CLOSED) != (facts["closed_at"] is not None):
        raise _Unfit("its status and its closed_at contradict each other")
    if len(facts["seed"]) != SEED_BYTES:
        raise _Unfit(f"its seed has {len(facts['seed'])} bytes; it takes {SEED_BYTES}")
    _check_origins(facts["origins"])
    return {**facts, "events": [], "length": length}


def _check_origins(text: str | None) -> None:
    try:
        found = [] if text is None else msgspec.json.decode(text, type=list[tuple[int, int, str]])
    except (msgspec.DecodeError, RecursionError):
        raise _Unfit("its origins are no list of [until, run, id]") from None
    if [until for until, *_ in found] != sorted({until for until, *_ in found}):
        raise _Unfit("its origins are not in order")


def _event(told: dict[str, Any], facts: Mapping[str, Any]) -> JournalRow:
    expected = len(facts["events"])
    if MARK in told:
        raise _Unfit(
            f"another run begins, and of {facts['id']!r} only {expected} of {facts['length']} "
            "events are there"
        )
    row: JournalRow = _converted(JournalRow, {**_raw(told), "run": facts["run"]})
    if row.position != expected:
        raise _Unfit(f"it is event {row.position} of run {facts['id']!r}, where {expected} is due")
    needs = NEEDS.get(row.kind)
    if needs is None:
        raise _Unfit(f"its kind {row.kind!r} is none of {', '.join(NEEDS)}")
    missing = [name for name in needs if getattr(row, name) is None]
    if missing:
        raise _Unfit(f"an event of kind {row.kind!r} has no {', '.join(missing)}")
    is_last = row.position == facts["length"] - 1 and facts["status"] == Status.TERMINATED
    if row.kind == "terminated" and not is_last:
        raise _Unfit("it ends the run, and is not the last event of one that was terminated")
    if row.kind == "timer" and len(row.digest or b"") != DUE_BYTES:
        raise _Unfit("its digest is not the time when a timer is due")
    return row


def _whole(facts: dict[str, Any]) -> dict[str, Any]:
    del facts["length"]
    try:
        rows.read(facts["events"])
    except InternalError:
        raise _Unfit("a retry takes back more events than there are") from None
    return {**facts, "events": tuple(facts["events"])}


def _raw(told: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is there for people alone."""
    raw: dict[str, Any] = {}
    for name, value in told.items():
        if name in PAYLOADS:
            if not isinstance(value, dict) or "base64" not in value:
                raise _Unfit(f"its {name} has no 'base64'")
            value = value["base64"]  # noqa: PLW2901 - what it stands for
        raw[name] = value
    return raw


def _tuple(kind: Any, told: object) -> Any:
    if not isinstance(told, dict):
        raise _Unfit("a note or a message in it is no object")
    raw = _raw(told)
    fields = {**kind._field_defaults, **dict.fromkeys(_optional(kind)), **raw}
    if fields.keys() != set(kind._fields):
        wrong = sorted(fields.keys() ^ set(kind._fields))
        raise _Unfit(f"a {kind.__name__.lower()} in it lacks or does not know {', '.join(wrong)}")
    return _converted(kind, [fields[name] for name in kind._fields])


def _optional(kind: Any) -> list[str]:
    return [name for name, told in kind.__annotations__.items() if "None" in str(told)]


def _converted(kind: Any, raw: Any) -> Any:
    if isinstance(raw, dict):
        unknown = raw.keys() - set(kind.__struct_fields__)
        if unknown:
            raise _Unfit(f"it has {', '.join(sorted(unknown))}, which this version does not know")
    try:
        made = msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise _Unfit(str(error)) from None
    values = made if isinstance(made, tuple) else [getattr(made, n) for n in made.__struct_fields__]
    if any(isinstance(each, datetime) and each.tzinfo is None for each in values):
        raise _Unfit("a time in it has no zone")
    if any(isinstance(each, int) and abs(each) > NUMBER_MAX for each in values):
        raise _Unfit(f"a number in it is beyond {NUMBER_MAX}")
    return made
