"""The program of a process under chaos: ``python -m bench.chaos.worker '{...}'``, a worker that
also starts runs, or a client. It goes on until SIGTERM, whatever the database does."""

from __future__ import annotations

import asyncio
import faulthandler
import json
import logging
import os
import random
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from durable import Client, Durable
from durable.errors import StoreUnavailable
from tests.proof import canon, history
from tests.proof.worker import make_quicker

from . import plants, sightings
from .stories import Teller

# A worker starts runs as well, which are born owned.
IN_FLIGHT = {"worker": 3, "client": 10}
PAUSE_SECONDS = {"worker": 1.2, "client": 0.2}

TRY_AGAIN_SECONDS = 0.3


def client_of(order: dict[str, Any]) -> Client:
    if order["role"] == "client":
        return Client(order["dsn"])
    return Durable(order["dsn"], serve=[canon], grace=2.0, lease=order["lease"],
                   metrics=sightings.Metrics())  # fmt: skip


async def live(order: dict[str, Any]) -> None:
    stopped, loop = asyncio.Event(), asyncio.get_running_loop()

    def stop(*_: object) -> None:
        with suppress(RuntimeError):  # the loop has ended: so has this process nearly
            loop.call_soon_threadsafe(stopped.set)

    # Kept to the very end: the signal comes again and again until the process is gone.
    signal.signal(signal.SIGTERM, stop)
    while not stopped.is_set():
        try:
            async with client_of(order) as client:
                await work(order, client, stopped)
        except StoreUnavailable as error:
            history.note("could not begin", why=str(error))
            await asyncio.sleep(TRY_AGAIN_SECONDS)
    history.note("left")


async def work(order: dict[str, Any], client: Client, stopped: asyncio.Event) -> None:
    role = order["role"]
    teller = Teller(client, name=order["name"], seed=order["seed"], folder=Path(order["folder"]),
                    in_flight=IN_FLIGHT[role], pause=PAUSE_SECONDS[role])  # fmt: skip
    telling = asyncio.ensure_future(teller.tell())
    stopping = asyncio.ensure_future(stopped.wait())
    try:
        done, _ = await asyncio.wait([telling, stopping], return_when=asyncio.FIRST_COMPLETED)
        if telling in done:
            telling.result()  # raises what nobody expected
            await stopping
    finally:
        telling.cancel()
        stopping.cancel()
        await asyncio.gather(telling, stopping, return_exceptions=True)


def main() -> None:
    order = json.loads(sys.argv[1])
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr,
                        format="%(asctime)s %(process)d %(message)s")  # fmt: skip
    history.write_to(Path(order["folder"]) / "history")
    history.note("began", name=order["name"], role=order["role"])
    random.seed(f"{order['seed']} {order['name']} {os.getpid()}")
    if order["call_seconds"]:
        make_quicker(order["call_seconds"])
    sightings.watch()
    if order["plant"]:
        plants.PLANTS[order["plant"]].in_worker()
    asyncio.run(live(order))
    # An interpreter that ends takes its handlers away, and the signal may come once more.
    os._exit(0)


if __name__ == "__main__":
    main()
