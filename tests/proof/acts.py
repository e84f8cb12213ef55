"""What the canonical workflows do: activities that tell the history that they have begun, and under
which key; and a transaction that an audit counts."""

from __future__ import annotations

import asyncio
from typing import cast

import asyncpg

from durable import Retry, Stream, activity, attempt
from durable._authoring import attempts
from durable._runtime.work import Work
from tests.proof import history

said = Stream[str]("canon.said")

QUICK = Retry(attempts=3, delay=0.01)


class Declined(Exception):
    pass


def begun(name: str) -> int:
    """Note that an attempt has begun; returns its number."""
    now, work = attempt(), cast("Work", attempts._current.get())
    history.note("begin", run=now.id, of=work.instance.run, name=name, op=work.command.op,
                 claim=work.instance.claim, key=now.idempotency_key, number=now.number)  # fmt: skip
    return now.number


@activity(name="canon.act", retry=Retry(attempts=50, delay=0.02, delay_max=0.2))
async def act(name: str) -> str:
    begun(name)
    await asyncio.sleep(0)
    return f"{name} done"


@activity(name="canon.act_in_thread", retry=Retry(attempts=50, delay=0.02, delay_max=0.2))
def act_in_thread(name: str) -> str:
    begun(name)
    return f"{name} done"


@activity(name="canon.shaky", retry=QUICK, raises=(Declined,))
async def shaky(name: str) -> str:
    if begun(name) == 1:
        raise ConnectionError("once more")
    raise Declined(name)


@activity(name="canon.fails", retry=Retry(attempts=1), record_start=False)
async def fails(name: str) -> str:
    begun(name)
    raise ConnectionError("no")


@activity(name="canon.recorded", retry=QUICK, record_start=True)
async def recorded(name: str) -> str:
    begun(name)
    return name


@activity(name="canon.slow")
async def slow(name: str) -> None:
    begun(name)
    await asyncio.sleep(30)


async def book(conn: asyncpg.Connection, run: str, name: str) -> int:
    await conn.execute("insert into audit.booking (run, name) values ($1, $2)", run, name)
    count = await conn.fetchval("select count(*) from audit.booking where run = $1", run)
    return int(count)


@activity(name="canon.speaks", retry=Retry(attempts=50, delay=0.02, delay_max=0.2))
async def speaks(name: str) -> str:
    number = begun(name)
    for n in range(3):
        attempt().publish(said, f"{name} {n}")
        await asyncio.sleep(0)
    if number == 1:
        raise ConnectionError("once more")
    return f"{name} said"


@activity(name="canon.labour", retry=Retry(attempts=50, delay=0.02, delay_max=0.2))
async def labour(name: str) -> str:
    begun(name)
    await asyncio.sleep(0.15)
    return f"{name} done"
