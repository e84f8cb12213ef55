"""A trip is booked as a whole or not at all: `python examples/saga.py`.

What has been booked is undone, last first, if the rest fails: also after a crash in the middle,
also if the run is cancelled. The activities are idempotent by the key that stays the same in every
attempt, so a booking whose answer was lost is not made twice.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from durable import Compensation, Context, Durable, RunFailed, activity, attempt, workflow


class SoldOut(Exception): ...


@dataclass
class Trip:
    traveller: str
    flight: str
    hotel: str
    car: str


@activity(raises=(SoldOut,))
async def book(what: str, traveller: str) -> str:
    """Asks the seller; ``attempt().idempotency_key`` goes with the request."""
    if what == "the last car":
        raise SoldOut(what)
    print(f"  booked {what} for {traveller} ({attempt().idempotency_key[:8]})")
    return f"{what}/{traveller}"


@activity
async def cancel_booking(booking: str) -> None:
    print(f"  cancelled {booking}")


@workflow
async def book_trip(ctx: Context, trip: Trip) -> list[str]:
    bookings: list[str] = []
    async with Compensation() as undo:
        for what in (trip.flight, trip.hotel, trip.car):
            booking = await ctx.activity(book, what, trip.traveller)
            undo.push_async_callback(ctx.activity, cancel_booking, booking)
            bookings.append(booking)
    return bookings


async def main() -> None:
    async with Durable() as app:
        for trip in (
            Trip("Ada", "LH 123", "Grand Hotel", "a small car"),
            Trip("Bob", "LH 123", "Grand Hotel", "the last car"),
        ):
            try:
                print(await app.run(book_trip, trip))
            except RunFailed as error:
                print(error)


if __name__ == "__main__":
    asyncio.run(main())
