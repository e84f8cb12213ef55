"""Mistakes that are often seen in published workflows, of whatever engine."""

import asyncio
import logging
import os
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from durable import Context, Signal, activity, workflow

log = logging.getLogger(__name__)
shutdown = Signal[None]("often_seen.shutdown")
FACTORIES: dict[str, Any] = {}
events: list[dict[str, Any]] = []


@activity
async def ingest(since: str | None) -> list[str]:
    return []


@activity
async def set_state(key: str, value: str) -> None: ...


@dataclass
class Progress:
    started_at: datetime
    done: int = 0


@dataclass
class WatcherState:
    symbols: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)
    progress: Progress | None = None


def record_event(name: str, facts: dict[str, Any]) -> None:
    events.append({"name": name, **facts})  # expect: DUR401


def retries_of(path: str) -> int:
    if not os.path.isfile(path):  # expect: DUR201
        raise ImportError(path)
    return Path(path).read_text().count("retry")  # expect: DUR201


def jittered(seconds: float) -> float:
    return seconds * (1 + random.random() * 0.1)  # expect: DUR103


@workflow
async def scheduled_ingestion(ctx: Context, since: str | None) -> dict[str, Any]:
    log.info("starting")
    lines = await ctx.child(ingestion, since, id=f"ingestion-{datetime.now(UTC):%F}")  # expect: DUR101
    record_event("ingested", {"lines": len(lines)})
    await ctx.activity(set_state, "last", datetime.now(UTC).isoformat())  # expect: DUR101
    if os.environ.get("SCHEDULES_DISABLED"):  # expect: DUR202
        return {}
    return {"status": "completed", "timestamp": ctx.now().isoformat()}


@workflow
async def ingestion(ctx: Context, since: str | None) -> list[str]:
    for attempt in range(retries_of("script.py")):
        try:
            return await ctx.activity(ingest, since)
        except Exception as error:
            log.error("attempt %d failed: %s", attempt, error)
            await asyncio.sleep(jittered(2**attempt))
    return FACTORIES.get("fallback", list)()


@workflow
async def news_watcher(ctx: Context, state: WatcherState) -> None:
    progress = state.progress or Progress(started_at=datetime.now(UTC))  # expect: DUR101
    while True:
        for symbol in state.symbols:  # expect: DUR301
            for article in await ctx.activity(ingest, symbol):
                if article not in state.seen:
                    state.seen.add(article)
                    await ctx.activity(set_state, symbol, article)
        progress.done += 1
        try:
            async with asyncio.timeout(timedelta(minutes=5).total_seconds()):
                await ctx.receive(shutdown)
            return
        except TimeoutError:
            pass
        if progress.done >= 100 or len(state.seen) > 1000:
            trimmed = set(list(state.seen)[-500:])  # expect: DUR301
            ctx.continue_as_new(WatcherState(state.symbols, trimmed, progress))


@workflow
async def heartbeat(ctx: Context, chat: str, count: int = 0) -> None:
    try:
        if count > 100:
            ctx.continue_as_new(chat)
    except BaseException:  # expect: DUR601
        log.error("no heartbeat")
    await ctx.sleep(60)


@workflow
async def swallowed_by_gather(ctx: Context, urls: list[str]) -> list[Any]:
    slots = asyncio.Semaphore(5)
    begun = []
    for url in urls:
        begun.append(await ctx.start_child("crawl", url, id=f"{ctx.id}/{url}"))

    async def one(child: Any) -> Any:
        async with slots:
            return await child.result()

    tasks = [asyncio.create_task(one(child)) for child in begun]
    done, pending = await asyncio.wait(tasks, timeout=60)
    results: list[Any] = [task.result() for task in done]
    for task in pending:
        task.cancel()
        results.append("timeout")
    return results
