"""Checkers of what is said to runs: signals, updates, and what passes on when a run goes on as a
new one. Like those of ``checkers.py``, which counts them among its own."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from durable._codec.values import decode
from durable._core import commands
from tests.proof.evidence import Evidence, Row
from tests.proof.replayed import replay, workflows


def inherited_from(evidence: Evidence) -> dict[int, int]:
    """Of each heir, whose it is."""
    return {row["heir"]: row["run"] for row in evidence.tables["result"] if row["heir"]}


def chains_of(evidence: Evidence) -> list[list[int]]:
    """Runs, each with those that it went on as, in order."""
    heirs = {run: heir for heir, run in inherited_from(evidence).items()}
    chains = [[run] for run in evidence.id_of if run not in heirs.values()]
    for chain in chains:
        while chain[-1] in heirs:
            chain.append(heirs[chain[-1]])
    return chains


def was_retried(evidence: Evidence, *runs: int) -> bool:
    return any(each.kind == "voided" for run in runs for each in evidence.journals.get(run, ()))


def can_be_replayed(evidence: Evidence, run: int) -> bool:
    row = next(each for each in evidence.tables["run"] if each["run"] == run)
    return row["workflow"] in workflows() and not was_retried(evidence, run)


def runs_go_on_once_with_all_that_nobody_has_received(evidence: Evidence) -> Iterator[str]:
    """Promise 5 where a run goes on as a new one: one heir, begun as the code asked, whose inbox
    begins with what was unread, in order."""
    begun = Counter(row["previous"] for row in evidence.tables["run"])
    of_run = {row["run"]: row for row in evidence.tables["run"]}
    inputs = {row["run"]: row["args"] for row in evidence.tables["input"]}
    inboxes = defaultdict[int, list[Row]](list)
    for row in sorted(evidence.tables["inbox"], key=lambda row: row["seq"]):
        inboxes[row["run"]].append(row)
    for heir, run in inherited_from(evidence).items():
        old, new = of_run[run], of_run.get(heir)
        if new is None or begun[run] != 1 or new["previous"] != run:
            yield f"run {run} is to go on as {heir}; {begun[run]} follow it"
            continue
        for kept in ("id", "workflow", "queue", "priority", "parent_run", "parent_op"):
            if old[kept] != new[kept]:
                yield f"run {heir}: its {kept} is {new[kept]}, and was {old[kept]}"
        told, journal = replay(evidence, run), evidence.journals[run]
        wanted = [each.call for _, each in told.asked() if isinstance(each, commands.Continue)]
        if wanted != [inputs[heir]]:
            yield f"run {run} was to go on with {wanted}; run {heir} has {inputs[heir]!r}"
        unread = {each.seq for each in journal if each.position in told.unread}
        last = max((each.seq for each in journal if each.seq is not None), default=0)
        left = [row["key"] for row in inboxes[run]
                if row["op"] is None and (row["seq"] in unread or row["seq"] > last)]  # fmt: skip
        has = [row["key"] for row in inboxes[heir]]
        if has[: len(left)] != left:
            yield f"run {run} left {left} unread; run {heir} has {has}"
    for id, heads in Counter(row["id"] for row in of_run.values() if row["current"]).items():
        if heads != 1:
            yield f"{heads} runs are what {id} names"


def what_was_sent_is_received_once_and_in_order(evidence: Evidence) -> Iterator[str]:
    """Promise 5 for signals, of clients and of runs: what was accepted is received by one of the
    runs that the id went on as, once, in the order of each sender; or it waits in the last."""
    inboxes = defaultdict[int, dict[int, str]](dict)
    for row in evidence.tables["inbox"]:
        inboxes[row["run"]][row["seq"]] = row["key"]
    senders = senders_to(evidence)
    for chain in chains_of(evidence):
        if not all(can_be_replayed(evidence, run) for run in chain):
            continue
        received = [
            inboxes[run][event.seq or 0]
            for run in chain for event in evidence.journals[run]
            if event.kind == "signal" and event.position not in replay(evidence, run).unread
        ]  # fmt: skip
        for sender, sent in senders.get(chain[0], {}).items():
            for key in sent:
                if received.count(key) > 1:
                    yield f"runs {chain} received {key} of {sender} {received.count(key)} times"
                if key not in received and key not in inboxes[chain[-1]].values():
                    yield f"runs {chain}: {key} of {sender} is lost; they received {received}"
            came = [key for key in received if key in sent]
            if came != [key for key in sent if key in came]:
                yield f"runs {chain}: {sender} has sent {sent}, in this order; {came} came"


def senders_to(evidence: Evidence) -> dict[int, dict[str, list[str]]]:
    """By the first run of whoever they wrote to, of each sender the keys of what was accepted, in
    the order of sending."""
    first_of = {run: chain[0] for chain in chains_of(evidence) for run in chain}
    first_by_id = {evidence.id_of[run]: first for run, first in first_of.items()}
    found: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    told = [each for each in evidence.seen("sent") if each["what"] == "signal" and each["accepted"]]
    for note in sorted(told, key=lambda note: note["nth"]):
        keys = found[first_by_id[note["run"]]]["a client"]
        keys += [note["key"]] * (note["key"] not in keys)
    children = {(row["parent_run"], row["parent_op"]): row["run"]
                for row in evidence.tables["run"] if row["current"]}  # fmt: skip
    refused = {(row["run"], row["op"]) for row in evidence.tables["inbox"]
               if row["kind"] == "refused"}  # fmt: skip
    for run in evidence.journals:
        for _, each in replay(evidence, run).asked() if can_be_replayed(evidence, run) else ():
            if not isinstance(each, commands.Send) or each.kind != "signal":
                continue
            child = children.get((run, each.child))
            first = first_by_id.get(each.to) if each.child is None else first_of.get(child or 0)
            if first is not None and (run, each.op) not in refused:
                found[first][f"run {run}"].append(f"{run}:{each.op}")
    return found


def updates_are_answered_once(evidence: Evidence) -> Iterator[str]:
    """Promise 5 for updates: each is answered once, as the code did and as its caller was told;
    one that was rejected has changed nothing."""
    answers = defaultdict[int, dict[int, Row]](dict)
    for row in evidence.tables["answer"]:
        answers[row["run"]][row["seq"]] = row
    for run, journal in evidence.journals.items():
        if not can_be_replayed(evidence, run):
            continue
        told, stand = replay(evidence, run), answers[run]
        given = [each for _, each in told.asked() if isinstance(each, commands.Reply)]
        if sorted(each.seq for each in given) != sorted(stand):
            yield f"run {run} answered {[each.seq for each in given]}, {sorted(stand)} stand"
        for each in given:
            answer = stand.get(each.seq)
            if answer and (each.kind != answer["status"] or (
                each.kind == "completed" and each.payload != answer["result"]
            )):  # fmt: skip
                yield f"run {run} answered {each}, {answer} stands"
        for event in journal:
            if event.kind != "update" or event.failure is None:
                continue
            turn = told.turns.get(event.position, [])
            if any(not isinstance(each, commands.Reply | commands.Say) for each in turn):
                yield f"run {run} rejected an update at position {event.position}, and did {turn}"
    yield from _told_otherwise(evidence, answers)


def _told_otherwise(evidence: Evidence, answers: dict[int, dict[int, Row]]) -> Iterator[str]:
    """What callers of updates were told, and does not stand."""
    asked = defaultdict[tuple[str, str], list[tuple[int, int]]](list)
    for row in evidence.tables["inbox"]:
        if row["kind"] == "update":
            asked[evidence.id_of[row["run"]], row["key"]].append((row["run"], row["seq"]))
    for told in evidence.seen("answered"):
        places = asked[told["run"], told["key"]]
        stand = [answers[run][seq] for run, seq in places if seq in answers[run]]
        if told["status"] == "closed":
            if stand:
                yield f"{told['run']}: the answer to {told['key']} stands; its caller got none"
            continue
        value = decode(stand[0]["result"]) if stand and stand[0]["result"] else None
        if len(stand) != 1 or (stand[0]["status"], value) != (told["status"], told["answer"]):
            yield f"{told['run']}: {told['key']} was told {told}; {stand} stand"
        journaled = [event for run, seq in places for event in evidence.journals[run]
                     if event.seq == seq and event.position not in replay(evidence, run).unread
                     ]  # fmt: skip
        if len(journaled) != 1:
            yield f"{told['run']}: {told['key']} is {len(journaled)} events"
