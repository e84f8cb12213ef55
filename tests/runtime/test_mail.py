"""Messages that come while their run is being put away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from durable import Client, Context, Durable, Signal, Status, workflow
from durable._store import verbs
from durable._store.protocol import Advance, Verdict
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
