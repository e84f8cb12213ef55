"""Many recorded runs against the code at hand: which of them fit, and why the others do not.

Read-only. Runs are replayed in portions, in as many processes as are wanted: each opens the
database for a portion, reads its histories one after the other, and holds one at a time.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import multiprocessing
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

from ._histories import History
from ._overdue import told_if_overdue
from ._replaying import replay, told
from ._store.opening import open_store
from .errors import CodecError, Divergence, DurableError, NotRegistered

T = TypeVar("T")

# Runs of one portion: read from a database; sent from a file.
STORED, LOADED = 200, 25

# A process more costs about as much as replaying so many portions.
PORTIONS_ALONE = 2


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one run fits the code at hand.

    Attributes:
        kind: "fits"; "diverges"; "unreadable", if a recorded value fits its annotation no more;
            "unknown", if no workflow of its name is imported; "breaks", if replay itself failed.
        position: how far it went.
        how: what a run that fits waits for, or how it ended, in words.
        why: why another does not, in words. ``site``: the line that asks for something else.
    """

    id: str
    run: int
    workflow: str
    status: str
    kind: str
    position: int
    how: str | None = None
    why: str | None = None
    site: str | None = None

    @property
    def fits(self) -> bool:
        return self.kind == "fits"


def judge(history: History) -> Verdict:
    """Replay one; whatever happens becomes a verdict."""
    facts = (history.id, history.run, history.workflow, history.status)
    try:
        with told_if_overdue(str(history)):
            found = replay(history)
    except Divergence as error:
        return Verdict(*facts, "diverges", error.position, None, told(error, history), error.site)
    except NotRegistered as error:
        renamed = (
            f"If it was renamed, keep its recorded name: @workflow(name={history.workflow!r})."
        )
        return Verdict(*facts, "unknown", 0, None, f"{error} {renamed}")
    except CodecError as error:
        return Verdict(*facts, "unreadable", 0, None, told(error, history))
    except Exception as error:  # noqa: BLE001 - one run's trouble is not that of the others
        return Verdict(*facts, "breaks", 0, None, f"{type(error).__name__}: {error}")
    return Verdict(*facts, "fits", found.position, found.told, None, found.waits_at)


def judged_stored(dsn: str, schema: str, runs: Sequence[int]) -> list[Verdict]:
    """The verdicts on runs of a database; one that was removed meanwhile has none."""
    return asyncio.run(_stored(dsn, schema, runs))


async def _stored(dsn: str, schema: str, runs: Sequence[int]) -> list[Verdict]:
    store = await open_store(dsn, name="replay", schema=schema, notify=False)
    try:
        async with aclosing(History.read(store, runs)) as histories:
            return [judge(history) async for history in histories]
    finally:
        await store.close()


def judged_loaded(histories: Sequence[History]) -> list[Verdict]:
    return [judge(history) for history in histories]


def stored(
    dsn: str, schema: str, runs: Sequence[int], jobs: int, modules: Sequence[str]
) -> Iterator[Verdict]:
    """The verdicts on many runs of a database, in no order, by ``jobs`` processes that import
    ``modules``."""
    portions = (runs[start : start + STORED] for start in range(0, len(runs), STORED))
    return _spread(functools.partial(judged_stored, dsn, schema), portions, jobs, modules)


def loaded(histories: Iterable[History], jobs: int, modules: Sequence[str]) -> Iterator[Verdict]:
    """The same on histories that were read from files."""
    remaining = iter(histories)
    portions = iter(lambda: list(itertools.islice(remaining, LOADED)), [])
    return _spread(judged_loaded, portions, jobs, modules)


def _spread(
    judged: Callable[[Sequence[T]], list[Verdict]],
    portions: Iterable[Sequence[T]],
    jobs: int,
    modules: Sequence[str],
) -> Iterator[Verdict]:
    coming = iter(portions)
    few = list(itertools.islice(coming, PORTIONS_ALONE + 1))
    if jobs == 1 or len(few) <= PORTIONS_ALONE:
        for portion in itertools.chain(few, coming):
            yield from judged(portion)
        return
    coming = itertools.chain(few, coming)
    # Spawned: a fork would take the threads' locks along.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=_begin, initargs=(modules,)) as pool:
        under_way: set[Future[list[Verdict]]] = set()
        try:
            while True:
                wanted = 2 * jobs - len(under_way)
                under_way |= {
                    pool.submit(judged, each) for each in itertools.islice(coming, wanted)
                }
                if not under_way:
                    return
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                for each in done:
                    yield from each.result()
        except BrokenProcessPool as error:
            raise DurableError(
                "A process that replayed runs has died: a workflow has ended it, or the system "
                "has, for want of memory. Replay in one process (--jobs 1) to see where."
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(modules: Sequence[str]) -> None:
    import importlib

    sys.stdout = sys.stderr  # what is printed here is no verdict
    for name in modules:
        importlib.import_module(name)
