"""A run that shares the beginning of another one's history, and one that begins anew."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from durable import Context, Signal, Update, activity, workflow
from durable._store import verbs
from durable.errors import (
    Divergence,
    ForkRefused,
    InvalidCall,
    NotRegistered,
    RetryRefused,
    RunExists,
    RunFailed,
    RunNotFound,
)
from durable.testing import Environment, History, replay

parcels = Signal[str]("forking/parcel")
renames = Update[str, str]("forking/rename")
changes: dict[str, Any] = {}


@pytest.fixture(autouse=True)
def _as_recorded() -> Iterator[None]:
    changes.clear()
    yield
    changes.clear()


@activity(name="forking/step")
async def step(name: str) -> str:
    return f"{name} {changes.get('answer', 1)}"


@activity(name="forking/breaks")
async def breaks() -> str:
    raise ConnectionError("no line")


@workflow(name="forking/child")
async def child(ctx: Context, name: str) -> str:
    await ctx.sleep(60)
    return f"{name} of {ctx.id}"


@workflow(name="forking/known")
async def known(ctx: Context) -> list[str]:
    """All that its code can see of who it is goes into what it asks for."""
    promise = ctx.promise(str, name="approval")
    done = [await ctx.activity(step, f"{ctx.id} {promise.token} {ctx.uuid4()}")]
    began = await ctx.start_child(child, "x")
    done.append(await ctx.activity(step, f"{began.id} {ctx.random.random()}"))
    done.append(await began.result())
    done.append(await promise)
    done.append(await ctx.activity(step, changes.get("last", "as it was")))
    return [*done, ctx.id]


async def known_run(env: Environment) -> list[str]:
    """Its journal: started, step, step, child, promise, step."""
    handle = await env.start(known, id="a")
    await env.advance(minutes=2)
    token = (await History.of(env, "a")).events[1].input
    assert token is not None
    words = (await env.history("a"))[1]["input"][0].split()
    assert await env.resolve(words[1], "granted")
    return await handle.result()


async def test_a_fork_replays_as_who_it_was_and_goes_on_as_who_it_is(env: Environment) -> None:
    result = await known_run(env)
    changes["last"] = "as it should be"
    fork = await env.handle("a", known).fork(at=5, id="b")
    assert await fork.result() == [*result[:4], "as it should be 1", "b"]
    assert await env.handle("a", known).result() == result
    for id in "ab":
        changes["last"] = "as it was" if id == "a" else "as it should be"
        assert replay(await History.of(env, id)).status == "completed"


async def test_a_fork_of_a_fork(env: Environment) -> None:
    result = await known_run(env)
    first = await env.handle("a", known).fork(at=5, id="b")
    await first.result()
    fork = await first.fork(at=5)
    assert fork.id.startswith("b/fork-")
    assert await fork.result() == [*result[:4], "as it was 1", fork.id]
    origins = (await History.of(env, "b")).origins
    assert (await History.of(env, fork.id)).origins == origins
    later = await first.fork(at=5, id="c", result="elsewhere")
    later = await later.fork(at=7, id="d")
    assert await later.result() == [*result[:4], "elsewhere", "d"]
    assert json.loads((await History.of(env, "d")).origins or "")[0] == json.loads(origins or "")[0]


@pytest.mark.parametrize(
    ("at", "words"),
    [
        (0, r"shares one event at least.*handle.restart\(\)"),
        (-1, "one event at least"),
        (1, "promise 'approval' .op 1. asked for at test_forking.py:.* at 5"),
        (2, "promise 'approval'.*child 'forking/child'.*answers go to the run that asked.*at 5"),
        (4, "promise 'approval' .* is open there, .* Likewise after the answer, at 5."),
        (6, "it has ended with its last event, 5"),
        (7, "its journal has 6 events, so it can share 6 at most"),
    ],
)
async def test_a_position_that_nothing_goes_on_from_is_refused_with_a_better_one(
    env: Environment, at: int, words: str
) -> None:
    await known_run(env)
    with pytest.raises(ForkRefused, match=words) as caught:
        await env.handle("a", known).fork(at=at, id="b")
    assert (caught.value.id, caught.value.at) == ("a", at)
    with pytest.raises(RunNotFound):
        await env.handle("b").status()


@workflow(name="forking/order")
async def order(ctx: Context, name: str) -> list[str]:
    if changes.get("sleeps"):
        await ctx.sleep(1)
    done = [await ctx.activity(step, name)]
    if changes.get("returns early"):
        return done
    if changes.get("begins"):
        done.append(await ctx.child(child, "y"))
    async with asyncio.timeout(86_400):
        done.append(await ctx.receive(parcels))
    done.append(await ctx.activity(step, "ship"))
    return done


async def test_what_was_sent_later_is_received_anew_and_what_is_sent_now_too(
    env: Environment,
) -> None:
    handle = await env.start(order, "x", id="a")
    await handle.signal(parcels, "first")
    await handle.signal(parcels, "second")
    await handle.result()
    first = await handle.fork(at=2)
    assert await first.result() == ["x 1", "first", "ship 1"]
    await handle.fork(at=3, id="c")
    assert [each.name for each in (await History.of(env, "c")).events if each.seq] == [parcels.name]


async def test_what_a_run_never_received_before_it_was_ended_its_fork_receives(
    env: Environment,
) -> None:
    handle = await env.start(order, "x", id="a")
    await env.advance(seconds=1)
    await handle.pause()
    await handle.signal(parcels, "held")
    await handle.terminate()
    fork = await handle.fork(at=2)
    assert await fork.result() == ["x 1", "held", "ship 1"]


async def test_however_much_was_sent_a_fork_receives_all_of_it(
    env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verbs, "MESSAGES_MAX", 3)
    handle = await env.start(order, "x", id="a")
    await env.advance(seconds=1)
    await handle.pause()
    for n in range(10):
        await handle.signal(parcels, f"p{n}")
    assert len((await History.of(env, "a")).unread) == 10
    fork = await handle.fork(at=2, id="b")
    await fork.result()
    history = await History.of(env, "b")
    received = [each.seq for each in history.events if each.seq is not None]
    assert len(received) + len(history.unread) == 10


async def test_an_open_run_is_forked_as_it_stands(env: Environment) -> None:
    handle = await env.start(order, "x", id="a")
    await env.advance(seconds=1)
    fork = await handle.fork(at=2)
    await fork.signal(parcels, "for the fork")
    assert await fork.result() == ["x 1", "for the fork", "ship 1"]
    assert await handle.status() == "waiting"
    late = await handle.fork(at=2)
    with pytest.raises(RunFailed, match="TimeoutError"):
        await late.result()


async def test_what_is_open_runs_again_under_the_same_key(env: Environment) -> None:
    handle = await env.start(order, "x", id="a")
    await handle.signal(parcels, "p")
    await handle.result()
    fork = await handle.fork(at=3)
    await fork.result()
    keys = [call.key for call in env.calls(step) if call.args == ("ship",)]
    assert len(keys) == 2
    assert len(set(keys)) == 1


async def test_another_result_leads_another_way(env: Environment) -> None:
    handle = await env.start(order, "x", id="a")
    await handle.signal(parcels, "p")
    await handle.result()
    fork = await handle.fork(at=1, result="paid by hand")
    assert await fork.result() == ["paid by hand", "p", "ship 1"]
    kinds = [each["kind"] for each in await env.history(fork.id)]
    assert kinds[:5] == ["started", "activity", "voided", "activity", "signal"]
    assert replay(await History.of(env, fork.id)).result == ["paid by hand", "p", "ship 1"]
    again = await fork.fork(at=4)
    assert await again.result() == ["paid by hand", "p", "ship 1"]
    with pytest.raises(ForkRefused, match=r"a retry, the event 2, has taken back .* at 1, or at 3"):
        await fork.fork(at=2)


async def test_the_answer_of_a_child_and_of_a_promise_can_be_another_one(env: Environment) -> None:
    changes["begins"] = True
    handle = await env.start(order, "x", id="a")
    await handle.signal(parcels, "p")
    await handle.result()
    fork = await handle.fork(at=3, result="nobody's")
    assert await fork.result() == ["x 1", "nobody's", "p", "ship 1"]
    assert await env.list(parent=fork.id) == []
    await known_run_in(env)


async def known_run_in(env: Environment) -> None:
    handle = await env.start(known, id="k")
    await env.advance(minutes=2)
    words = (await env.history("k"))[1]["input"][0].split()
    await env.resolve(words[1], "granted")
    result = await handle.result()
    fork = await handle.fork(at=4, result="refused")
    assert (await fork.result())[3] == "refused" != result[3]


@pytest.mark.parametrize(
    ("at", "result", "error", "words"),
    [
        (0, 1, ForkRefused, "one event at least"),
        (2, 1, ForkRefused, "there is signal, which has no result"),
        (4, 1, ForkRefused, "has ended|nothing yet"),
        (1, 7, Exception, "does not fit"),
        (1, object(), Exception, "object"),
    ],
)
async def test_a_result_that_cannot_be_is_refused(
    env: Environment, at: int, result: Any, error: type[Exception], words: str
) -> None:
    handle = await env.start(order, "x", id="a")
    await handle.signal(parcels, "p")
    await handle.result()
    with pytest.raises(error, match=words):
        await handle.fork(at=at, id="b", result=result)
    with pytest.raises(RunNotFound):
        await env.handle("b").status()


async def test_code_that_does_not_fit_or_ends_early_is_told_before_anything_is_written(
    env: Environment,
) -> None:
    handle = await env.start(order, "x", id="a")
    await handle.signal(parcels, "p")
    await handle.result()
    changes["sleeps"] = True
    with pytest.raises(Divergence, match="position 1"):
        await handle.fork(at=3, id="b")
    del changes["sleeps"]
    changes["returns early"] = True
    with pytest.raises(ForkRefused, match="the code has ended by then"):
        await handle.fork(at=2, id="b")
    with pytest.raises(RunNotFound):
        await env.handle("b").status()


async def test_ids_and_workflows_that_are_not_to_be_had(env: Environment, server_url: str) -> None:
    handle = await env.start(order, "x", id="a")
    await env.advance(seconds=1)
    with pytest.raises(RunExists, match="a fork cannot have it: give it another one"):
        await handle.fork(at=1, id="a")
    with pytest.raises(InvalidCall):
        await handle.fork(at=1, id="")
    with pytest.raises(RunNotFound):
        await env.handle("nobody").fork(at=1)
    await env.start("forking/unknown", id="u")
    with pytest.raises(NotRegistered):
        await env.handle("u").fork(at=1)


async def test_a_fork_is_the_way_out_of_a_divergence(env: Environment) -> None:
    handle = await env.start(order, "x", id="a")
    await env.advance(seconds=1)
    changes["answer"] = 2
    fork = await handle.fork(at=1)
    await fork.signal(parcels, "p")
    assert (await fork.result())[0] == "x 2"


async def test_an_imported_run_with_a_token_and_a_childs_id_in_its_arguments_goes_on(
    make: Callable[..., Environment],
) -> None:
    async with make() as env:
        await env.start(known, id="before, so that keys differ")
        await env.start(known, id="a")
        await env.advance(seconds=1)
        history = await History.of(env, "a")
        begun = [each async for each in History.all(env, workflow="forking/child")]
    async with make() as other:
        key = await history.bring_into(other)
        assert key != history.run
        copied = await History.of(other, "a")
        assert replay(copied).waits_for == replay(history).waits_for
        for each in begun:
            await each.bring_into(other, parent=key if each.parent == history.run else None)
            await other.handle(each.id).resume()
        await other.handle("a").resume()
        await other.advance(minutes=2)
        assert await other.handle("a").status() == "waiting"
        assert [each["kind"] for each in await other.history("a")][-1] == "child"


# Restart


async def test_a_run_begins_anew_under_its_id(env: Environment) -> None:
    handle = await env.start(order, "x", id="a", queue="default", priority=1)
    await handle.signal(parcels, "p")
    await handle.result()
    changes["answer"] = 2
    again = await handle.restart()
    await again.signal(parcels, "q")
    assert await again.result() == ["x 2", "q", "ship 2"]
    assert await handle.result() == ["x 1", "p", "ship 1"]
    assert await env.handle("a", order).result() == ["x 2", "q", "ship 2"]
    told = await again.describe()
    assert (told.priority, told.input) == (1, ["x"])


async def test_an_open_run_is_ended_by_its_restart(env: Environment) -> None:
    handle = await env.start(order, "x", id="a")
    await env.advance(seconds=1)
    again = await env.handle("a", order).restart()
    assert await handle.status() == "terminated"
    await again.signal(parcels, "q")
    assert (await again.result())[1] == "q"


async def test_a_run_whose_id_is_anothers_is_not_restarted(env: Environment) -> None:
    handle = await env.start(order, "x", id="a")
    await handle.restart()
    with pytest.raises(RetryRefused, match="its id names another run now"):
        await handle.restart()
    with pytest.raises(RunNotFound):
        await env.handle("nobody").restart()
