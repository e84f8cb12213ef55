"""One checker per promise. Each takes the evidence of a trial and yields what breaks the
promise, in words; nothing, if nothing does. They know nothing of how the trial went."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import timedelta

from durable._codec.values import decode
from durable._core import commands
from durable._core.statuses import Status, may_become
from durable._runtime.closing import closing
from tests.proof.correspondence import (
    inherited_from,
    runs_go_on_once_with_all_that_nobody_has_received,
    updates_are_answered_once,
    what_was_sent_is_received_once_and_in_order,
)
from tests.proof.evidence import Evidence, Row
from tests.proof.replayed import asked_at, begun_at, replay, shown_at, workflows

Checker = Callable[[Evidence], Iterator[str]]

ENDS = commands.Complete | commands.Fail | commands.Stop | commands.Continue
CLOSED = ("completed", "failed", "cancelled", "terminated", "continued")
ASIDE = ("stuck", "unserved", "paused")

# Keys of cancels that no client has sent.
OF_THE_HOUSE = ("deadline", "parent/")


def journals_have_no_gaps_no_forks_and_never_change(evidence: Evidence) -> Iterator[str]:
    """Promise 3."""
    ends: dict[int, int] = {}
    for write in evidence.writes("journal"):
        row, run = write["row"], write["run"]
        where = f"run {run} position {row['position']}"
        if write["what"] != "insert":
            yield f"{where}: {write['what']} by {write['session']}"
            continue
        if row["position"] != ends.get(run, -1) + 1:
            yield f"{where}: written after position {ends.get(run, -1)}"
        ends[run] = row["position"]
        by_owner = row["kind"] not in ("voided", "terminated")
        if by_owner and write["owner"] is None:
            yield f"{where}: {row['kind']} written while nobody owned the run"
        elif by_owner and not write["session"].endswith(write["owner"][-55:]):
            yield f"{where}: written by {write['session']}, owned by {write['owner']}"
    for run, journal in evidence.journals.items():
        if [row.position for row in journal] != list(range(len(journal))):
            yield f"run {run}: positions {[row.position for row in journal]}"
        if len(journal) != ends.get(run, -1) + 1:
            yield f"run {run}: {len(journal)} rows, but {ends.get(run, -1) + 1} were written"
        ops = [row.op for row in journal if row.kind in ("activity", "transaction", "timer")]
        if not any(row.kind == "voided" for row in journal) and len(ops) != len(set(ops)):
            yield f"run {run}: an op was answered twice: {ops}"


def attempts_begin_only_for_what_is_not_journaled(evidence: Evidence) -> Iterator[str]:
    """Promise 2: no attempt for an op whose result was journaled before the claim; and retry
    repeats no completed step (8), which is the same thing."""
    results = {(w["run"], w["row"]["op"]): w for w in evidence.writes("journal", "insert")
               if w["row"]["kind"] in ("activity", "transaction")
               and w["row"]["failure"] is None}  # fmt: skip
    claimed: dict[tuple[int, int], float] = {}
    for write in evidence.writes("run", "insert", "update"):
        claimed.setdefault((write["run"], write["row"]["claim"]), write["at"])
    for begun in evidence.seen("begin"):
        run = begun["of"]
        result = results.get((run, begun["op"]))
        since = claimed.get((run, begun["claim"]))
        if result is not None and since is not None and result["at"] < since:
            yield (
                f"run {run} op {begun['op']} ({begun['name']}): an attempt of claim "
                f"{begun['claim']} began, though its result stood before that claim"
            )


def what_was_let_out_rests_on_journaled_results(evidence: Evidence) -> Iterator[str]:
    """Promise 2: an attempt begins, and a result is told, after what they rest on."""
    written = {(w["run"], w["row"]["position"]): w["at"]
               for w in evidence.writes("journal", "insert")}  # fmt: skip
    for run in evidence.journals:
        asked = asked_at(evidence, run)
        for begun in evidence.seen("begin"):
            if begun["of"] != run or begun["op"] not in asked:
                continue
            position, name = asked[begun["op"]]
            if begun["name"] != name:
                yield f"run {run}: {begun['name']} began where the journal leads to {name}"
            if begun["at"] + evidence.late < written.get((run, position), 0.0):
                yield f"run {run}: {begun['name']} began before position {position} was written"
        closed = [w for w in evidence.writes("result", "insert") if w["run"] == run]
        for told in evidence.seen("result"):
            if told["run"] == evidence.id_of[run] and (
                not closed or told["at"] + evidence.late < closed[0]["at"]
            ):
                yield f"run {run}: its result was told before it was written"


def effects_happen_exactly_once(evidence: Evidence) -> Iterator[str]:
    """Promise 4: a booking for each outcome, an outcome for each journaled transaction."""
    recorded = Counter(evidence.id_of.get(row["run"]) for row in evidence.tables["outcome"])
    booked = Counter(each["run"] for each in evidence.bookings)
    for id in recorded.keys() | booked.keys():
        if recorded[id] != booked[id]:
            yield f"{id}: {recorded[id]} outcomes, {booked[id]} bookings"
    for run in evidence.id_of:
        done = [r for r in evidence.journals[run] if r.kind == "transaction" and not r.failure]
        outcomes = {row["op"] for row in evidence.tables["outcome"] if row["run"] == run}
        for row in done:
            if row.op not in outcomes:
                yield f"run {run}: transaction op {row.op} is journaled without an outcome"
        results = [row for row in evidence.tables["result"] if row["run"] == run]
        status = next(r["status"] for r in evidence.tables["run"] if r["run"] == run)
        if (status in CLOSED) != (len(results) == 1):
            yield f"run {run} is {status} with {len(results)} results"


def keys_are_stable_and_unique(evidence: Evidence) -> Iterator[str]:
    """Idempotency keys: one per call, another for every other call."""
    of_call: dict[tuple[int, int], set[str]] = defaultdict(set)
    of_key: dict[str, set[tuple[int, int]]] = defaultdict(set)
    for begun in evidence.seen("begin"):
        call = (begun["of"], begun["op"])
        of_call[call].add(begun["key"])
        of_key[begun["key"]].add(call)
    for call, keys in of_call.items():
        if len(keys) > 1:
            yield f"call {call} was made under {len(keys)} keys"
    for key, calls in of_key.items():
        if len(calls) > 1:
            yield f"calls {sorted(calls)} share the key {key}"


def messages_are_read_exactly_once_and_in_order(evidence: Evidence) -> Iterator[str]:
    """Promise 5, and 8 for requests to cancel: read once, or the run closed first."""
    for row in evidence.tables["run"]:
        run = row["run"]
        inbox = sorted(r["seq"] for r in evidence.tables["inbox"] if r["run"] == run)
        if inbox != list(range(1, row["last_seq"] + 1)):
            yield f"run {run}: inbox {inbox}, last_seq {row['last_seq']}"
        voided = any(each.kind == "voided" for each in evidence.journals[run])
        read = [each.seq for each in evidence.journals[run] if each.seq is not None]
        if not voided and read != sorted(set(read)):
            yield f"run {run}: messages were read as {read}"
        if not set(read) <= set(inbox):
            yield f"run {run}: {read} were read, {inbox} were sent"
        unread = set(inbox) - set(read)
        if unread and row["status"] not in (*CLOSED, *ASIDE) and min(unread) < max(read, default=0):
            yield f"run {run}: {unread} were passed over"
    for id in {sent["run"] for sent in evidence.seen("sent")}:
        runs = evidence.run_of(id)
        kept = {row["key"] for row in evidence.tables["inbox"]
                if row["run"] in runs and row["kind"] in ("cancel", "promise")}  # fmt: skip
        sent = [each for each in evidence.seen("sent")
                if each["run"] == id and each["what"] != "signal"]  # fmt: skip
        if any(each["accepted"] for each in sent) and not kept:
            yield f"a message to {id} was accepted and is gone"
        if len(sent) < sum(1 for key in kept if not key.startswith(OF_THE_HOUSE)):
            yield f"messages to {id} stand more than once"


def timers_are_never_early(evidence: Evidence) -> Iterator[str]:
    """Promise 6, by the database's clock at the write."""
    for write in evidence.writes("journal", "insert"):
        row = write["row"]
        if row["kind"] == "timer":
            due = commands.EPOCH + timedelta(
                microseconds=int.from_bytes(bytes.fromhex(row["digest"][2:]), "big", signed=True)
            )
            if write["at"] < due.timestamp():
                yield (
                    f"run {write['run']}: the timer of op {row['op']} fired "
                    f"{due.timestamp() - write['at']:.3f} s early"
                )


def replay_equals_the_original(evidence: Evidence) -> Iterator[str]:
    """Promise 7: in this process, which ran none of it, each journal leads to the same end."""
    for row in evidence.tables["run"]:
        if row["status"] not in ("completed", "failed", "cancelled", "continued"):
            continue
        run, told = row["run"], replay(evidence, row["run"])
        if told.error is not None:
            yield f"run {run}: {type(told.error).__name__}: {told.error}"
            continue
        ends = [each for _, each in told.asked() if isinstance(each, ENDS)]
        if not ends:
            yield f"run {run}: its journal does not lead to an end"
            continue
        close = closing(ends[-1], workflows()[row["workflow"]], told.next_op)
        result = next((r for r in evidence.tables["result"] if r["run"] == run), None)
        if close.status != row["status"] or result is None or close.result != result["result"]:
            was = result and result["result"] and decode(result["result"])
            now = close.result and decode(close.result)
            yield f"run {run}: it ended {row['status']} {was!r}, replayed {close.status} {now!r}"


def open_runs_progress_or_are_listed(evidence: Evidence) -> Iterator[str]:
    """Promise 1, by the tables alone: each open run is due, owned by somebody who lives, waits
    for something that will come, or is set aside with a reason."""
    alive = {row["worker"] for row in evidence.tables["worker"]}
    for row in evidence.tables["run"]:
        run, read = row["run"], [j.seq for j in evidence.journals[row["run"]] if j.seq is not None]
        if row["status"] in CLOSED:
            continue
        if row["status"] == "stuck":
            yield f"run {run} is stuck: {row['report']}"
        elif row["status"] == "running" and row["worker"] not in alive:
            yield f"run {run} is owned by a worker that is gone: nobody will take it over"
        elif row["status"] in ("pending", "waiting"):
            mail = row["last_seq"] > max(read, default=0)
            if mail and (row["due_at"] is None or row["due_at"] > evidence.now):
                yield f"run {run} has unread mail and is not due"
    for waited in evidence.seen("gave up"):
        yield f"run {waited['run']} did not end in {waited['seconds']} s"


def cancel_reaches_open_runs(evidence: Evidence) -> Iterator[str]:
    """Promise 8: what was asked to cancel has seen it, or is closed."""
    for sent in evidence.seen("sent"):
        for run in evidence.run_of(sent["run"]) if sent["what"] == "cancel" else ():
            status = next(r["status"] for r in evidence.tables["run"] if r["run"] == run)
            saw = any(row.kind == "cancel" for row in evidence.journals[run])
            if sent["accepted"] and not saw and status not in CLOSED:
                yield f"run {run} was asked to cancel, and is {status} without having seen it"


def runs_move_as_the_table_of_statuses_says(evidence: Evidence) -> Iterator[str]:
    """Promise 1: what is paused is taken up by nobody; and nothing follows what was terminated."""
    before: dict[int, Status] = {}
    for write in evidence.writes("run", "insert", "update"):
        old, new = before.get(write["run"]), Status(write["row"]["status"])
        if old not in (None, new) and not may_become(Status(old), new):
            yield f"run {write['run']}: it was {old} and became {new}"
        before[write["run"]] = new
    for run, journal in evidence.journals.items():
        for row in journal[:-1]:
            if row.kind == "terminated":
                yield f"run {run}: terminated at position {row.position} of {len(journal)}"


def a_graceful_stop_hands_back(evidence: Evidence) -> Iterator[str]:
    """Promise 9: whoever left in order owns nothing, and has no row."""
    left = {each["pid"] for each in evidence.seen("left")}
    for ended in evidence.seen("exit"):
        if ended["code"] is None or ended["of"] not in left:
            yield f"worker {ended['of']} was asked to leave; it ended with {ended['code']}"
    # A row marked dead is finished by the next worker at once: its owner did not know of a claim
    # that was answered to nobody. Who has no run, and could not say farewell to a database that was
    # away, is found dead when its lease ends.
    was_away = bool(evidence.seen("away"))
    unheard = {each["pid"] for each in evidence.seen("unheard")}
    for row in evidence.tables["worker"]:
        if row["pid"] in left and row["state"] == "live":
            owned = [run["run"] for run in evidence.tables["run"] if run["worker"] == row["worker"]]
            if owned or not (was_away or row["pid"] in unheard):
                yield f"worker {row['name']} has left, and its row stands; runs of it: {owned}"


def what_is_shown_is_what_the_code_showed(evidence: Evidence) -> Iterator[str]:
    """Promise 4 for states and streams: of each turn exactly what it published, in order, and
    offsets without gaps."""
    for run in evidence.journals:
        row = next(each for each in evidence.tables["run"] if each["run"] == run)
        if row["workflow"] not in workflows() or any(
            each.kind == "voided" for each in evidence.journals[run]
        ):
            continue
        streams, states = shown_at(evidence, run)
        stood, before = (
            {each["name"]: each["value"] for each in evidence.tables["state"] if each["run"] == of}
            for of in (run, inherited_from(evidence).get(run))
        )
        if stood != before | states:
            yield f"run {run}: its states are {stood}, its code set {states}"
        items = sorted((each for each in evidence.tables["stream"] if each["run"] == run),
                       key=lambda each: (each["name"], each["seq"]))  # fmt: skip
        written: dict[str, list[bytes]] = {}
        offsets: dict[str, list[int]] = defaultdict(list)
        for each in items:
            offsets[each["name"]].append(each["seq"])
            if each["op"] is None and each["value"] is not None:
                written.setdefault(each["name"], []).append(each["value"])
        if written != streams:
            yield f"run {run}: its streams hold {written}, its code published {streams}"
        for name, seqs in offsets.items():
            if seqs != list(range(seqs[0], seqs[0] + len(seqs))):
                yield f"run {run}: the offsets of {name!r} are {seqs}"


def children_are_begun_once_and_their_ends_are_told(evidence: Evidence) -> Iterator[str]:
    """Promise 4 for children: one for each that the code asked for, and no other; and what its
    parent was told of its end is how it ended."""
    children = defaultdict[int, list[Row]](list)
    for row in evidence.tables["run"]:
        if row["parent_run"] in evidence.journals and row["current"]:
            children[row["parent_run"]].append(row)
    for parent in (row for row in evidence.tables["run"] if row["workflow"] in workflows()):
        run, journal = parent["run"], evidence.journals[parent["run"]]
        if any(each.kind == "voided" for each in journal):
            continue
        refused = {each.op or 0 for each in journal if each.kind == "refused"}
        asked = sorted(begun_at(evidence, run) - refused)
        begun = sorted(child["parent_op"] for child in children[run])
        if asked != begun:
            yield f"run {run}: its code asked for children by ops {asked}, there are {begun}"
        told = {each.op: each for each in journal if each.kind == "child"}
        mail = {each["op"] for each in evidence.tables["inbox"]
                if each["run"] == run and each["kind"] == "child"}  # fmt: skip
        for child in children[run]:
            op, status = child["parent_op"], child["status"]
            if op in told and (told[op].failure is None) != (status == "completed"):
                yield f"run {run}: its child {child['id']} is {status}; it was told otherwise"
            outlived = parent["closed_at"] is None or (
                child["closed_at"] is not None and child["closed_at"] < parent["closed_at"]
            )
            if status in CLOSED and outlived and op not in mail:
                yield f"run {run} was never told that its child {child['id']} is {status}"


CHECKERS: tuple[Checker, ...] = (
    journals_have_no_gaps_no_forks_and_never_change,
    attempts_begin_only_for_what_is_not_journaled,
    what_was_let_out_rests_on_journaled_results,
    effects_happen_exactly_once,
    keys_are_stable_and_unique,
    messages_are_read_exactly_once_and_in_order,
    timers_are_never_early,
    replay_equals_the_original,
    open_runs_progress_or_are_listed,
    cancel_reaches_open_runs,
    runs_move_as_the_table_of_statuses_says,
    a_graceful_stop_hands_back,
    what_is_shown_is_what_the_code_showed,
    runs_go_on_once_with_all_that_nobody_has_received,
    what_was_sent_is_received_once_and_in_order,
    updates_are_answered_once,
    children_are_begun_once_and_their_ends_are_told,
)


def check(evidence: Evidence) -> dict[str, list[str]]:
    """Broken promises, by the checker that says so."""
    found = {checker.__name__: list(checker(evidence)) for checker in CHECKERS}
    return {name: broken for name, broken in found.items() if broken}
