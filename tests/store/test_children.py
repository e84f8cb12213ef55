"""Children in the store: begun by a commit, once; their end is told, whoever brings it about."""

from __future__ import annotations

import os
from typing import Any

import pytest

from durable._store.family import Heir, NewChild
from durable._store.protocol import Close, Delivery, Effects, Verdict

from .stage import Stage, birth, completed, failed, message, new_run, parked, row, turn

DONE, PARKED, LEFT_OUT, LOST = Verdict.DONE, Verdict.PARKED, Verdict.LEFT_OUT, Verdict.LOST


def child(op: int, id: str | None = None, **given: Any) -> NewChild:
    usual = NewChild(
        op, id or f"child-{op}", id is not None, "order", None, None, os.urandom(16), b"\x90",
        b"digest", None, None, "cancel",
    )  # fmt: skip
    return usual._replace(**given)


async def named(stage: Stage, id: str) -> Any:
    run = await stage.store.runs.current(id)
    return None if run is None else await stage.run(run)


async def ended(stage: Stage, parent: int, close: Close) -> Close:
    return close._replace(parent=parent)


async def claimed(stage: Stage, worker: Any) -> dict[str, Any]:
    return {each.id: each for each in await stage.store.runs.claim(worker, limit=100)}


async def family_of(stage: Stage, *children: NewChild) -> tuple[Any, int, dict[str, Any]]:
    """A worker, its run, and that one's children, claimed."""
    worker = await stage.worker()
    (parent,) = await stage.born(worker, "parent")
    assert await stage.commit(worker, turn(parent, 1, children=children)) == [DONE]
    return worker, parent, await claimed(stage, worker)


def end(run: Any, parent: int, close: Close) -> Any:
    return turn(run.run, 0, claim=run.claim, close=close._replace(parent=parent))


async def test_children_are_begun_with_their_parents_queue_and_priority(stage: Stage) -> None:
    worker = await stage.worker()
    await stage.start("parent", priority=2)
    (parent,) = await stage.store.runs.claim(worker, limit=1)
    sent = turn(parent.run, 0, children=(child(1), child(2, "mine", queue="other", priority=-1)))
    for _ in range(2):  # the second is a send after a lost answer
        assert await stage.commit(worker, sent) == [DONE]
    first, second = await named(stage, "child-1"), await named(stage, "mine")
    assert (first["queue"], first["priority"], first["status"]) == ("default", 2, "pending")
    assert (second["queue"], second["priority"], second["depth"]) == ("other", -1, 1)
    assert (first["parent_run"], first["parent_op"]) == (parent.run, 1)
    (taken,) = await stage.store.runs.claim(worker, limit=10)
    assert (taken.id, taken.parent) == ("child-1", parent.run)


async def test_a_parent_and_its_op_name_one_child_however_often_it_is_asked_for(
    stage: Stage,
) -> None:
    worker, parent, children = await family_of(stage, child(1))
    assert await stage.commit(worker, turn(parent, 2, children=(child(1),))) == [DONE]
    assert (await named(stage, "child-1"))["run"] == children["child-1"].run
    assert await stage.inbox(parent) == []


async def test_a_child_of_a_run_that_is_born_with_it(stage: Stage) -> None:
    worker = await stage.worker()
    (key,) = await stage.store.runs.keys(1)
    assert await stage.commit(
        worker, turn(key, 0, birth=birth("parent"), children=(child(1), child(2, "mine")))
    ) == [DONE]
    assert (await named(stage, "mine"))["parent_run"] == key


async def test_an_id_that_is_taken_is_refused_to_its_parent_alone(stage: Stage) -> None:
    await stage.start("taken")
    worker = await stage.worker(workflows=())
    parent, other = await stage.born(worker, "parent", "other")
    verdicts = await stage.commit(
        worker,
        turn(parent, 1, children=(child(1), child(2, "taken"), child(3, "mine"), child(4, "mine"))),
        turn(other, 1, children=(child(1, "others"),)),
    )
    assert verdicts == [DONE, DONE]
    read = await stage.store.inbox.read([(parent, 0), (other, 0)])
    assert [(each.run, each.kind, each.name, each.op) for each in read] == [
        (parent, "refused", "taken", 2), (parent, "refused", "taken", 4),
    ]  # fmt: skip
    assert (await named(stage, "mine"))["parent_op"] == 3
    assert (await named(stage, "taken"))["parent_run"] is None


async def test_generations_have_an_end(stage: Stage) -> None:
    worker = await stage.worker()
    (run,) = await stage.born(worker, "0")
    claim, at = 1, 1
    for depth in range(1, 102):
        sent = turn(run, at, claim=claim, children=(child(1, str(depth)),))
        assert await stage.commit(worker, sent) == [DONE]
        if depth == 101:
            break
        (taken,) = await stage.store.runs.claim(worker, limit=1)
        run, claim, at = taken.run, taken.claim, 0
    (read,) = await stage.store.inbox.read([(run, 0)])
    assert (read.kind, read.name, read.op) == ("refused", "deep", 1)


@pytest.mark.parametrize(
    ("close", "told"),
    [
        (completed(), ("completed", b"\xc0")),
        (failed(None), ("failed", b"\x80")),
        (Close("cancelled", None, None, None, 1), ("cancelled", None)),
    ],
)
async def test_a_childs_end_is_told_to_its_parent(
    stage: Stage, close: Close, told: tuple[str, bytes | None]
) -> None:
    worker, parent, children = await family_of(stage, child(7))
    sent = end(children["child-7"], parent, close)
    for _ in range(2):
        assert await stage.commit(worker, sent) == [DONE]
    (read,) = await stage.store.inbox.read([(parent, 0)])
    assert (read.kind, read.op) == ("child", 7)
    assert (read.name, read.payload) == told
    assert await stage.store.inbox.mail(worker) or parent


async def test_many_children_end_in_one_commit_with_their_parents_park(stage: Stage) -> None:
    worker, parent, children = await family_of(stage, *(child(op) for op in range(1, 6)))
    verdicts = await stage.commit(
        worker,
        turn(parent, 2, park=parked()),
        *(end(each, parent, completed()) for each in children.values()),
    )
    assert verdicts == 6 * [DONE]  # it has mail, and was not put away
    assert sorted(each.op or 0 for each in await stage.store.inbox.read([(parent, 0)])) == [
        1, 2, 3, 4, 5,
    ]  # fmt: skip


async def test_whoever_ends_a_child_tells_its_parent(stage: Stage) -> None:
    worker, parent, children = await family_of(stage, child(1, "a"), child(2, "b"), child(3, "c"))
    await stage.store.runs.terminate("a", "enough")
    await stage.start("b", "replace")
    assert await stage.commit(worker, end(children["c"], parent, completed())) == [DONE]
    read = await stage.store.inbox.read([(parent, 0)])
    assert [(each.op, each.name) for each in read] == [
        (1, "terminated"), (2, "terminated"), (3, "completed"),
    ]  # fmt: skip
    assert read[0].payload == b"\x01\xa6enough"


async def test_a_child_is_sent_to_by_the_op_that_began_it_in_the_same_commit(
    stage: Stage,
) -> None:
    worker = await stage.worker()
    (parent,) = await stage.born(worker, "parent")
    sent = (
        Delivery(None, "signal", "s", "k1", b"\xc3", 2, "", 1),
        Delivery(None, "cancel", None, "k2", None, 3, "", 9),  # there is none: it is done, then
        Delivery(None, "signal", "s", "k3", b"\xc3", 4, "child-1"),
    )
    assert await stage.commit(worker, turn(parent, 1, children=(child(1),), deliveries=sent)) == [
        DONE
    ]
    run = (await named(stage, "child-1"))["run"]
    assert [key for _, _, key in await stage.inbox(run)] == ["k1", "k3"]
    assert await stage.inbox(parent) == []


async def test_children_of_a_run_that_ends_are_told_in_batches(stage: Stage) -> None:
    policies = {1: "cancel", 2: "terminate", 3: "abandon", 4: "cancel"}
    worker, parent, children = await family_of(
        stage, *(child(op, on_parent_close=each) for op, each in policies.items())
    )
    assert await stage.commit(worker, end(children["child-4"], parent, completed())) == [DONE]
    close = completed()._replace(has_children=True)
    assert await stage.commit(worker, turn(parent, 2, close=close)) == [DONE]
    while await stage.store.runs.tell_children():
        pass
    assert not await stage.store.runs.tell_children()
    kinds = {op: await stage.inbox(children[f"child-{op}"].run) for op in policies}
    assert {op: [kind for _, kind, _ in each] for op, each in kinds.items()} == {
        1: ["cancel"], 2: [], 3: [], 4: [],
    }  # fmt: skip
    (told,) = await stage.store.inbox.read([(children["child-1"].run, 0)])
    assert told.name == "its parent parent has ended"
    assert (await named(stage, "child-2"))["status"] == "terminated"
    assert (await named(stage, "child-3"))["status"] == "running"


async def test_a_retried_parent_brings_its_children_along(stage: Stage) -> None:
    worker, parent, children = await family_of(stage, *(child(op) for op in range(1, 6)))
    by_op = {op: children[f"child-{op}"] for op in range(1, 6)}
    await stage.commit(worker, end(by_op[1], parent, completed()))
    await stage.commit(worker, end(by_op[2], parent, failed(None)))
    answers = [row(parent, 2, "child", op=1, seq=1), row(parent, 3, "child", op=2, seq=2)]
    advance = turn(parent, 2, rows=0, close=failed(3)._replace(has_children=True))
    advance.rows = answers
    assert await stage.commit(worker, advance) == [DONE]
    # After its parent's end.
    await stage.commit(worker, end(by_op[3], parent, completed()))
    await stage.commit(worker, end(by_op[4], parent, failed(None)))
    await stage.commit(worker, end(by_op[5], parent, Close("cancelled", None, None, None, 1)))
    assert len(await stage.inbox(parent)) == 2
    refusal = await stage.store.runs.retry("child-2")
    assert refusal is not None and "its parent parent has seen that it failed" in refusal

    assert await stage.store.runs.retry("parent") is None
    statuses = {op: (await stage.run(each.run))["status"] for op, each in by_op.items()}
    assert statuses == {
        1: "completed", 2: "pending", 3: "completed", 4: "pending", 5: "cancelled",
    }  # fmt: skip
    read = await stage.store.inbox.read([(parent, 2)])
    assert [(each.op, each.name) for each in read] == [(3, "completed")]
    assert sorted(await stage.store.runs.children(parent)) == [1, 2, 3, 4]
    assert await named(stage, "child-5") is None  # its id is free: the parent begins it anew
    taken = await claimed(stage, worker)
    again = turn(by_op[2].run, 2, claim=taken["child-2"].claim, close=completed())
    again.effects = Effects(close=completed()._replace(parent=parent))
    assert await stage.commit(worker, again) == [DONE]
    assert [each.op for each in await stage.store.inbox.read([(parent, 3)])] == [2]


async def test_a_run_that_goes_on_keeps_its_name_and_what_nobody_has_received(
    stage: Stage,
) -> None:
    worker, parent, children = await family_of(stage, child(1, "mine"))
    old = children["mine"]
    for key in ("read", "fed", "unread"):
        await stage.send("mine", key)
    rows = [row(old.run, 0, "started"), row(old.run, 1, "signal", op=None, seq=1),
            row(old.run, 2, "signal", op=None, seq=2)]  # fmt: skip
    advance = turn(old.run, 0, rows=0, claim=old.claim)
    close = Close("continued", None, None, None, 5, parent=parent)
    begotten = Heir(bytes(16), b"\x91\x01", (2,))
    advance.rows, advance.effects = rows, Effects(close=close, heir=begotten)
    for _ in range(2):
        assert await stage.commit(worker, advance) == [DONE]

    heir = await named(stage, "mine")
    assert heir["run"] != old.run and heir["status"] == "pending" and heir["last_seq"] == 2
    assert (heir["parent_run"], heir["parent_op"]) == (parent, 1)
    assert [key for _, _, key in await stage.inbox(heir["run"])] == ["fed", "unread"]
    assert await stage.inbox(parent) == []
    (outcome,) = await stage.store.runs.settled([old.run])
    assert (outcome.status, outcome.heir) == ("continued", heir["run"])
    sent = await stage.send("mine", "later", meant=old.run)
    assert (sent.run, sent.state) == (heir["run"], "accepted")
    (taken,) = (await claimed(stage, worker)).values()
    assert (taken.input, taken.parent) == (b"\x91\x01", parent)
    last = turn(taken.run, 0, claim=taken.claim, close=completed()._replace(parent=parent))
    assert await stage.commit(worker, last) == [DONE]
    assert [each.op for each in await stage.store.inbox.read([(parent, 0)])] == [1]


async def test_a_pause_goes_along_with_a_run_that_goes_on(stage: Stage) -> None:
    """Its last turn was under way when somebody asked it to hold."""
    worker = await stage.worker()
    (run,) = await stage.born(worker, "held")
    assert await stage.store.runs.pause("held", True) is None
    advance = turn(run, 1)
    close = Close("continued", None, None, None, 5)
    advance.effects = Effects(close=close, heir=Heir(bytes(16), b"\x91\x01", ()))
    assert await stage.commit(worker, advance) == [DONE]
    heir = await named(stage, "held")
    assert heir["run"] != run and heir["status"] == "paused"
    assert await claimed(stage, worker) == {}
    assert await stage.store.runs.pause("held", False) is None
    assert list(await claimed(stage, worker)) == ["held"]


async def test_a_run_that_has_gone_on_knows_what_is_repeated(stage: Stage) -> None:
    """A start, and messages that it has read, though it has other arguments by now."""
    worker, new = await stage.worker(), new_run("mine")
    first = (await stage.store.runs.start(new)).run
    await stage.send("mine", "read")
    run, (sender,) = first, await stage.born(worker, "sender")
    for nth in range(2):
        (old,) = (await claimed(stage, worker)).values()
        advance = turn(run, 0, rows=0, claim=old.claim)
        advance.rows = [row(run, 0, "started")]
        if not nth:
            advance.rows.append(row(run, 1, "signal", op=None, seq=1))
        close = Close("continued", None, None, None, 5)
        advance.effects = Effects(close=close, heir=Heir(os.urandom(16), b"\x91\x01", ()))
        assert await stage.commit(worker, advance) == [DONE]
        run = (await named(stage, "mine"))["run"]
    assert run != first

    again = await stage.store.runs.start(new)
    assert (again.run, again.created, again.input) == (run, True, None)
    other = await stage.store.runs.start(new_run("mine"))
    assert (other.run, other.created, other.input) == (run, False, None)
    other = await stage.store.runs.start(new_run("mine", input_digest=b"another"))
    assert (other.run, other.created, other.input) == (run, False, new.input)
    sent = await stage.send("mine", "read")
    assert (sent.run, sent.state) == (first, "accepted")
    by_run = Delivery(None, "signal", "shipped", "read", b"\xc3", 1, "mine")
    assert await stage.commit(worker, turn(sender, 1, deliveries=(by_run,))) == [DONE]
    assert await stage.inbox(run) == [] == await stage.inbox(sender)
    assert (await stage.send("mine", "unread")).run == run


async def test_a_parent_that_is_locked_leaves_its_childs_end_out_and_nothing_else(
    stage: Stage,
) -> None:
    worker, parent, children = await family_of(stage, child(1))
    (other,) = await stage.born(worker, "other")
    stranger = await stage.stranger()
    sent = end(children["child-1"], parent, completed())
    async with stranger.transaction():
        await stranger.execute("select from durable.run where run = $1 for update", parent)
        assert await stage.commit(worker, sent, turn(other, 1)) == [LEFT_OUT, DONE]
    assert await stage.commit(worker, sent, patient=True) == [DONE]
    assert len(await stage.inbox(parent)) == 1


async def test_an_id_that_hangs_leaves_its_parent_out_and_nobody_else(stage: Stage) -> None:
    worker, stranger = await stage.worker(), await stage.stranger()
    parent, other = await stage.born(worker, "parent", "other")
    sent = turn(parent, 1, children=(child(1, "hangs"),))
    async with stranger.transaction():
        await stranger.execute("select pg_advisory_xact_lock(durable.id_key('hangs'))")
        assert await stage.commit(worker, sent, turn(other, 1, children=(child(1),))) == [
            LEFT_OUT, DONE,
        ]  # fmt: skip
    assert await stage.commit(worker, sent, patient=True) == [DONE]
    assert (await named(stage, "hangs"))["parent_run"] == parent


async def test_a_message_that_came_first_is_read_before_a_childs_end(stage: Stage) -> None:
    worker, parent, children = await family_of(stage, child(1))
    sent = turn(children["child-1"].run, 0, claim=1, close=completed()._replace(parent=parent),
                deliveries=(message(parent, "first"),))  # fmt: skip
    assert await stage.commit(worker, sent) == [DONE]
    assert [kind for _, kind, _ in await stage.inbox(parent)] == ["signal", "child"]
