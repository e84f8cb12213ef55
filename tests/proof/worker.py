"""Worker processes for trials. One process imports all that is needed, rehearses once, so that
all is known that a process needs to know once, and forks a worker for each line it is given: a
fork takes milliseconds, a new interpreter half a second."""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg

from durable import Durable, _app
from durable._authoring import guards
from durable._runtime import claimer, instance, lease, process
from durable._store.postgres import connecting, line, workers
from durable.errors import StoreUnavailable
from tests.proof import canon, history

# A trial is over in a second where our usual times are made for hours.
QUICKER = [
    (instance, "PARK_AFTER", timedelta(seconds=0.05)),
    (lease, "BEAT_SECONDS", 0.15),
    (claimer, "RECONCILE_SECONDS", 0.4),
    (connecting, "CONNECT_SECONDS", 1.5),
    (workers, "BEAT_CALL_SECONDS", 1.0),
]
CALL_SECONDS = 1.5


def make_quicker(call_seconds: float = CALL_SECONDS) -> None:
    for module, name, value in QUICKER:
        assert hasattr(module, name), name
        setattr(module, name, value)
    for call in (line.Line.call, line.Line.fetch, line.Line.fetchrow, line.Line.fetchval):
        defaults = call.__kwdefaults__
        assert defaults is not None and defaults["within"] == line.CALL_SECONDS
        defaults["within"] = call_seconds


_ask = asyncpg.Connection._introspect_types  # type: ignore[attr-defined]
_answers: dict[frozenset[int], Any] = {}


async def _recall(self: asyncpg.Connection[Any], oids: Iterable[int], timeout: float | None) -> Any:
    """What asyncpg asks the catalogs about types, on each connection anew. Those that we use are
    Postgres's own: the answer is always the same."""
    key = frozenset(oids)
    if key not in _answers:
        _answers[key] = await _ask(self, oids, timeout)
    return _answers[key]


def recall_types(whether: bool) -> None:
    asyncpg.Connection._introspect_types = _recall if whether else _ask  # type: ignore[attr-defined]


async def _is_prepared(_dsn: str, **_more: Any) -> None:
    """There is a schema on this stage: nobody asks."""


async def rehearse(dsn: str) -> None:
    """Where statements are read from their files, what is known of workflows by their code is
    found out, types are asked for: each child would do it again."""
    guards.read = functools.cache(guards.read)
    recall_types(True)
    async with Durable(dsn, serve=[canon]) as app:
        await app.run(canon.gathered, id="rehearsal")


class Unheard(logging.Handler):
    """Notes a farewell that nobody has answered: on a busy machine that needs no fault."""

    SAID = "the database did not answer a farewell"

    def emit(self, record: logging.LogRecord) -> None:
        if str(record.msg).startswith(self.SAID):
            history.note("unheard")


async def _work(dsn: str) -> None:
    """With a supervisor's patience: who cannot begin is begun again."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    while True:
        try:
            async with Durable(dsn, serve=[canon], grace=2.0):
                await stopped.wait()
        except StoreUnavailable as error:
            history.note("could not begin", why=str(error))
        else:
            history.note("left")
            return


def _live(order: dict[str, Any]) -> None:
    """The forked child."""
    log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    history.write_to(Path(order["history"]))
    logging.getLogger("durable").addHandler(Unheard())
    try:
        make_quicker(order["call_seconds"])
        recall_types(not order["anew"])
        if not order["anew"]:
            setattr(_app, "prepare", _is_prepared)  # noqa: B010 - one of fewer words
        process.name = lambda: str(order["name"])
        asyncio.run(_work(order["dsn"]))
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def main() -> None:
    """Lines in: an order. Lines out: the pid; of one waited for, how it
    ended, or null."""
    dsn, bug = sys.argv[1:]
    if bug:
        from bench.chaos.plants import PLANTS

        PLANTS[bug].in_worker()
    asyncio.run(rehearse(dsn))
    print("null", flush=True)  # an answer to nobody: ready
    gc.freeze()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # of a child too, until it listens
    for text in sys.stdin:
        order = json.loads(text)
        if "wait" in order:
            pid, status = os.waitpid(order["wait"], os.WNOHANG)
            print(json.dumps(os.waitstatus_to_exitcode(status) if pid else None), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            os.close(0)
            _live(order)
        print(json.dumps(pid), flush=True)


if __name__ == "__main__":
    main()
