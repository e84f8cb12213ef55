"""Leaving, whatever the database does: nothing goes on behind the host's back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest

from durable import Client, Context, Durable, Retry, Signal, Status, activity, attempt, workflow
from durable._runtime.arrivals import Begin
from durable._runtime.chores import Chores
from durable._runtime.clock import Clock
from durable._runtime.committer import Committer
from durable._runtime.instance import Instance
from durable._runtime.metrics import Meter
from durable._runtime.watchdog import Watchdog
from durable._store.protocol import Advance, Unavailable, Unwritable, Verdict
from tests.end_to_end.processes import until

from .takeovers import worker_of
from .test_runs import doubles


async def sends(committer: Committer) -> None:
    while True:
        await committer.once()


class Held:
    """A journal behind a stranger's lock, whose database then goes away."""

    def __init__(self) -> None:
        self.asked_aside = asyncio.Event()

    async def commit(
        self, worker: UUID, advances: Sequence[Advance], *, patient: bool = False
    ) -> list[Verdict]:
        if patient:
            self.asked_aside.set()
            raise Unavailable("away")
        return [Verdict.LEFT_OUT for _ in advances]


@activity(retry=Retry(delay=3600, delay_max=3600))
async def fails_at_first() -> str:
    tries.append(attempt().number)
    if len(tries) == 1:
        raise ConnectionError("try again in an hour")
    return "done"


tries: list[int] = []


@workflow
async def patient(ctx: Context) -> str:
    return await ctx.activity(fails_at_first)


@pytest.mark.once
@pytest.mark.timeout(30)
async def test_a_pause_between_attempts_does_not_hold_up_who_leaves(dsn: str) -> None:
    async with Durable(dsn, serve=[patient], grace=300) as app:
        await app.start(patient, id="a")
        async with asyncio.timeout(20):
            while not tries:
                await asyncio.sleep(0.005)
        assert await app.handle("a").status() is Status.RUNNING
    async with Client(dsn) as client:
        assert await client.handle("a").status() is Status.PENDING


async def test_a_turn_that_waits_aside_ends_with_its_worker() -> None:
    journal, worker = Held(), uuid4()
    committer = Committer(
        journal,  # type: ignore[arg-type]  # of its verbs, the committer uses one
        Clock(),
        worker=lambda: worker,
        on_written=_unexpected,
        on_refused=_unexpected,
        on_fenced=_unexpected,
        watchdog=Watchdog(),
        meter=Meter(None),
    )
    before = asyncio.all_tasks()
    sender = asyncio.create_task(sends(committer))
    definition: Any = doubles.__durable__[1]  # type: ignore[attr-defined]
    payload = definition.signature.encode_call((1,), {})
    instance = Instance(1, id="a", claim=1, seed=bytes(16), definition=definition, input=payload)
    instance.arrivals.append(Begin())
    committer.submit(instance)
    async with asyncio.timeout(20):
        await journal.asked_aside.wait()
        assert committer.busy()
        sender.cancel()
        committer.clear()
        while asyncio.all_tasks() != before:
            await asyncio.sleep(0.005)
    assert not committer.busy()
    instance.replayer.close()


class Passing:
    """A journal of whose rows another commit holds some, while each is sent twice."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, bool]] = []
        self.times: Counter[int] = Counter()

    async def commit(
        self, worker: UUID, advances: Sequence[Advance], *, patient: bool = False
    ) -> list[Verdict]:
        self.sent.append((len(advances), patient))
        self.times.update(each.run for each in advances)
        return [Verdict.LEFT_OUT if self.times[each.run] < 3 else Verdict.DONE
                for each in advances]  # fmt: skip


async def test_turns_that_another_commit_has_met_are_sent_again_together() -> None:
    """As where many children of one run end in two workers: one by one, each in the lock queue,
    they would hold the next ones up in their turn."""
    journal, worker, written = Passing(), uuid4(), []
    committer = Committer(
        journal,  # type: ignore[arg-type]  # as above
        Clock(),
        worker=lambda: worker,
        on_written=lambda instance, _, verdict: written.append((instance.run, verdict)),
        on_refused=_unexpected,
        on_fenced=_unexpected,
        watchdog=Watchdog(),
        meter=Meter(None),
    )
    sender = asyncio.create_task(sends(committer))
    definition: Any = doubles.__durable__[1]  # type: ignore[attr-defined]
    payload = definition.signature.encode_call((1,), {})
    for run in range(20):
        instance = Instance(
            run, id=str(run), claim=1, seed=bytes(16), definition=definition, input=payload
        )
        instance.arrivals.append(Begin())
        committer.submit(instance)
    async with asyncio.timeout(20):
        while committer.busy():
            await asyncio.sleep(0.005)
    sender.cancel()
    assert sorted(written) == [(run, Verdict.DONE) for run in range(20)]
    assert journal.times == dict.fromkeys(range(20), 3)
    assert not any(patient for _, patient in journal.sent)
    # On a busy machine they do not all wake up in one round of the loop.
    assert len(journal.sent) < 20, journal.sent


class Refuses(Held):
    async def commit(
        self, worker: UUID, advances: Sequence[Advance], *, patient: bool = False
    ) -> list[Verdict]:
        if patient:
            raise Unwritable("no such value")
        return [Verdict.LEFT_OUT for _ in advances]


async def test_a_turn_that_waits_aside_and_cannot_be_written_sets_its_run_aside() -> None:
    refused: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    worker = uuid4()
    committer = Committer(
        Refuses(),  # type: ignore[arg-type]  # as above
        Clock(),
        worker=lambda: worker,
        on_written=_unexpected,
        on_refused=lambda _, report: refused.set_result(report),
        on_fenced=_unexpected,
        watchdog=Watchdog(),
        meter=Meter(None),
    )
    sender = asyncio.create_task(sends(committer))
    definition: Any = doubles.__durable__[1]  # type: ignore[attr-defined]
    payload = definition.signature.encode_call((1,), {})
    instance = Instance(1, id="a", claim=1, seed=bytes(16), definition=definition, input=payload)
    instance.arrivals.append(Begin())
    committer.submit(instance)
    async with asyncio.timeout(20):
        assert "no such value" in await refused
    assert not instance.in_flight
    sender.cancel()
    instance.replayer.close()


def _unexpected(*_: object) -> None:
    raise AssertionError("nothing was written")


async def test_a_connection_that_is_lost_on_leaving_costs_time_only(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runs are handed back all the same, not left for a takeover."""
    async with Durable(dsn, serve=[dozes]) as app:
        worker = worker_of(app)
        await app.start(dozes, id="a")
        for nouns, verb in (worker.store.runs, "hand_back"), (worker.store.workers, "deregister"):
            monkeypatch.setattr(nouns, verb, unanswered_once(getattr(nouns, verb)))
    async with Client(dsn) as client:
        assert await client.handle("a").status() is Status.WAITING
        assert await client.store.workers.suspects(uuid4()) == []


@workflow
async def dozes(ctx: Context) -> None:
    await ctx.sleep(4)


def unanswered_once(verb: Any) -> Any:
    """It happens, and nobody is told, the first time."""
    told = False

    async def call(*arguments: Any) -> Any:
        nonlocal told
        answer = await verb(*arguments)
        if not told:
            told = True
            raise Unavailable("the connection was lost")
        return answer

    return call


@pytest.mark.timeout(30)
async def test_a_worker_that_cannot_begin_does_not_wait_for_what_it_never_began(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(self: Chores) -> None:
        self._worker.claimer.poke()  # a beat has found something
        raise Unavailable("away")

    monkeypatch.setattr(Chores, "greet", away)
    with pytest.raises(Unavailable, match="away"):
        async with Durable(dsn, serve=[dozes], grace=300):
            pass
    monkeypatch.undo()
    async with Client(dsn) as client:
        assert await client.store.workers.suspects(uuid4()) == []


gates: list[asyncio.Event] = []
parcel = Signal[int]("drained_parcel")


@activity
async def takes_its_time() -> None:
    await gates[-1].wait()


@workflow
async def takes_long_to_leave(ctx: Context) -> None:
    await ctx.activity(takes_its_time)


@workflow
async def waits_for_news_or_a_while(ctx: Context) -> int:
    async with asyncio.timeout(4):
        return await ctx.receive(parcel)


async def test_one_long_attempt_holds_up_no_other_run_of_a_worker_that_leaves(dsn: str) -> None:
    gates.append(asyncio.Event())
    serve = [dozes, takes_long_to_leave, waits_for_news_or_a_while]
    app = Durable(dsn, serve=serve)
    await app.__aenter__()
    long = await app.start(takes_long_to_leave, id="long")
    await app.start(dozes, id="short")
    await app.start(waits_for_news_or_a_while, id="news")
    leaving = asyncio.create_task(app.__aexit__(None, None, None))
    async with Client(dsn) as client:

        async def others_are_free() -> bool:
            return (await client.count_by_status()).get("waiting") == 2

        await until(others_are_free)
        assert not leaving.done()
        assert await client.handle(long.id).status() is Status.RUNNING
        gates[-1].set()
        await leaving
        assert await client.handle(long.id).status() is Status.COMPLETED
