"""``Environment``: all of Durable inside one test."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Hashable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, overload

import asyncpg

from .._app import Durable
from .._authoring.attempts import attempt
from .._authoring.definitions import Definition
from .._client.waiting import Waiting
from .._core.retries import Duration, seconds
from .._runtime.worker import LiveWorker
from .._store.protocol import Answer, Hint, News, Outcome, Watched
from .._store.verbs import Store
from ..errors import InvalidCall
from .cast import NOTHING, Call, Cast
from .clock import VirtualClock
from .passage import Passage
from .worker import EnvironmentWorker
from .worlds import MemoryWorld, PostgresWorld, World

P = ParamSpec("P")
R = TypeVar("R")
K = TypeVar("K", bound=Hashable)
A = TypeVar("A")

# Real seconds; see `patience` below.
PATIENCE = 2.0


class Environment(Durable):
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
        self._cast = Cast(self._clock, connects=database is not None)
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
        if not self._passes or _in_attempt():
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
        return await self._world.open()

    async def _attach(self, store: Store) -> None:
        await super()._attach(store)
        assert self._world is not None
        waiting = _Awaited(store, is_live=self._is_live, env=self)
        self._waiting, self._watching = waiting, waiting.watching
        self._answering = waiting.answering
        self._passage = Passage(
            self._clock, self._world, self._environment_worker, waiting, patience=self._patience
        )

    def _new_worker(self, definitions: Mapping[str, Definition]) -> LiveWorker:
        return EnvironmentWorker(
            self.store,
            definitions,
            self._options,
            on_closed=self.waiting.tell,
            clock=self._clock,
            cast=self._cast,
            replays=self._replays,
        )

    def _environment_worker(self) -> EnvironmentWorker:
        assert isinstance(self._worker, EnvironmentWorker)
        return self._worker

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


class _Patient(Waiting[K, A]):
    """Who waits lets time pass."""

    env: Environment

    async def answer(self, key: K) -> A:
        passage = self.env._passage
        if passage is None or not self.env._passes:
            return await super().answer(key)
        if _in_attempt():  # it waits as if it slept; the test's own wait lets time pass
            with self.env._clock.sleeping():
                return await super().answer(key)
        with passage.interest():
            return await super().answer(key)


class _Awaited(_Patient[int, Outcome]):
    """Who awaits results or answers of updates, and who reads what runs show."""

    def __init__(self, store: Store, *, is_live: Callable[[int], bool], env: Environment) -> None:
        super().__init__(
            store.runs.settled,
            key=lambda outcome: outcome.run,
            listen=functools.partial(store.listen, Hint.ENDED),
            is_live=is_live,
        )
        published = functools.partial(store.listen, Hint.PUBLISHED)
        self.watching = _Patient[Watched, News](
            store.streams.news, key=lambda news: news.watched, listen=published
        )
        self.answering = _Patient[tuple[int, str], Answer](
            store.inbox.answers,
            key=lambda answer: (answer.run, answer.key),
            listen=published,
        )
        self.env = self.watching.env = self.answering.env = env
        self._store = store

    def awaited(self) -> list[int]:
        shown = (each.run for each in self.watching._waiters)
        return [*self._waiters, *shown, *(run for run, _ in self.answering._waiters)]

    async def tell_settled(self) -> bool:
        """Tell of runs that are over or stuck, by whoever, and of what they show; True if there
        was anything."""
        runs, read = list(self._waiters), list(self.watching._waiters)
        outcomes = await self._store.runs.settled(runs) if runs else []
        for outcome in outcomes:
            self.tell(outcome)
        shown = await self._store.streams.news(read) if read else []
        for news in shown:
            self.watching.tell(news)
        asked = list(self.answering._waiters)
        answers = await self._store.inbox.answers(asked) if asked else []
        for answer in answers:
            self.answering.tell(answer)
        return bool(outcomes or shown or answers)

    def fail(self, error: Exception) -> None:
        super().fail(error)
        self.watching.fail(error)
        self.answering.fail(error)


def _in_attempt() -> bool:
    try:
        attempt()
    except InvalidCall:
        return False
    return True


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
