"""Signals, updates and queries around shared state, as in samples of message passing."""

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field

from durable import Context, Query, Signal, State, Update, activity, workflow

approve = Signal[str]("approve")
leave = Signal[None]("leave")
set_language = Update[str, str]("set_language")
languages = Query[list[str]]("languages")
status = State[str]("status")


@dataclass
class Cluster:
    """Nodes that are given to jobs, as a manager keeps them."""

    nodes: dict[str, str | None] = field(default_factory=dict)
    bad: set[str] = field(default_factory=set)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def free(self) -> list[str]:
        return [node for node, job in self.nodes.items() if job is None and node not in self.bad]

    async def assign(self, job: str, count: int) -> list[str]:
        async with self.lock:
            chosen = self.free()[:count]
            for node in chosen:
                self.nodes[node] = job
            return chosen


@activity
async def allocate(nodes: list[str], job: str) -> list[str]:
    return nodes


@workflow
async def greeting_with_messages(ctx: Context, first: str) -> str:
    language = first
    known = {"chinese": "你好", "english": "Hello"}
    lock = asyncio.Lock()
    approved = asyncio.Event()
    approver = ""

    async def change(to: str) -> str:
        nonlocal language
        async with lock:
            if to not in known:
                known[to] = (await ctx.activity(allocate, [to], "greet"))[0]
            before, language = language, to
        return before

    async def wait_for_approval() -> None:
        nonlocal approver
        approver = await ctx.receive(approve)
        approved.set()

    ctx.on(set_language, change, check=lambda to: to.isalpha())
    ctx.answer(languages, lambda: sorted(known))
    waiter = asyncio.create_task(wait_for_approval())
    with suppress(TimeoutError):
        async with asyncio.timeout(3600):
            await approved.wait()
    waiter.cancel()
    with suppress(asyncio.CancelledError):
        await waiter
    return f"{known[language]} by {approver}"


@workflow
async def cluster_manager(ctx: Context, cluster: Cluster) -> int:
    jobs: deque[str] = deque()
    ctx.set(status, "up")
    async for job in ctx.messages(approve):
        if job == "shutdown":
            break
        jobs.append(job)
        nodes = await cluster.assign(job, 2)
        await ctx.activity(allocate, nodes, job)
        if ctx.events > 5_000:
            ctx.continue_as_new(cluster)
    return len(jobs)


@workflow
async def lobby(ctx: Context, seconds: float) -> int:
    """Who is waiting leaves when told so, or when it has been quiet for long."""
    guests: list[str] = []
    gone = asyncio.create_task(_left(ctx))
    while not gone.done():
        arriving = asyncio.ensure_future(ctx.receive(approve))
        done, pending = await asyncio.wait(
            {gone, arriving}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        for each in pending - {gone}:
            each.cancel()
        if not done:
            break
        if arriving in done:
            guests.append(arriving.result())
    gone.cancel()
    return len(guests)


async def _left(ctx: Context) -> None:
    await ctx.receive(leave)
