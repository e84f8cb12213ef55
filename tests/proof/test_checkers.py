"""Each checker can fail. A bug is planted, as one might have written it; what provokes it is
done; and the checker says so. Without the bug the same story keeps every promise."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from durable import Client, Context, Durable, DurableError, activity, workflow
from durable._authoring import attempts as authoring
from durable._codec.values import encode
from durable._runtime import (
    activities,
    attempts,
    births,
    chores,
    claimer,
    committer,
    streaming,
    timers,
    work,
)
from durable._runtime import (
    instance as instances,
)
from durable._store.postgres import outcomes
from durable._store.postgres.journal import Journal
from durable._store.protocol import Unavailable, Verdict
from durable.errors import LeaseLost
from tests.proof import acts, canon, checkers, history
from tests.proof.planting import each_way, execute, planted, said, verdict
from tests.runtime.takeovers import fall_silent, worker_of
from tests.store.stage import Stage, row, turn

Patch = pytest.MonkeyPatch


Seed = Callable[[Patch, Durable], Awaitable[None] | None]


def early(patch: Patch, app: Durable) -> None:
    arm = timers.Timers.arm
    by = timedelta(seconds=0.2)
    patch.setattr(timers.Timers, "arm", lambda self, run, op, due: arm(self, run, op, due - by))


def repeating(patch: Patch, app: Durable) -> None:
    right = authoring.idempotency_key
    patch.setattr(authoring, "idempotency_key",
                  lambda seed, name, digest, nth: right(seed, name, digest, 0))  # fmt: skip


def live_object(patch: Patch, app: Durable) -> None:
    right = work.encoded
    for module in (attempts, activities):
        patch.setattr(module, "encoded", lambda sig, value: (right(sig, value)[0], value))


def let_out_early(patch: Patch, app: Durable) -> None:
    right = committer.Committer._send

    async def send(self: Any, batch: Any) -> None:
        for instance, _ in batch:
            worker_of(app)._let_out(instance, parked=False)
        await asyncio.sleep(0.02)  # quick activities begin
        await right(self, batch)

    patch.setattr(committer.Committer, "_send", send)


def reads_again(patch: Patch, app: Durable) -> None:
    async def read_mail(self: Any) -> None:
        instances = list(self._worker.active.values())
        for run, messages in (await self._read_messages(instances)).items():
            for message in messages:
                for _ in range(2):
                    self._worker.active[run].arrivals.append(message)
                self._worker.active[run].seen = message.seq
            self._worker.committer.submit(self._worker.active[run])

    patch.setattr(claimer.Claimer, "_read_mail", read_mail)


def shows_again(patch: Patch, app: Durable) -> None:
    right, before = streaming.gathered, list[Any]()

    def gathered(effects: Any, publishers: Any, key: bytes) -> Any:
        before.extend(effects)  # and never cleared
        return right(before, publishers, key)

    patch.setattr(instances, "gathered", gathered)


def begets_again(patch: Patch, app: Durable) -> None:
    right = births.to_children

    def to_children(effects: Any) -> Any:
        begun = right(effects)
        return [*begun, *(each._replace(op=each.op + 100, id=each.id + "b") for each in begun)]

    patch.setattr(births, "to_children", to_children)


def deaf(patch: Patch, app: Durable) -> None:
    async def mail(worker: Any) -> list[int]:
        return []

    patch.setattr(app.store.inbox, "mail", mail)


shared: list[int] = []


@activity(name="proof.fill")
async def fill() -> list[int]:
    shared.append(len(shared))
    return shared


@workflow(name="proof.mutable")
async def mutable(ctx: Context) -> int:
    shared.clear()
    first = await ctx.activity(fill)
    await ctx.activity(fill)
    return len(first)


@workflow(name="proof.sleepy")
async def sleepy(ctx: Context) -> None:
    await ctx.sleep(0.3)


@workflow(name="proof.cleans_up")
async def cleans_up(ctx: Context) -> str:
    try:
        await ctx.sleep(4)
    finally:
        try:
            await ctx.sleep(0.2)
        finally:
            await ctx.activity(acts.act, "clean-up")
    return "never"


async def to_its_end(app: Durable, flow: Any, cancel: bool) -> None:
    handle = await app.start(flow, id="a")
    if cancel:
        history.note("sent", run="a", what="cancel", accepted=await handle.cancel())
    try:
        async with asyncio.timeout(1.0 if cancel else 20):
            with suppress(DurableError):
                await handle.result()
            history.note("result", run="a")
    except TimeoutError:
        history.note("gave up", run="a", seconds=1.0)


@each_way
@pytest.mark.parametrize(
    ("seed", "flow", "checker"),
    [
        (early, sleepy, checkers.timers_are_never_early),
        (repeating, canon.steps, checkers.keys_are_stable_and_unique),
        (live_object, mutable, checkers.replay_equals_the_original),
        (let_out_early, canon.steps, checkers.what_was_let_out_rests_on_journaled_results),
        (reads_again, cleans_up, checkers.messages_are_read_exactly_once_and_in_order),
        (shows_again, canon.shown, checkers.what_is_shown_is_what_the_code_showed),
        (begets_again, canon.family, checkers.children_are_begun_once_and_their_ends_are_told),
        (deaf, cleans_up, checkers.cancel_reaches_open_runs),
    ],
    ids=lambda each: getattr(each, "__name__", None),
)
async def test_a_bug_of_a_worker_is_seen(
    audited: str, tmp_path: Path, bug: bool, seed: Seed, flow: Any, checker: checkers.Checker,
    monkeypatch: Patch,
) -> None:  # fmt: skip
    async with Durable(audited, serve=[flow, canon], grace=0.01) as app:
        if bug:
            seed(monkeypatch, app)
        await to_its_end(app, flow, cancel=flow is cleans_up)
    verdict(await said(audited, tmp_path), bug, checker)


@each_way
async def test_effects_apart_from_their_event_happen_twice(
    audited: str, tmp_path: Path, bug: bool, monkeypatch: Patch
) -> None:
    right = outcomes.Backend.record
    first = await Durable(audited, serve=[canon], grace=0.01).__aenter__()
    died = asyncio.Event()

    async def record(self: Any, worker: Any, **facts: Any) -> None:
        if died.is_set():
            return await right(self, worker, **facts)
        await fall_silent(first)
        if bug:
            await self.connection.execute("commit; begin")
        died.set()
        raise LeaseLost("it dies here, before its outcome is recorded")

    monkeypatch.setattr(outcomes.Backend, "record", record)
    try:
        await first.start(canon.booked, id="a")
        async with asyncio.timeout(20):
            await died.wait()
        async with Durable(audited, serve=[canon]) as second:
            await second.handle("a").result()
    finally:
        await first.__aexit__(None, None, None)
    verdict(await said(audited, tmp_path), bug, checkers.effects_happen_exactly_once)


@each_way
async def test_success_on_any_conflict_of_keys_is_blind(
    audited: str, tmp_path: Path, bug: bool
) -> None:
    """A session of the worker's own lives on, and writes another result at the same place."""
    global door
    door = asyncio.Event()
    async with Durable(audited, serve=[waits_at_door]) as app, Stage(audited) as stage:
        if bug:
            wrong = ("when there.key = first.key then case", "when there.key is not null then case")
            await execute(audited, planted("commit", wrong))
        handle = await app.start(waits_at_door, id="a")
        worker = worker_of(app)
        async with asyncio.timeout(20):
            while not worker.attempts.count():
                await asyncio.sleep(0.005)
        (instance,) = worker.active.values()
        (command,) = instance.replayer.open.values()
        other = row(instance.run, 1, op=command.op, name="proof.at_door", input=command.call.input,  # type: ignore[union-attr]
                    result=encode("other"), digest=None, at=await stage.now())  # fmt: skip
        advance = replace(turn(instance.run, 1, claim=instance.claim), rows=[other])
        assert await stage.commit(worker.registration.worker, advance) == [Verdict.DONE]
        door.set()
        async with asyncio.timeout(20):
            worker.claimer._reconciled_at = 0.0
            assert await handle.result() == "other"  # seen at the next commit at the latest
    found = await said(audited, tmp_path)
    verdict(found, bug, checkers.what_was_let_out_rests_on_journaled_results, on_stage=True)


door = asyncio.Event()


@activity(name="proof.at_door")
async def at_door() -> str:
    await door.wait()
    return "live"


@workflow(name="proof.waits_at_door")
async def waits_at_door(ctx: Context) -> str:
    first = await ctx.activity(at_door)
    await ctx.activity(acts.act, first)
    return first


@each_way
async def test_history_read_before_the_claim_runs_a_step_again(
    audited: str, tmp_path: Path, bug: bool, monkeypatch: Patch
) -> None:
    right = Journal.pages

    async def stale(self: Any, wanted: Any) -> Any:
        """As of before the claim: others have written since."""
        async for page in right(self, wanted):
            yield [each for each in page if each.position == 0]

    async with Durable(audited, serve=[canon], grace=0.01) as first:
        await first.start(canon.parked, id="a")
        async with asyncio.timeout(20):
            while not await first.store.journal.read([(first.handle("a")._run or 1, 1)]):
                await asyncio.sleep(0.005)
    if bug:
        monkeypatch.setattr(Journal, "pages", stale)
    second = await Durable(audited, serve=[canon], grace=0.01).__aenter__()
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0 if bug else 20):
                await second.handle("a").result()
    finally:
        await second.__aexit__(None, None, None)
        monkeypatch.undo()
    found = await said(audited, tmp_path)
    verdict(found, bug, checkers.attempts_begin_only_for_what_is_not_journaled)


@each_way
async def test_a_paused_run_that_is_claimed_is_seen(
    audited: str, tmp_path: Path, bug: bool
) -> None:
    if bug:
        right = "('pending', 'waiting')\n                    and r.queue = place.queue"
        wrong = right.replace("('", "('paused', '")
        await execute(audited, planted("claim", (right, wrong)))
    async with Client(audited) as client:
        handle = await client.start(canon.steps, id="a")
        await handle.pause()
        async with Durable(audited, serve=[canon]) as app:
            claimer_of = worker_of(app).claimer
            claimer_of.poke()
            async with asyncio.timeout(20):
                while claimer_of.busy():
                    await asyncio.sleep(0.005)
                await handle.resume()
                await handle.result()
    found = await said(audited, tmp_path)
    verdict(found, bug, checkers.runs_move_as_the_table_of_statuses_says)


@each_way
async def test_a_worker_that_leaves_without_handing_back_is_seen(
    audited: str, tmp_path: Path, bug: bool, monkeypatch: Patch
) -> None:
    async def keep(self: Any) -> None:
        pass

    if bug:
        monkeypatch.setattr(chores.Chores, "hand_back", keep)
        monkeypatch.setattr(chores.Chores, "deregister", keep)
    async with Durable(audited, serve=[cleans_up], grace=0.01) as app:
        await app.start(cleans_up, id="a")
    history.note("left")
    verdict(await said(audited, tmp_path), bug, checkers.a_graceful_stop_hands_back)


@each_way
async def test_a_claim_answered_to_nobody_is_a_ghost_without_comparing(
    audited: str, tmp_path: Path, bug: bool, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(claimer, "RECONCILE_SECONDS", 0.1)

    async def none(_: Any) -> None:
        pass

    if bug:
        monkeypatch.setattr(claimer, "reconcile", none)
    async with Durable(audited, serve=[canon], grace=0.01) as app:
        claim, lost = app.store.runs.claim, asyncio.Event()

        async def unanswered(*given: Any, **limits: Any) -> Any:
            claimed = await claim(*given, **limits)
            if claimed and not lost.is_set():
                lost.set()
                raise Unavailable("the connection was lost")
            return claimed

        monkeypatch.setattr(app.store.runs, "claim", unanswered)
        async with Client(audited) as client:
            await client.start(canon.steps, id="a")
        try:
            async with asyncio.timeout(1.0 if bug else 20):
                await app.handle("a").result()
        except TimeoutError:
            history.note("gave up", run="a", seconds=1.0)
    found = await said(audited, tmp_path)
    verdict(found, bug, checkers.open_runs_progress_or_are_listed)


def test_every_checker_is_proved_able_to_fail() -> None:
    """By the stories above."""
    text = "".join(each.read_text("utf-8") for each in Path(__file__).parent.glob("test_check*"))
    for checker in checkers.CHECKERS:
        assert f".{checker.__name__}" in text, checker
