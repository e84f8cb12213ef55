"""Attempts: activities under way in this process.

An attempt belongs to the process, keyed by (run, op): a run that is dropped and loaded
again finds the attempt that is still under way instead of beginning another. Between
failures it pauses as its policy says. The verdict is the pure core's; what is here calls,
times out, encodes and hands the outcome over.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeAlias

import anyio.to_thread
from anyio import CapacityLimiter

from .._authoring import attempts as authoring
from .._authoring.context import Call
from .._codec.failures import decode_failure, encode_failure
from .._core import commands
from .._core.retries import GiveUp, verdict
from ..errors import CodecError, LeaseLost
from .clock import Clock
from .instance import Instance, Result
from .rows import to_error

log = logging.getLogger("durable")

Task: TypeAlias = "asyncio.Task[None]"


class TimedOut(Exception):
    """The attempt outlived its ``timeout``."""


class Work:
    """One op that is being worked on: all its attempts, one after another."""

    __slots__ = ("abandoned", "call", "command", "deadline", "instance", "key", "number", "task")

    def __init__(self, instance: Instance, command: commands.Run, key: tuple[int, int]) -> None:
        self.key = key  # run and op
        self.instance = instance
        self.command = command
        self.call: Call = command.call
        self.number = 0
        self.deadline: datetime | None = None  # of the attempt under way
        self.abandoned = False  # nobody waits for it any more
        self.task: Task | None = None

    @property
    def is_plain(self) -> bool:
        """Whether its attempts need nothing but the call."""
        definition = self.call.definition
        return (
            definition.kind == "activity"
            and definition.is_async
            and definition.options.timeout is None
        )

    def attempt(self) -> authoring.Attempt:
        """What ``durable.attempt()`` tells the activity."""
        seed, name, digest = self.instance.seed, self.command.name, self.command.digest
        return authoring.Attempt(
            id=self.instance.id,
            activity=name,
            number=self.number,
            deadline=self.deadline,
            key=lambda: authoring.idempotency_key(seed, name, digest, self.call.nth),
            cancelled=lambda: self.abandoned,
        )


class Runner(Protocol):
    """Runs one attempt of one kind of work and returns its value, encoded and as decoded."""

    async def __call__(self, work: Work) -> tuple[bytes, Any]: ...


class Attempts:
    def __init__(
        self,
        *,
        clock: Clock,
        activities_max: int,
        may_begin: Callable[[], Any],
        on_result: Callable[[Instance, Result], None],
        run_transaction: Runner,
    ) -> None:
        self.chance: Callable[[], float] = random.random  # for jitter
        self._clock = clock
        self._may_begin = may_begin
        self._on_result = on_result
        self._free = activities_max
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._threads = CapacityLimiter(activities_max)
        self._runners: dict[str, Runner] = {
            "activity": self._run_activity,
            "transaction": run_transaction,
        }
        self._under_way: dict[tuple[int, int], Work] = {}
        self._host = asyncio.get_running_loop()

    def begin(self, instance: Instance, command: commands.Run) -> None:
        key = (instance.run, command.op)
        work = self._under_way.get(key)
        if work is not None and work.command.digest == command.digest:
            work.instance = instance  # loaded again: the attempt goes on for the new one
            return
        work = self._under_way[key] = Work(instance, command, key)
        if self._free and work.is_plain and self._may_begin() is None:
            self._free -= 1
            work.number = 1
            task = _start(self._run_plain(work), self._host)
        else:
            task = _start(self._run(work), self._host)
        if not task.done():
            work.task = task

    def drop(self, run: int, op: int) -> None:
        """The workflow no longer waits: cancel the attempt, if it can be."""
        work = self._under_way.get((run, op))
        if work is not None and work.task is not None:
            work.abandoned = True
            work.task.cancel()

    def drop_run(self, instance: Instance) -> None:
        for run, op in [key for key in self._under_way if key[0] == instance.run]:
            self.drop(run, op)

    def count(self) -> int:
        return len(self._under_way)

    async def drain(self, grace: float) -> list[Work]:
        """Give what is under way ``grace`` seconds, then cancel it; returns what was cut off."""
        tasks = [work.task for work in self._under_way.values() if work.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=grace)
        cut = [work for work in self._under_way.values() if work.task and not work.task.done()]
        for work in cut:
            work.abandoned = True
            assert work.task is not None
            work.task.cancel()
        if cut:
            await asyncio.wait([work.task for work in cut if work.task is not None])
        return cut

    # One op, all its attempts

    async def _run_plain(self, work: Work) -> None:
        """A first attempt that needs nothing but the call, as most do; it says in few
        instructions what ``_run`` says in full, and leaves to it what fails."""
        definition = work.call.definition
        outcome: tuple[bytes, Any] | BaseException
        try:
            authoring.enter(work.attempt)
            args, kwargs = work.call.arguments()
            outcome = encoded(definition.signature, await definition.fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - whatever it raised, it has failed
            outcome = error
        self._give_slot_back()
        if isinstance(outcome, BaseException):
            await self._run(work, outcome)
            return
        payload, seen = outcome
        self._forget(work)
        self._on_result(work.instance, Result(work.command.op, seen, payload, None, None))

    async def _run(self, work: Work, failed: BaseException | None = None) -> None:
        """``failed`` is what an attempt has raised already."""
        runner = self._runners[work.command.kind]
        try:
            result = None if failed is None else self._judged(work, failed)
            while not isinstance(result, Result):
                if result is not None:
                    await self._clock.sleep(result)
                result = await self._attempt(work, runner)
        except asyncio.CancelledError:
            if not work.abandoned:
                raise
            return
        except LeaseLost:
            return  # the worker has died; whoever has the run now begins anew
        finally:
            self._forget(work)
        self._on_result(work.instance, result)

    def _forget(self, work: Work) -> None:
        # Its task's context refers to it: left to the garbage collector, such circles took a
        # tenth of a worker's time (bench steps).
        work.task = None
        if self._under_way.get(work.key) is work:
            del self._under_way[work.key]

    async def _attempt(self, work: Work, runner: Runner) -> Result | float:
        """The result, or the seconds until the next attempt."""
        work.number += 1
        try:
            if not self._free:
                await self._wait_for_slot()
            self._free -= 1
            try:
                waited = self._may_begin()
                if waited is not None:
                    await waited
                payload, value = await runner(work)
            finally:
                self._give_slot_back()
            return Result(work.command.op, value, payload, None, None)
        except BaseException as error:  # noqa: BLE001 - whatever it raised, it has failed
            return self._judged(work, error)

    def _judged(self, work: Work, error: BaseException) -> Result | float:
        """What a failed attempt leads to. Not all that is raised is the activity's doing."""
        is_ours = isinstance(error, asyncio.CancelledError) and (
            work.abandoned or _is_being_cancelled()
        )
        if is_ours or isinstance(error, LeaseLost):
            raise error
        pause = self._judge(work, error)
        return self._failed(work, error) if pause is None else pause

    def _judge(self, work: Work, error: BaseException) -> float | None:
        """Seconds until the next attempt; None if there is none."""
        options = work.call.definition.options
        business = isinstance(error, options.raises)
        retryable = not business and _is_retryable(error, options.retry.retry_if)
        decision = verdict(options.retry, work.number, retryable=retryable, chance=self.chance())
        pause = None if isinstance(decision, GiveUp) else decision.seconds
        if not business:  # a business error is an answer, not an accident
            self._tell(work, error, next_in=pause)
        return pause

    async def _wait_for_slot(self) -> None:
        while not self._free:
            waiter: asyncio.Future[None] = self._host.create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake_next()  # it was this one's turn
                raise

    def _give_slot_back(self) -> None:
        self._free += 1
        if self._waiters:
            self._wake_next()

    def _wake_next(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _failed(self, work: Work, error: BaseException) -> Result:
        payload = encode_failure(error, attempts=work.number, timed_out=isinstance(error, TimedOut))
        seen = to_error(work.command.name, decode_failure(payload), work.call.definition)
        return Result(work.command.op, None, None, seen, payload)

    def _tell(self, work: Work, error: BaseException, *, next_in: float | None) -> None:
        then = "giving up" if next_in is None else f"trying again in {next_in:.1f} s"
        log.warning(
            "activity %r of run %r failed in attempt %d (%s: %s); %s",
            work.command.name,
            work.instance.id,
            work.number,
            type(error).__name__,
            error,
            then,
            exc_info=error,
        )

    # One attempt of an activity

    async def _run_activity(self, work: Work) -> tuple[bytes, Any]:
        definition = work.call.definition
        timeout = definition.options.timeout
        args, kwargs = work.call.arguments()
        authoring.enter(work.attempt)
        if timeout is None and definition.is_async:
            value = await definition.fn(*args, **kwargs)
        elif timeout is None:
            value = await self._call(definition, args, kwargs)
        else:
            work.deadline = self._clock.now() + timedelta(seconds=timeout)
            scope = self._clock.timeout(timeout)
            try:
                async with scope:
                    value = await self._call(definition, args, kwargs)
            except TimeoutError as error:
                if not scope.expired():
                    raise
                raise TimedOut(f"it ran longer than its timeout of {timeout:g} s") from error
        return encoded(definition.signature, value)

    async def _call(self, definition: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if definition.is_async:
            return await definition.fn(*args, **kwargs)
        return await anyio.to_thread.run_sync(  # copies the context, so attempt() works
            functools.partial(definition.fn, *args, **kwargs),
            limiter=self._threads,
            abandon_on_cancel=True,
        )


if sys.version_info >= (3, 12):

    def _start(work: Coroutine[Any, Any, None], host: asyncio.AbstractEventLoop) -> Task:
        """An activity that finishes at once takes no round through the loop. Only the task's
        own eager start will do: driven by hand, a coroutine would run as the committer's task,
        and its own ``asyncio.timeout`` would cancel that."""
        return asyncio.Task(work, loop=host, eager_start=True)

else:

    def _start(work: Coroutine[Any, Any, None], host: asyncio.AbstractEventLoop) -> Task:
        # The class itself: `create_task` also names each task, which costs as much again.
        return asyncio.Task(work, loop=host)


def encoded(signature: Any, value: Any) -> tuple[bytes, Any]:
    """The value as it is recorded, and as the workflow will see it on every replay.

    Raises:
        Unrecordable: it cannot make the trip. The activity has acted, so it is not tried
            again: the run learns of it as a failure.
    """
    try:
        payload: bytes
        payload, seen = signature.record_result(value)
        return payload, seen
    except CodecError as error:
        raise Unrecordable(
            f"the activity returned, but its result cannot be recorded: {error}"
        ) from error


class Unrecordable(CodecError):
    """An activity acted and returned something that cannot be written."""


def _is_retryable(error: BaseException, retry_if: Callable[[Exception], bool] | None) -> bool:
    if isinstance(error, Unrecordable) or not isinstance(error, Exception):
        return False
    return retry_if is None or retry_if(error)


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
