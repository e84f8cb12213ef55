"""How the golden journals of this version come about: a database for each group of runs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec

from durable import (
    Durable,
    DurableError,
    RunCancelled,
    RunFailed,
    RunTerminated,
    UpdateFailed,
    UpdateRejected,
)
from durable._codec.values import decode, encode
from durable._core.statuses import Status
from durable.embedded import FAST_AND_FORGETFUL, EmbeddedPostgres
from durable.testing import Environment, History
from examples import data_sync, deployment, payments, quiet_hours, saga
from tests.golden import flows
from tests.proof import canon, evidence
from tests.proof.worker import make_quicker

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
ENDS = (RunFailed, RunCancelled, RunTerminated)


async def of_flows() -> list[History]:
    async with Environment(at=BEGIN) as env:
        for lead in (closed_flows, messages, families, open_flows):
            await lead(env)
        return await all_of(env)


async def closed_flows(env: Environment) -> None:
    env.stand_in(flows.hangs, hangs=True)
    await env.run(flows.values, flows.EVERYTHING, id="values")
    await env.run(flows.together, id="together")
    await env.run(flows.chance, id="chance")
    await env.run(flows.patched, id="patched")
    forked = await env.handle("chance", flows.chance).fork(at=2, id="forked")
    await forked.result()
    with suppress(RunFailed):
        await env.run(flows.failures, id="failures")
    await env.start(flows.cleans_up, id="cancelled", deadline=60)
    await env.start(flows.cleans_up, id="terminated")
    await env.advance(minutes=5)
    await env.handle("terminated").terminate("enough")
    env.stand_in(flows.book, returns=-1)
    with suppress(RunFailed):  # its code raises: a retry feeds the same answer again
        await env.run(flows.books, "socks", id="retried")
    await env.handle("retried").retry()
    with suppress(RunFailed):
        await env.handle("retried").result()
    env.stand_in(flows.name, raises=ConnectionError("no line"))
    with suppress(RunFailed):  # an activity has failed: a retry runs it again
        await env.run(flows.child, "does", id="mended")
    env.stand_in(flows.name, _name)
    await env.handle("mended").retry()
    await env.handle("mended").result()


async def _name(what: str) -> str:
    return what


async def messages(env: Environment) -> None:
    handle = await env.start(flows.answers, id="answers")
    for n in (1, -1, 13, 20):
        with suppress(UpdateRejected, UpdateFailed):
            await handle.update(flows.add, n)
    await handle.signal(flows.news, "more")
    await handle.signal(flows.news, "enough")
    await handle.result()
    asked = await env.start(flows.asks, id="asks")
    await env.advance(seconds=1)
    history = await History.of(env, "asks")
    (tokens,) = decode(next(row.input for row in history.events if row.input) or b"")
    first, second = tokens.split()
    await env.resolve(first, "yes")
    await env.reject(second, "nobody knows")
    await asked.result()
    chapter = await env.start(flows.chapters, 2, id="chapters")
    for word in ("one", "two", "three"):
        await chapter.signal(flows.news, word)
    await chapter.result()


async def families(env: Environment) -> None:
    await env.run(flows.child, "does", id="golden/taken")
    handle = await env.start(flows.parent, id="parent")
    await handle.result()


async def open_flows(env: Environment) -> None:
    """Last: they would go on as time passes."""
    await env.start(flows.cleans_up, id="waits for a timer")
    await env.start(flows.child, "lasts", id="waits for news")
    held = await env.start(flows.child, "lasts", id="held")
    await env.advance(seconds=1)
    await held.pause()
    await env.start(flows.child, "does", id="delayed", delay=3600)
    await env.advance(seconds=1)


async def of_examples() -> list[History]:
    async with Environment(at=BEGIN) as env:
        env.stand_in(payments.book_payment, returns=None)
        env.stand_in(data_sync.write_page, returns=50)
        trip = saga.Trip("Bob", "LH 123", "Grand Hotel", "the last car")
        ends: list[Awaitable[Any]] = [
            env.run(saga.book_trip, trip, id="undone"),
            env.run(saga.book_trip, saga.Trip("Ada", "LH 9", "Inn", "a car"), id="booked"),
            env.run(quiet_hours.notify_reader, quiet_hours.Reader("ada", "UTC"), "hi", id="quiet"),
            env.run(deployment.deploy, "v2", "v1", 120, id="deployed"),
            env.run(deployment.deploy, "v3-broken", "v2", 120, id="rolled back"),
            env.run(data_sync.sync_customers, id="synced"),
            env.run(payments.pay, "stolen", 1, id="declined"),
            env.run(payments.pay, "visa", 4200, id="released"),
        ]
        for each in ends:
            with suppress(*ENDS):
                await each
        await env.start(payments.pay, "visa", 1, id="waits for the parcel")
        await env.start(deployment.deploy, "v4", "v2", id="watches")
        await env.advance(seconds=90)
        return await all_of(env)


async def of_canon() -> list[History]:
    make_quicker()
    with EmbeddedPostgres(settings=FAST_AND_FORGETFUL) as server:
        dsn = server.url()
        async with Durable(dsn, serve=[canon]) as app:
            await evidence.install(dsn)
            await asyncio.gather(*(_lead(app, case) for case in canon.CASES))
            return await all_of(app)


async def _lead(app: Durable, case: canon.Case) -> None:
    handle = await app.start(case.workflow, id=case.name, **dict(case.options))
    if case.meanwhile is not None:
        await case.meanwhile(app, handle)
    with suppress(DurableError):
        await handle.result()


async def all_of(client: Durable) -> list[History]:
    return [_anywhere(each) async for each in History.all(client, status=[*Status])]


def _anywhere(history: History) -> History:
    """Without the paths of the machine that recorded it, which stand in tracebacks."""
    replaced = msgspec.structs.replace
    events = tuple(replaced(row, failure=_placeless(row.failure)) for row in history.events)
    return replaced(history, events=events, failure=_placeless(history.failure))


def _placeless(failure: bytes | None) -> bytes | None:
    return None if failure is None else encode(_stripped(decode(failure)))


def _stripped(value: Any) -> Any:
    if isinstance(value, str):
        return re.sub(r'File "[^"]*/([^"/]+)"', r'File "\1"', value)
    if isinstance(value, dict):
        return {name: _stripped(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_stripped(each) for each in value)
    return value


GROUPS: dict[str, Callable[[], Coroutine[Any, Any, list[History]]]] = {
    "flows": of_flows,
    "examples": of_examples,
    "canon": of_canon,
}
