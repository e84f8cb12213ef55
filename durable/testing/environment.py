"""``Environment``: all of Durable inside one test."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, overload

import asyncpg

from .._authoring.definitions import Definition
from .._client.starting import Asked
from .._client.waiting import Waits
from .._core.retries import Duration, seconds
from .._runtime.worker import LiveWorker
from .._store.verbs import Store
from ..errors import InvalidCall
from .awaited import Awaited, in_attempt
from .cast import CLOCK, NOTHING, Call, Cast
from .clock import VirtualClock
from .crashes import Crashes
from .crashing import CrashingJournal, Moment, seed_of
from .passage import Passage
from .worker import EnvironmentWorker
from .worlds import MemoryWorld, PostgresWorld, World

P = ParamSpec("P")
R = TypeVar("R")

# Real seconds; see `patience` below.
PATIENCE = 2.0


class Environment(Crashes):
    """All of Durable inside one test: client, worker, a store of its own, and its own time.

    It does all that :class:`durable.Durable` does. Time stands still while anything is under
    way. It moves when the test says so (``advance``), and while the test awaits a result
    (``handle.result()``, ``run``): then from one moment at which something is due to the
    next, as soon as nothing is left to do.

    Args:
        database: a Postgres URL; the environment makes a schema of its own there and drops it
            at the end. None: everything is in memory (whatever ``DURABLE_DATABASE_URL``
            says), and only ``ctx.transaction`` needs a stand-in.
        at: the time that it is to begin with; an aware datetime. Now, by default.
        time: ``auto``, or ``manual``: awaiting a result does not move time either.
        replay: ``always`` throws each run out of memory after every turn and runs its code
            again from the journal, so code that is not deterministic fails at once, in words;
            ``never`` keeps runs in memory as a worker does.
        patience: real seconds that ``advance`` gives activities that run for real before it
            goes on without their end, and after which a result that can never come is given
            up with :class:`Stalled`.
        serve: as in :class:`durable.Durable`.
        options: those of a worker: ``queues``, ``activities_max`` ... ``grace`` is 0 here.

    Pauses between attempts have their full length here: no jitter.

    Example:
        async def test_reminder(durable: Environment) -> None:
            durable.stand_in(send_mail, raises=[TimeoutError()], returns="sent")
            handle = await durable.start(remind, "ada@example.com")
            await durable.advance(days=30)
            assert await handle.result() == "sent"
            assert len(durable.calls(send_mail)) == 2
    """

    def __init__(
        self,
        database: str | None = None,
        *,
        at: datetime | None = None,
        time: Literal["auto", "manual"] = "auto",
        replay: Literal["always", "never"] = "always",
        patience: float = PATIENCE,
        serve: Iterable[ModuleType | Callable[..., Any]] | None = None,
        **options: Any,
    ) -> None:
        if time not in ("auto", "manual") or replay not in ("always", "never"):
            raise InvalidCall(
                f"Environment(time={time!r}, replay={replay!r}): time is 'auto' or 'manual', "
                "replay is 'always' or 'never'."
            )
        if at is not None and at.utcoffset() is None:
            raise InvalidCall(f"Environment(at={at!r}): give it a time zone, as in tzinfo=UTC.")
        options.setdefault("grace", 0.0)
        super().__init__(None, serve=serve, **options)
        self._at = at or datetime.now(UTC).replace(microsecond=0)  # to begin with
        self._database = database
        self._passes = time == "auto"
        self._replays = replay == "always"
        self._patience = patience
        self._clock = VirtualClock(self._at)
        self._cast = Cast(
            self._clock, connects=database is not None, die=lambda: self._environment_worker().die()
        )
        self._made_with: dict[str, Any] = {"replay": replay, "patience": patience,
                                           "serve": self._serve, **options}  # fmt: skip
        self._moment: Moment | None = None
        self._counts = False
        self._crashing: CrashingJournal | None = None
        self._world: World | None = None
        self._passage: Passage | None = None

    # Time

    def now(self) -> datetime:
        """What time it is here."""
        return self._clock.now()

    async def advance(
        self,
        length: Duration = 0,
        /,
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
    ) -> datetime:
        """Let time pass, moment by moment: all that is due on the way happens at its time, in
        order, before this returns. ``advance()`` only lets end what is under way.

        Activities that run for real are awaited for ``patience`` real seconds in each moment.

        Args:
            length: seconds, or a timedelta; the keywords are added to it.

        Returns:
            What time it is then.

        Raises:
            InvalidCall: not inside ``async with``; a negative length.

        Example:
            await durable.advance(days=30)
        """
        to = self.now() + _length(length, days, hours, minutes, seconds)
        await self._open_passage().advance(to)
        return self.now()

    async def sleep(
        self,
        length: Duration = 0,
        /,
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
    ) -> None:
        """Sleep in the environment's time: in a stand-in that is to take its time, or in a task
        of the test, which then lets time pass as if it awaited a result.

        Example:
            async def slow(card: str) -> str:
                await durable.sleep(minutes=2)
                return "late"

            durable.stand_in(charge, slow)
        """
        passage = self._open_passage()
        pause = _length(length, days, hours, minutes, seconds).total_seconds()
        if in_attempt():
            await CLOCK.get(self._clock).sleep(pause)
            return
        if not self._passes:
            await self._clock.sleep(pause)
            return
        with passage.interest():
            await self._clock.sleep(pause)

    # Activities

    @overload
    def stand_in(
        self,
        activity: Callable[P, Coroutine[Any, Any, R]],
        by: Callable[P, Coroutine[Any, Any, R]] | Callable[P, R] | None = None,
        /,
        *,
        raises: BaseException
        | type[BaseException]
        | Iterable[BaseException | type[BaseException]] = (),
        returns: R = NOTHING,
        hangs: bool = False,
    ) -> None: ...
    @overload
    def stand_in(
        self,
        activity: Callable[Concatenate[asyncpg.Connection, P], Coroutine[Any, Any, R]],
        by: Callable[P, Coroutine[Any, Any, R]] | Callable[P, R] | None = None,
        /,
        *,
        raises: BaseException
        | type[BaseException]
        | Iterable[BaseException | type[BaseException]] = (),
        returns: R = NOTHING,
        hangs: bool = False,
    ) -> None: ...
    @overload
    def stand_in(
        self,
        activity: Callable[P, R],
        by: Callable[P, Coroutine[Any, Any, R]] | Callable[P, R] | None = None,
        /,
        *,
        raises: BaseException
        | type[BaseException]
        | Iterable[BaseException | type[BaseException]] = (),
        returns: R = NOTHING,
        hangs: bool = False,
    ) -> None: ...
    def stand_in(
        self,
        activity: Callable[..., Any],
        by: Callable[..., Any] | None = None,
        /,
        *,
        raises: Any = (),
        returns: Any = NOTHING,
        hangs: bool = False,
    ) -> None:
        """Let something else play an activity, or a transaction, in this environment. Others
        run for real.

        Retries, timeouts and the encoding of arguments and results are those of the activity.
        Setting another stand-in replaces this one, also between two attempts.

        Args:
            activity: the activity, or the function given to ``ctx.transaction``.
            by: a function that is called instead, plain or ``async``; of a transaction,
                without the connection.
            raises: exceptions for the first attempts, in order; a single one, not in a list,
                is raised each time.
            returns: what it returns then; None by default.
            hangs: it never returns then: only a timeout or a cancellation ends it.

        Raises:
            NotRegistered: it is neither.
            InvalidCall: more than one of ``by``, ``returns`` and ``hangs``.

        Example:
            durable.stand_in(charge, raises=[TimeoutError()], returns="tx-1")
        """
        self._cast.put(activity, by, raises=raises, returns=returns, hangs=hangs)

    def calls(self, activity: Callable[..., Any], /) -> list[Call]:
        """The attempts of an activity or a transaction in this environment so far, in order,
        with a stand-in or without.

        Example:
            assert [call.args for call in durable.calls(charge)] == [("visa", 100)]
        """
        return self._cast.calls(activity)

    # Opening and closing

    @property
    def is_open(self) -> bool:
        """Whether it is inside ``async with``."""
        return self._store is not None

    async def _open_database(self) -> Store:
        if self._database is None:
            self._world = MemoryWorld(self.now())
        else:
            self._world = PostgresWorld(self._database, self.now())
        store = await self._world.open()
        if self._counts:
            die = self._environment_worker
            store.journal = self._crashing = CrashingJournal(
                store.journal, lambda: die().die(), self._moment
            )
        return store

    async def _start_here(self, start: Asked) -> int | None:
        self._check_served(start.definition)
        if self._counts:
            seed = seed_of(start.new.id)
            start = start._replace(new=start.new._replace(seed=seed))
        return await super()._start_here(start)

    async def _born(self, starts: list[Asked]) -> list[int | None]:
        """Many are due, and taken up as time passes."""
        return [None] * len(starts)

    async def _ended(self, start: Asked) -> None:
        """Who waits for its end lets time pass, as who waits for another's."""

    def _seed(self, old: int) -> bytes:
        return seed_of(f"instead of {old}") if self._counts else super()._seed(old)

    def _check_served(self, definition: Definition | None) -> None:
        """
        Raises:
            InvalidCall: it came too late. It would wait for ever, and a test would not say why.
        """
        if self._serve is not None or definition is None or self._worker is None:
            return
        if definition.name not in self._worker.definitions:
            raise InvalidCall(
                f"Workflow {definition.name!r} ({definition.place}) was defined after this "
                "environment was opened, so nothing here serves it. Define it at the top of the "
                "module, or open an environment after it: `async with Environment() as durable:`."
            )

    async def _attach(self, store: Store) -> None:
        await super()._attach(store)
        assert self._world is not None
        waiting = Awaited(store, live=self._live, env=self)
        self._waits = Waits(waiting, waiting.watching, waiting.answering)
        self._passage = Passage(
            self._clock, self._world, self._environment_worker, waiting, patience=self._patience
        )

    def _new_worker(self, definitions: Mapping[str, Definition]) -> LiveWorker:
        return EnvironmentWorker(
            self.store,
            definitions,
            self._options,
            on_closed=self.waits.results.tell,
            clock=self._clock,
            cast=self._cast,
            replays=self._replays,
        )

    def _environment_worker(self) -> EnvironmentWorker:
        assert isinstance(self._worker, EnvironmentWorker)
        return self._worker

    async def _come_to_rest(self) -> None:
        await self._open_passage().advance(self.now())

    def _repeated(self, moment: Moment | None) -> Environment:
        made = Environment(self._database, at=self.now(), **self._made_with)
        made._cast.repeat(self._cast)
        made._counts, made._moment = True, moment
        return made

    def _open_passage(self) -> Passage:
        if self._passage is None:
            assert self.store is not None  # or it says what is missing
        assert self._passage is not None
        return self._passage

    async def _leave(self) -> None:
        passage, self._passage = self._passage, None
        if passage is not None:
            await passage.close()
        try:
            await super()._leave()
        finally:
            world, self._world = self._world, None
            if world is not None:
                await world.close()


def _length(
    length: Duration, days: float, hours: float, minutes: float, seconds_: float
) -> timedelta:
    parts = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds_)
    try:
        return timedelta(seconds=seconds(length, what="the time to pass")) + timedelta(
            seconds=seconds(parts, what="the time to pass")
        )
    except (ValueError, OverflowError) as error:
        raise InvalidCall(f"Time cannot pass like that: {error}.") from None
