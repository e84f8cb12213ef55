"""What became of it: the checkers of ``tests/proof`` over slices of the evidence (they are made
for a trial of one run, and would be quadratic in thousands), a few of its own, and the table."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from durable._codec.failures import decode_failure
from tests.proof import checkers
from tests.proof.evidence import Evidence, Row
from tests.proof.replayed import workflows

from . import sightings

RUNS_IN_SLICE = 100

# Of one promise, that many breaches are told in words.
TOLD_MAX = 10


def broken(evidence: Evidence) -> dict[str, list[str]]:
    """Broken promises, by the checker that says so."""
    found: dict[str, list[str]] = defaultdict(list)
    for part in slices(evidence):
        for name, breaches in checkers.check(part).items():
            found[name] += breaches
        for checker in OF_A_SLICE:
            found[checker.__name__] += checker(part)
    for checker in OF_ALL:
        found[checker.__name__] += checker(evidence)
    return {name: breaches for name, breaches in found.items() if breaches}


def families(evidence: Evidence) -> list[list[int]]:
    """Runs that must be judged together: those of one id, and those that one has begun, and so
    on."""
    parent = {row["id"]: evidence.id_of[row["parent_run"]] for row in evidence.tables["run"]
              if row.get("parent_run") in evidence.id_of}  # fmt: skip
    of_head = defaultdict[str, list[int]](list)
    for run, id in sorted(evidence.id_of.items()):
        head = id
        while head in parent:
            head = parent[head]
        of_head[head].append(run)
    return list(of_head.values())


def slices(evidence: Evidence) -> Iterator[Evidence]:
    """About a hundred runs each, with all that is known of them; and what is of no run."""
    groups: list[list[int]] = [[]]
    for family in families(evidence):
        if len(groups[-1]) >= RUNS_IN_SLICE:
            groups.append([])
        groups[-1] += family
    slice_of = {run: n for n, group in enumerate(groups) for run in group}
    slice_of_id = {id: slice_of[run] for run, id in evidence.id_of.items()}
    histories, audits = defaultdict[int | None, list[Row]](list), defaultdict[Any, list[Row]](list)
    for each in evidence.history:
        histories[slice_of_id.get(each.get("run", ""))].append(each)
    for each in evidence.audit:
        audits[slice_of.get(each["run"])].append(each)
    tables: dict[int | None, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for place, rows in evidence.tables.items():
        for row in rows:
            if place != "worker":
                tables[slice_of.get(row["run"])][place].append(row)
    bookings = defaultdict[Any, list[Row]](list)
    for each in evidence.bookings:
        bookings[slice_of_id.get(each["run"])].append(each)
    for n in (*range(len(groups)), None):
        mine = [] if n is None else groups[n]
        parts = {place: tables[n][place] for place in evidence.tables}
        yield replace(
            evidence, history=histories[n], audit=audits[n], bookings=bookings[n],
            tables={**parts, "worker": evidence.tables["worker"]},
            journals={run: evidence.journals[run] for run in mine},
            id_of={run: evidence.id_of[run] for run in mine},
        )  # fmt: skip


def runs_end_as_they_must(evidence: Evidence) -> Iterator[str]:
    """As in peace; or cancelled, if a client wanted that."""
    story_of = {each["run"]: each for each in evidence.seen("started")}
    cancelled = {each["run"] for each in evidence.seen("sent")}
    results = {row["run"]: row for row in evidence.tables["result"]}
    for row in evidence.tables["run"]:
        if row["status"] not in checkers.CLOSED or row["id"] not in story_of:
            continue
        story = story_of[row["id"]]
        if row["status"] in (*story["ends"], "continued"):  # whose heir is judged
            continue
        if row["status"] == "cancelled" and row["id"] in cancelled:
            continue
        failure = results[row["run"]]["failure"]
        why = failure and decode_failure(failure)
        if why and why.type in ALLOWED.get(story["case"], ()):
            continue
        yield f"run {row['run']} ({story['case']}) ended {row['status']}: {why}"


# What chaos may make of a case: a start that was recorded and whose end nobody knows.
ALLOWED = {"recorded_start": ("OutcomeUnknown",)}


def nothing_is_stuck_for_a_moment(evidence: Evidence) -> Iterator[str]:
    for write in evidence.writes("run", "update"):
        if write["row"]["status"] == "stuck":
            yield f"run {write['run']} was stuck: {write['row']['report']}"


def clients_were_told_what_stands(evidence: Evidence) -> Iterator[str]:
    for told in evidence.seen("result"):
        for run in evidence.run_of(told["run"]):
            row = next(each for each in evidence.tables["run"] if each["run"] == run)
            if row["status"] == "continued":
                continue
            reopened = any(each.kind == "voided" for each in evidence.journals[run])
            if told["status"] != row["status"] and not reopened:
                yield f"run {run} was told to be {told['status']}, and is {row['status']}"
            result = next((r for r in evidence.tables["result"] if r["run"] == run), None)
            if told["status"] == "completed" and result is not None and result["result"]:
                definition = workflows()[row["workflow"]]
                stands = repr(definition.signature.decode_result(result["result"]))
                if told["value"] != stands:
                    yield f"run {run}: {told['value']} was told, {stands} stands"


def what_was_started_is_there(evidence: Evidence) -> Iterator[str]:
    """Once; what has gone on as another is that one."""
    heirs = {row["run"]: row["heir"] for row in evidence.tables["result"] if row["heir"]}
    runs = Counter(id for run, id in evidence.id_of.items() if run not in heirs)
    for again in evidence.seen("started again"):
        run = again["first"]
        while run not in (None, again["second"]):
            run = heirs.get(run)
        if run is None:
            yield f"{again['run']}: started again it is {again['second']}, not {again['first']}"
    for each in evidence.seen("started"):
        if runs[each["run"]] != 1 and not (each["case"] == "replaced" and runs[each["run"]]):
            yield f"{each['run']} was started, and {runs[each['run']]} runs have its id"


def nobody_saw_what_must_not_be(evidence: Evidence) -> Iterator[str]:
    for each in evidence.seen("broken"):
        yield f"{each['run']}: {each['why']}"


def no_key_is_used_twice(evidence: Evidence) -> Iterator[str]:
    """Across all runs; the checkers see one slice."""
    of_key: dict[str, tuple[int, int]] = {}
    for begun in evidence.seen("begin"):
        call = (begun["of"], begun["op"])
        if of_key.setdefault(begun["key"], call) != call:
            yield f"calls {call} and {of_key[begun['key']]} share a key"


OF_A_SLICE = (
    runs_end_as_they_must,
    nothing_is_stuck_for_a_moment,
    clients_were_told_what_stands,
)
OF_ALL = (what_was_started_is_there, no_key_is_used_twice, nobody_saw_what_must_not_be)


def table(evidence: Evidence, skipped: dict[str, str], minutes: float) -> dict[str, Any]:
    """What was done, what was seen of it, and what ought to have been."""
    history = evidence.history
    done: Counter[str] = Counter()
    hindered: Counter[str] = Counter()
    seen: Counter[str] = Counter(dict.fromkeys(sightings.ALL, 0))
    for each in history:
        if each["kind"] == "fault":
            done[each["what"]] += each["state"] == "on"
            hindered[each["what"]] += each["state"] == "hindered"
        elif each["kind"] == "seen":
            seen[each["what"]] += each["n"]
    done.subtract(hindered)
    demanded = [what for least, several in sightings.DEMANDED if minutes >= least
                for what in several]  # fmt: skip
    kinds = Counter(each["kind"] for each in history)
    return {
        "runs": len(evidence.id_of),
        "attempts": kinds["begin"],
        "processes": kinds["began"],
        "came_of_it": _came_of_it(evidence),
        "injected": dict(sorted(done.items())),
        "not_injected": skipped,
        "seen": dict(seen),
        "never_seen": [what for what in demanded if not seen[what]],
    }


def _came_of_it(evidence: Evidence) -> dict[str, int]:
    """What the runs have done, whatever befell them."""
    rows, tables = evidence.tables["run"], evidence.tables
    ended = Counter(f"runs {row['status']}" for row in rows)
    sent = [each["what"] for each in evidence.seen("sent") if each["accepted"]]
    told = Counter(f"updates {each['status']}" for each in evidence.seen("answered"))
    return {
        **dict(sorted(ended.items())),
        "of them, children": sum(1 for row in rows if row["parent_run"] is not None),
        "transactions of runs": len(tables["outcome"]),
        "events": len(tables["journal"]),
        **{f"messages of clients: {what}": n for what, n in sorted(Counter(sent).items())},
        **{f"{what}, as callers were told": n for what, n in sorted(told.items())},
    }
