"""Messages that come while their run is being put away, or is; and who goes on with it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from bench.counts import Listening
from durable import Client, Context, Durable, Signal, Status, workflow
from durable._runtime.claimer import Claimer
from durable._runtime.ghosts import reconcile
from durable._store import verbs
from durable._store.postgres import inbox
from durable._store.protocol import Advance, Claimed, Verdict
from tests.end_to_end.processes import until

told_apart = Signal[int]("told_apart")


@workflow
async def takes_two(ctx: Context) -> list[int]:
    return [await ctx.receive(told_apart), await ctx.receive(told_apart)]


async def test_mail_read_for_a_run_that_is_put_away_meanwhile_is_left_to_its_next_owner(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was fed to the run all the same, under a claim that was over."""
    async with Durable(dsn, serve=[takes_two]) as app, Client(dsn) as other:
        assert app._worker is not None
        worker, store = app._worker, app.store
        commit, mail, sent = store.journal.commit, store.inbox.mail, False

        async def commit_and_dawdle(
            by: UUID, advances: Sequence[Advance], **given: Any
        ) -> list[Verdict]:
            nonlocal sent
            verdicts = await commit(by, advances, **given)
            if Verdict.PARKED in verdicts and not sent:
                sent = True
                await other.handle("two").signal(told_apart, 1)
                await worker.claimer._read_mail()  # its list was made before the run was put away
            return verdicts

        async def mail_of_before(by: UUID) -> dict[int, bool]:
            return dict.fromkeys(worker.active, False) or await mail(by)

        monkeypatch.setattr(store.journal, "commit", commit_and_dawdle)
        monkeypatch.setattr(store.inbox, "mail", mail_of_before)
        handle = await app.start(takes_two, id="two")
        await handle.signal(told_apart, 2)

        assert await handle.result() == [1, 2]
        assert sent


@pytest.mark.once
async def test_a_run_that_is_claimed_before_its_birth_is_heard_of_has_been_started(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was put away by its first commit, and a message brought it back before that was answered
    here: whoever had started it waited for ever."""
    async with Durable(dsn, serve=[takes_two]) as app, Client(dsn) as other:
        assert app._worker is not None
        worker, commit = app._worker, app.store.journal.commit

        async def is_late(by: UUID, advances: Sequence[Advance], **given: Any) -> list[Verdict]:
            verdicts = await commit(by, advances, **given)
            if Verdict.PARKED in verdicts and not late:
                (born,) = late[:] = worker.active.values()
                await other.handle("late").signal(told_apart, 1)
                while worker.active.get(born.run) is born:
                    worker.claimer.poke()
                    await asyncio.sleep(0.005)
            return verdicts

        late: list[Any] = []
        monkeypatch.setattr(app.store.journal, "commit", is_late)
        handle = await app.start(takes_two, id="late")
        await handle.signal(told_apart, 2)
        assert await handle.result() == [1, 2]
        assert late


@workflow
async def takes_all(ctx: Context, count: int) -> list[int]:
    return [await ctx.receive(told_apart) for _ in range(count)]


async def test_more_messages_than_one_read_takes_are_all_received_also_after_a_restart(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lay beyond the first read was never read: the run was owned, and nothing was due."""
    monkeypatch.setattr(verbs, "MESSAGES_MAX", 3)
    async with Client(dsn) as client:
        handle = await client.start(takes_all, 10, id="all")
        for number in range(8):
            await handle.signal(told_apart, number)

        async def has_read() -> bool:
            run = await handle.describe()
            return run.status is Status.WAITING and run.events == 9

        async with Durable(dsn, serve=[takes_all]):
            await until(has_read)
        await handle.signal(told_apart, 8)
        await handle.signal(told_apart, 9)
        async with Durable(dsn, serve=[takes_all]):
            assert await handle.result() == list(range(10))


@workflow
async def takes_one_kept(ctx: Context) -> int:
    return await ctx.receive(told_apart)


async def waiting(client: Client, id: str) -> None:
    while (await client.handle(id).describe()).status is not Status.WAITING:
        await asyncio.sleep(0.005)


@pytest.mark.once  # another worker of the rehearsal would have it
async def test_a_signal_where_its_run_is_kept_is_two_statements_to_the_result(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    listening = Listening()
    with listening.to_all():
        async with Durable(dsn, serve=[takes_one_kept]) as app:
            for number in range(2):
                handle = await app.start(takes_one_kept, id=f"kept {number}")
                await waiting(app, handle.id)
                assert app._worker is not None
                claimer = app._worker.claimer
                with monkeypatch.context() as patch:  # neither heartbeats nor hints say a thing
                    patch.setattr(claimer, "poke", lambda: None)
                    patch.setattr(claimer, "compare", lambda: None)
                    patch.setattr(claimer, "mail_came", lambda: None)
                    while claimer.busy():
                        await asyncio.sleep(0.005)
                    listening.statements.clear()
                    await handle.signal(told_apart, number)
                    assert await handle.result() == number
                    await asyncio.sleep(0)
                said = listening.statements - Counter({"beat": 9, "notify": 9, "owned": 9})
    assert said == Counter({"deliver_and_claim": 1, "commit": 1})


async def test_many_signals_at_once_are_claimed_together(dsn: str) -> None:
    async with Durable(dsn, serve=[takes_one_kept]) as app:
        handles = [await app.start(takes_one_kept, id=f"many {number}") for number in range(20)]
        for each in handles:
            await waiting(app, each.id)
        sent = (each.signal(told_apart, number) for number, each in enumerate(handles))
        results = (each.result() for each in handles)
        found = await asyncio.gather(*sent, *results)
    assert found[20:] == list(range(20))


@pytest.mark.once
async def test_who_is_cancelled_while_it_sends_leaves_no_run_to_nobody(
    dsn: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The statement had begun, and what it claimed is known here all the same."""
    hand, begun = inbox.Inbox._hand, asyncio.Event()

    async def slowly(self: inbox.Inbox, *given: Any) -> Any:
        begun.set()
        await asyncio.sleep(0)
        await cancelled.wait()
        return await hand(self, *given)

    cancelled = asyncio.Event()
    monkeypatch.setattr(inbox.Inbox, "_hand", slowly)
    async with Durable(dsn, serve=[takes_one_kept]) as app:
        handle = await app.start(takes_one_kept, id="left")
        await waiting(app, "left")
        sending = asyncio.create_task(handle.signal(told_apart, 7))
        await begun.wait()
        sending.cancel()
        await asyncio.wait([sending])
        cancelled.set()
        assert sending.cancelled()
        assert await handle.result() == 7
    assert "claim was answered to nobody" not in caplog.text


@pytest.mark.once
async def test_what_is_being_loaded_is_no_ghost(
    dsn: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, begun, compared = Claimer._load, asyncio.Event(), asyncio.Event()

    async def slowly(self: Claimer, me: UUID, told: dict[int, Claimed]) -> None:
        begun.set()
        await compared.wait()
        await load(self, me, told)

    async with Durable(dsn, serve=[takes_one_kept]) as app:
        assert app._worker is not None
        handle = await app.start(takes_one_kept, id="loading")
        await waiting(app, "loading")
        monkeypatch.setattr(Claimer, "_load", slowly)
        await handle.signal(told_apart, 8)
        await begun.wait()
        assert app._worker.claimer.busy()
        await reconcile(app._worker)
        compared.set()
        assert await handle.result() == 8
    assert "claim was answered to nobody" not in caplog.text
