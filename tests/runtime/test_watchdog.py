"""A loop that is held is named, whoever holds it."""

from __future__ import annotations

import time

import pytest

from durable import Context, Durable, activity, workflow
from durable._runtime import watchdog


@activity
async def blocks_the_loop() -> str:
    end = time.monotonic() + 30
    while "test_watchdog.py" not in _said and time.monotonic() < end:
        time.sleep(0.01)  # noqa: ASYNC251 - the mistake that is to be named
    return "done"


@workflow
async def calls_what_blocks(ctx: Context) -> str:
    return await ctx.activity(blocks_the_loop)


class _Said(list[str]):
    def __contains__(self, text: object) -> bool:
        return any(str(text) in each for each in self)


_said = _Said()


async def test_an_activity_that_blocks_the_loop_is_named_by_its_line(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "BLOCKED_AFTER", 0.2)
    monkeypatch.setattr(watchdog.log, "error", lambda text, *args, **_: _said.append(text % args))
    async with Durable(dsn, serve=[calls_what_blocks]) as app:
        assert await app.run(calls_what_blocks) == "done"
    assert "something has held the event loop for 0.2 s" in _said
    assert len(_said) == 1
