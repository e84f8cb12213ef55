"""``Durable``: client, worker and database in one ``async with``."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Set
from types import ModuleType
from typing import Any, TypeAlias

from ._authoring import channels, registry
from ._authoring.children import unfit
from ._authoring.definitions import Definition
from ._changing import Client
from ._client.handle import Handle
from ._client.starting import Asked, unhurried
from ._core.statuses import Status
from ._migrating import prepare
from ._queries import ask, settled
from ._runtime import process
from ._runtime.instance import Instance
from ._runtime.options import Health, WorkerOptions
from ._runtime.versions import versions
from ._runtime.worker import DONE, PARKED, LiveWorker
from ._selftest import check_python
from ._store.protocol import Birth, Delivered, Hint, Letter, Outcome, Taker, Verdict
from ._store.protocol import Started as Answer
from ._store.verbs import Store
from ._taking import taker
from .errors import DecodeError, DurableError, InvalidCall, SchemaMismatch

Told: TypeAlias = Answer | DurableError

log = logging.getLogger("durable")

# Run keys taken from the sequence at once; what is left at the end is a gap, and harmless.
KEYS_BLOCK = 1_000

# So many of `start_many` at once: as many go into one statement.
START_MAX = 625

# What asks a worker to stop.
STOPPING = (signal.SIGTERM, signal.SIGINT)


class Durable(Client):
    """Durable execution inside your asyncio service: starts runs, and works on them.

    Args:
        dsn, schema, notify: as of :class:`Client`.
        serve: workflows, or modules that define them; all of this process by default.
        migrate: upgrade an older schema on entering. A missing one is always created.
        options: see :class:`WorkerOptions`: ``queues``, ``runs_max``, ``activities_max``,
            ``transactions_max``, ``grace``, ``lease``, ``build``.

    Leaving the block drains: nothing new is claimed, attempts get ``grace`` seconds, runs are
    handed back at once. A failure in the background never cancels your tasks: ask
    ``health()``. One ``Durable`` belongs to one event loop.

    Raises:
        InvalidCall: there is no such option, or it cannot be so.
        NotRegistered: (on entering) ``serve`` names what is no workflow.
        ConfigurationError, SchemaMismatch: (on entering) what is wrong with the database.

    Example:
        async with Durable("postgresql://localhost/app") as app:
            receipt = await app.run(order, Order(...), id="order-42")
    """

    def __init__(
        self,
        dsn: str | None = None,
        *,
        serve: Iterable[ModuleType | Callable[..., Any]] | None = None,
        schema: str = "durable",
        notify: bool | None = None,
        migrate: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(dsn, schema=schema, notify=notify)
        if isinstance(serve, str) or not hasattr(serve or (), "__iter__"):
            raise InvalidCall(f"serve={serve!r:.100}: it takes several, as in serve=[order].")
        self._serve = None if serve is None else list(serve)
        self._migrate = migrate
        if unknown := options.keys() - set(WorkerOptions.__slots__):
            raise InvalidCall(
                f"{type(self).__name__}(...) has no option {', '.join(sorted(unknown))}; beside "
                f"its own it has {', '.join(WorkerOptions.__slots__)}."
            )
        try:
            self._options = WorkerOptions(**options)
        except (TypeError, ValueError) as error:
            raise InvalidCall(f"{type(self).__name__}(...): {error}.") from None
        self._worker: LiveWorker | None = None
        self._keys: deque[int] = deque()
        self._keys_wanted = asyncio.Lock()
        self._is_handing = False

    def health(self) -> Health:
        """How this process stands; from memory, for readiness probes.

        Raises:
            InvalidCall: not inside ``async with``.
        """
        assert self.store is not None
        assert self._worker is not None
        return self._worker.health()

    # Opening and closing

    async def _open(self) -> None:
        warning = check_python()
        if warning is not None:
            log.warning("%s", warning)
        definitions = registry.narrowed(self._serve)
        channels.check()
        await self._attach(await self._open_database())
        self._worker = self._new_worker(definitions)
        await self._worker.start()

    async def _open_database(self) -> Store:
        place = await self._find_place()
        open_store = functools.partial(
            self._open_store,
            place,
            name=process.name(),
            transactions_max=self._options.transactions_max,
        )
        upgrade = self._migrate or place.server is not None
        if not upgrade:
            with contextlib.suppress(SchemaMismatch):  # mostly it is there, and fits
                return await open_store()
        await prepare(place.dsn, schema=self._schema, upgrade=upgrade)
        return await open_store()

    def _new_worker(self, definitions: Mapping[str, Definition]) -> LiveWorker:
        return LiveWorker(self.store, definitions, self._options, on_closed=self.waits.results.tell)

    async def _leave(self) -> None:
        worker, self._worker = self._worker, None
        try:
            if worker is not None:
                await worker.drain()
        finally:
            await super()._leave()

    # Starting in this process

    async def _start_here(self, start: Asked) -> int | None:
        worker = self._worker
        if worker is None or (instance := await self._unborn(worker, start)) is None:
            return None
        born: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        worker.bear(instance, functools.partial(settle_written, born))
        return instance.run if await born else None

    async def _run(self, start: Asked) -> Any:
        """Where it is begun here, its end alone is waited for: only what was written has one."""
        outcome = await self._ended(start) if start.message is None else None
        if outcome is None:
            return await super()._run(start)
        run, id = outcome.run, start.new.id
        return await Handle(self, id, run=run, definition=start.definition)._concluded(outcome)

    async def _ended(self, start: Asked) -> Outcome | None:
        results, worker = self.waits.results, self._worker
        if worker is None or (instance := await self._unborn(worker, start)) is None:
            return None
        ended: asyncio.Future[Outcome | None] = results.expect(instance.run)

        def told(born: Verdict) -> None:
            if not (born is DONE or born is PARKED or ended.done()):
                ended.set_result(None)

        worker.bear(instance, told)
        try:
            return await ended
        finally:
            results.drop(instance.run, ended)

    async def _answers(self, starts: list[Asked], connection: Any) -> list[Told]:
        """As many as there is room for begin here; the others are due for whoever has some."""
        if connection is not None:
            return await super()._answers(starts, connection)
        answers: list[Told] = []
        for first in range(0, len(starts), START_MAX):
            some = starts[first : first + START_MAX]
            born = await self._born(some)
            rest = [each for each, run in zip(some, born, strict=True) if run is None]
            told = iter(await super()._answers(rest, None) if rest else ())
            answers += [
                next(told) if run is None else Answer(run, True, "running", each.new.workflow, None)
                for each, run in zip(some, born, strict=True)
            ]
        return answers

    async def _born(self, starts: list[Asked]) -> list[int | None]:
        """The keys of those that could begin here. Of one id only the first may: the others find
        what became of it."""
        runs: list[int | None] = [None] * len(starts)
        asked: list[tuple[int, int, asyncio.Future[bool]]] = []
        host, ids = asyncio.get_running_loop(), set[str]()
        async for n, start in unhurried(enumerate(starts)):
            worker, id = self._worker, start.new.id
            is_first = id not in ids
            ids.add(id)
            if worker is None or start.message is not None or not is_first:
                continue
            if (instance := await self._unborn(worker, start)) is not None:
                born = host.create_future()
                asked.append((n, instance.run, born))
                worker.bear(instance, functools.partial(settle_written, born))
        for n, run, born in asked:
            if await born:
                runs[n] = run
        return runs

    async def _unborn(self, worker: LiveWorker, start: Asked) -> Instance | None:
        """The run, if it may begin in this process.

        Raises:
            InvalidCall: the workflow does not take these arguments.
        """
        new, definition = start.new, start.definition
        if (
            definition is None
            or worker.definitions.get(definition.name) is not definition
            or new.queue not in worker.options.queues
            or new.begins_at is not None
            or new.begins_after is not None
            or new.build is not None
            or not worker.room
        ):
            return None
        run = self._keys.popleft() if self._keys else await self._next_key()
        try:
            instance = Instance(
                run, id=new.id, claim=1, seed=new.seed, definition=definition, input=new.input,
                args=start.args,
            )  # fmt: skip
        except DecodeError as error:
            raise unfit(new.workflow, error) from None
        deadline = new.ends_at
        if new.ends_after is not None:
            deadline = worker.clock.now() + new.ends_after
        instance.birth = Birth(
            new.id,
            new.explicit_id,
            new.workflow,
            new.queue,
            new.priority,
            new.seed,
            versions(),
            new.input,
            new.input_digest,
            deadline,
        )
        return instance

    async def _next_key(self) -> int:
        while not self._keys:
            async with self._keys_wanted:
                if not self._keys:
                    self._keys.extend(await self.store.runs.keys(KEYS_BLOCK))
        return self._keys.popleft()

    def _live(self) -> Set[int]:
        if self._worker is None:
            return frozenset()
        return self._worker.active.keys() | self._worker.claimer.loading

    async def _replayed(self, run: int, query: str) -> bytes:
        instance = self._worker.active.get(run) if self._worker is not None else None
        if instance is not None and await settled(instance):
            return ask(instance, query)
        return await super()._replayed(run, query)

    async def _found(self, id: str, answer: Answer) -> None:
        """With the embedded Postgres somebody tries things out, and sees nothing else of a run
        that sleeps on."""
        embedded = self._place is not None and self._place.server is not None
        if embedded and answer.status == Status.WAITING:
            known = await Handle(self, id, run=answer.run, definition=None).describe()
            log.info(
                "%s is there already, and waits at %s for %s; %d recorded steps are not run again",
                id, known.waits_at, known.waits_for, known.events - 1,
            )  # fmt: skip

    async def _started_elsewhere(self) -> None:
        if self._worker is not None:
            self._worker.claimer.poke()
        else:
            await super()._started_elsewhere()

    async def _deliver(
        self, id: str, letter: Letter, meant: int | None, connection: Any, by: Taker | None = None
    ) -> Delivered:
        if self._worker is not None and connection is None and not self._is_handing:
            by = taker(self._worker)
        if by is None:
            return await super()._deliver(id, letter, meant, connection)
        self._is_handing = True  # what others send meanwhile goes together
        try:
            return await super()._deliver(id, letter, meant, connection, by)
        finally:
            self._is_handing = False

    async def _news_for(self, run: int | None) -> None:
        worker = self._worker
        if worker is None:
            await super()._news_for(run)
        elif run in worker.active:
            worker.claimer.mail_came()
        else:
            worker.claimer.poke()  # first: whoever sends here most often works here
            worker.chores.announce(Hint.DUE)


def settle_written(future: asyncio.Future[bool], born: Verdict) -> None:
    """Whether it stands in the database, for who was not cancelled."""
    if not future.done():
        future.set_result(born is DONE or born is PARKED)


class Worker(Durable):
    """A process that works and does little else: :class:`Durable` that runs until it is told
    to stop.

    From entering on, the first SIGTERM or SIGINT ends the block, which drains: ``until_stopped``
    returns, and whatever else the block awaits is cancelled. A second one kills the process as
    if nobody had asked for it.

    Example:
        async with Worker(dsn, serve=[shop.orders]) as worker:
            await worker.until_stopped()
    """

    _stopped: asyncio.Event
    _awaits: asyncio.Task[Any] | None = None  # what a signal has to end, but for `until_stopped`

    async def until_stopped(self) -> None:
        """Wait for SIGTERM or SIGINT; one that came earlier counts."""
        assert self.store is not None
        self._awaits = None
        await self._stopped.wait()

    async def _open(self) -> None:
        self._stopped = asyncio.Event()
        if threading.current_thread() is threading.main_thread():  # others get no signals
            for number in STOPPING:
                asyncio.get_running_loop().add_signal_handler(number, self._stop)
        await super()._open()
        self._awaits = asyncio.current_task()

    async def _leave(self) -> None:
        self._awaits = None
        try:
            await super()._leave()
        finally:
            self._listen_no_more()

    def _stop(self) -> None:
        self._listen_no_more()
        self._stopped.set()
        if self._awaits is not None:
            self._awaits.cancel()

    def _listen_no_more(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                asyncio.get_running_loop().remove_signal_handler(number)
