"""Nobody is woken up: `python examples/quiet_hours.py`.

A notification waits until it is morning where its reader lives. It waits as one row of the
database: for a night or a month, through restarts and deploys.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from durable import Context, Durable, Retry, activity, workflow

QUIET_FROM, QUIET_UNTIL = time(22), time(8)


@dataclass
class Reader:
    address: str
    zone: str = "Europe/Berlin"


def next_good_moment(now: datetime, zone: str) -> datetime:
    """``now``, or the next morning there."""
    there = now.astimezone(ZoneInfo(zone))
    if QUIET_UNTIL <= there.time() < QUIET_FROM:
        return now
    day = there.date() + timedelta(days=there.time() >= QUIET_FROM)
    return datetime.combine(day, QUIET_UNTIL, ZoneInfo(zone))


@activity(retry=Retry(attempts=20, delay=5, delay_max=900), timeout=30)
async def send_notification(address: str, text: str) -> None:
    print(f"to {address}: {text}")


@workflow
async def notify_reader(ctx: Context, reader: Reader, text: str) -> datetime:
    """When it was sent."""
    await ctx.sleep_until(next_good_moment(ctx.now(), reader.zone))
    await ctx.activity(send_notification, reader.address, text)
    return ctx.now()


async def main() -> None:
    async with Durable() as app:
        handle = await app.start(notify_reader, Reader("ada@example.org"), "Your parcel is here")
        await asyncio.sleep(1)
        known = await handle.describe()
        print(known.status, known.waits_for or "")


if __name__ == "__main__":
    asyncio.run(main())
