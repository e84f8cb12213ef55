"""Attempts: activities under way in this process.

An attempt belongs to the process, keyed by (run, op): a run that is dropped and loaded
again finds the attempt that is still under way instead of beginning another. One that was
told to stop stays known until it has really ended, and nothing begins for its op before
that. Between failures an op pauses as its policy says; the verdict is the pure core's.

What is under way for long, is retried or must be known of is *noted*, in the commits of its
run. Quick activities leave no note.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from .._authoring import attempts as authoring
from .._core import commands
from .._store.protocol import Note
from .activities import run_activity
from .arrivals import Result
from .instance import Instance
from .kept import Kept
from .limits import left_of_total, listen, total_is_over
from .press import Press
from .quick import Quick
from .slots import Slots
from .transactions import Transactions
from .work import (
    Disowned,
    Runner,
    Task,
    Unfit,
    Work,
    arguments,
    encoded,
    failed,
    failure_of,
    next_in,
)

if TYPE_CHECKING:
    from .worker import LiveWorker

log = logging.getLogger("durable.activity")

# What is under way is looked at this often. What is found twice or more and has run for
# NOTE_AFTER gets a note; changed details of heartbeats are noted as often as that.
LOOK_SECONDS = 0.5
NOTE_AFTER = timedelta(seconds=1)

# An attempt that the database takes for another worker's, while memory does not, is tried
# again after this pause: one of the two learns better soon.
DISOWNED_PAUSE = 0.1

# An activity that finishes at once takes no round through the loop. Only the task's own eager
# start will do: driven by hand, a coroutine would run as the committer's task, and its own
# ``asyncio.timeout`` would cancel that.
EAGER: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}

# What is told to stop gets this long to clean up before a drain goes on without it.
STOP_SECONDS = 5.0


class Attempts:
    def __init__(self, worker: LiveWorker) -> None:
        self.chance: Callable[[], float] = random.random  # for jitter
        self._worker = worker
        self._clock = worker.clock
        self._slots = Slots(worker.options.activities_max)
        runners: dict[str, Runner] = {
            "activity": functools.partial(run_activity, worker.clock),
            "transaction": Transactions(worker),
        }
        self._runners = {kind: worker.meter.around(each) for kind, each in runners.items()}
        self._quick = Quick(self._run_plain, may_begin=worker.may_begin, skip=self._skip)
        self._is_measured = worker.meter.is_on  # then all attempts go the long way
        self._under_way: dict[tuple[int, int], Work] = {}
        self._kept = Kept()
        self._host = asyncio.get_running_loop()
        self._press = Press(worker.has_news)
        self._stir = self._press.stir

    def begin(
        self,
        instance: Instance,
        command: commands.Run,
        *,
        resumed: bool = False,
        found: Note | None = None,
    ) -> None:
        """Work on an op: one that a turn has just asked for; or, ``resumed``, one of a run that
        was loaded, on which others may have begun, as far as ``found`` tells. If it is still
        under way here, it goes on for the new instance."""
        key = (instance.run, command.op)
        before = self._under_way.get(key)
        if before is not None and before.is_for(command):
            before.instance = instance
            self._press.repeat(before)
            return
        if resumed and (result := self._kept.take(instance.run, command)) is not None:
            self._worker.result_arrived(instance, result)
            return
        work = self._under_way[key] = Work(key, instance, command, command.call, self._stir)
        if resumed:
            work.resume(found, self._clock.now())
        if before is not None:
            self._abandon(before)
            work.before, work.pause = before, work.pause or 0.0
        plain = command.call.definition.is_plain and work.pause is None and not self._is_measured
        if plain and self._slots.free:
            self._slots.free -= 1
            self._quick.add(work)
        else:
            self._begin_alone(work)

    def _begin_alone(self, work: Work) -> None:
        # The class itself: `create_task` also names each task, which costs as much again.
        task: Task = asyncio.Task(self._run(work), loop=self._host, **EAGER)
        if not task.done():
            work.task = task

    def _skip(self, work: Work) -> None:
        """A quick one is not to begin now: the lease is in doubt, or nobody waits for it."""
        self._slots.give_back()
        if work.abandoned:
            self._forget(work)
        else:
            self._begin_alone(work)

    def drop(self, run: int, op: int) -> None:
        """The workflow no longer waits: cancel the attempt, if it can be."""
        work = self._under_way.get((run, op))
        if work is not None:
            self._abandon(work)

    def drop_run(self, instance: Instance) -> None:
        for run, op in [key for key in self._under_way if key[0] == instance.run]:
            self.drop(run, op)

    def drop_waiting(self, run: int | None = None) -> None:
        """What waits for its next attempt, of all runs or of one: that will be the next owner's."""
        for work in self._under_way.values():
            if work.waits and run in (None, work.key[0]):
                self._abandon(work)

    def _abandon(self, work: Work) -> None:
        if not work.abandoned:
            work.abandoned = True
            if work.task is not None:
                # A task that is cancelled before its first step takes no step at all.
                work.task.add_done_callback(lambda _: self._forget(work))
                work.task.cancel()

    def count(self) -> int:
        return len(self._under_way)

    def runs(self, *, noted: bool = False) -> set[int]:
        """Those of which something is under way here; ``noted``: for long, or in doubt."""
        works = self._under_way.values()
        return {each.key[0] for each in works if each.noted or each.is_doubted or not noted}

    async def drain(self, grace: float) -> list[Work]:
        """Give what is under way ``grace`` seconds, then tell it to stop; returns what was cut
        off. What does not stop either is named, and left behind."""
        await self._quick.begun()
        self._look()  # what heartbeats have told is for the next owner
        self.drop_waiting()
        await self._ended(grace)
        cut = [work for work in self._under_way.values() if not work.abandoned]
        for work in cut:
            self._abandon(work)
        await self._ended(STOP_SECONDS)
        for work in self._under_way.values():
            log.error(
                "activity %r of run %r was told to stop and goes on, at %s; this process leaves "
                "it behind. In a thread, ask durable.attempt().cancelled now and then.",
                work.command.name, work.instance.id, work.where(), extra=work.facts,
            )  # fmt: skip
        return cut

    async def _ended(self, seconds: float) -> None:
        endings = [each for work in self._under_way.values() for each in work.endings()]
        if endings:
            await asyncio.wait(endings, timeout=seconds)

    # One op, all its attempts

    async def _run_plain(self, work: Work) -> None:
        """A first attempt that needs nothing but the call, as most do; it says in few
        instructions what ``_run`` says in full, and leaves to it what fails."""
        work.number = 1
        definition = work.call.definition
        outcome: tuple[bytes, Any] | BaseException
        try:
            authoring.enter(work)
            args, kwargs = arguments(work.call)
            outcome = encoded(definition.signature, await definition.fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - whatever it raised, it has failed
            outcome = error
        self._slots.give_back()
        if isinstance(outcome, BaseException):
            await self._run(work, outcome)
            return
        payload, seen = outcome
        self._forget(work)
        self._tell(work, Result(work.command.op, seen, payload, None, None))

    async def _run(self, work: Work, failed: BaseException | None = None) -> None:
        """``failed`` is what an attempt has raised already."""
        runner = self._runners[work.command.kind]
        result: Result | None = None
        report: str | None = None
        try:
            result = None if failed is None else self._judged(work, failed)
            while result is None:
                if work.pause is not None:
                    result = await self._wait(work)
                if result is None:
                    result = await self._attempt(work, runner)
        except asyncio.CancelledError:
            if not work.abandoned:
                raise  # with all tasks of a host that ends
        except Disowned:
            pass  # whoever has the run now begins anew
        except Unfit as error:
            report = str(error)
        except Exception as error:
            log.exception("activity %r could not be run", work.command.name, extra=work.facts)
            report = f"activity {work.command.name!r} could not be run: {error!r}"
        finally:
            is_awaited = not work.abandoned
            self._forget(work)
        if is_awaited and result is not None:
            self._tell(work, result)
        elif is_awaited and report is not None and not work.instance.lost:
            self._worker.refused(work.instance, report)

    def _tell(self, work: Work, result: Result) -> None:
        """An op is answered; if its run has left this process, the answer waits for it."""
        if not work.instance.lost:
            self._worker.result_arrived(work.instance, result)
        else:
            self._kept.add(work.instance.run, work.command, result)

    def _forget(self, work: Work) -> None:
        # Its task's context refers to it: left to the garbage collector, such circles took a
        # tenth of a worker's time (bench steps).
        if work.task is not None:
            work.task = None
        if work.thread is not None or work.before is not None:
            for each in work.endings():
                work.abandoned = True  # nobody waits for what it comes to
                each.add_done_callback(lambda _: self._forget(work))
            if work.endings():
                return
        if self._under_way.get(work.key) is work:
            del self._under_way[work.key]

    async def _wait(self, work: Work) -> Result | None:
        """Wait before an attempt: for the pause that the policy wants, and until no earlier
        attempt at this op is under way in this process. A result if the time for all attempts
        is over then, or if the op must not be tried again."""
        assert work.pause is not None
        pause, work.pause = work.pause, None
        try:
            async with self._clock.timeout(left_of_total(work, self._clock)):
                await self._clock.sleep(pause)
                while held_up := set(work.endings()) - {work.task}:
                    await asyncio.wait(held_up)
        except TimeoutError:
            return failed(work, total_is_over(work))
        work.before = work.thread = work.began_at = work.deadline = work.heard_at = None
        work.stopped = False
        if work.vanished is not None:
            log.warning("activity %r of run %r: %s", work.command.name, work.instance.id,
                        work.vanished, extra=work.facts)  # fmt: skip
            return failed(work, work.vanished)
        return None

    async def _attempt(self, work: Work, runner: Runner) -> Result | None:
        """The result; None if there is to be another attempt, after ``work.pause``."""
        work.waits = True
        try:
            if self._slots.free:
                self._slots.free -= 1
            else:
                await self._slots.wait()
            try:
                if work.call.definition.options.records_start:
                    await self._record(work)
                while (waited := self._worker.may_begin()) is not None:
                    await waited
                if work.instance.lost or work.instance.holding:
                    raise Disowned
                work.begin_attempt()
                payload, value = await runner(work)
            finally:
                if thread := work.live_thread:  # it keeps the slot, so threads are bounded too
                    thread.ended.add_done_callback(lambda _: self._slots.give_back())
                else:
                    self._slots.give_back()
            return Result(work.command.op, value, payload, None, None)
        except BaseException as error:  # noqa: BLE001 - whatever it raised, it has failed
            return self._judged(work, error)

    async def _record(self, work: Work) -> None:
        """Note that the next attempt begins, and wait until that is written.

        Raises:
            Disowned: the run has left this process before.
        """
        written = self._host.create_future()
        work.instance.noting().awaiting[work.command.op] = written
        self._note(work, number=work.number + 1)
        if not await written:
            raise Disowned

    def _judged(self, work: Work, error: BaseException) -> Result | None:
        """What a failed attempt leads to. Not all that is raised is the activity's doing."""
        has_begun, work.waits = not work.waits, True
        if work.abandoned:
            if work.noted is not None and work.noted.next_at is None and not has_begun:
                self._note(work, next_at=self._clock.now())  # its start was noted too early
            raise asyncio.CancelledError from error
        if isinstance(error, Unfit):
            raise error
        if isinstance(error, Disowned):
            if work.instance.lost:
                raise error
            work.is_doubted = True
            work.pause = DISOWNED_PAUSE
            return None
        if isinstance(error, GeneratorExit) and self._host.is_closed():
            raise error  # thrown away with the loop
        work.pause = next_in(
            work, error, chance=self.chance(), left=left_of_total(work, self._clock)
        )
        if work.pause is None:
            return failed(work, error)
        work.failure = failure_of(work, error)
        self._note(work, next_at=self._clock.now() + timedelta(seconds=work.pause))
        return None

    # What is told of them

    async def watch(self) -> None:
        """Note what is under way for long: one round, gone for ever by the worker."""
        await asyncio.sleep(LOOK_SECONDS)
        self._look()

    def _look(self) -> None:
        now = self._clock.now()
        for work in self._under_way.values():
            if work.waits or work.abandoned:
                continue
            work.began_at = work.began_at or now
            listen(work, now)
            noted = work.noted
            is_new = noted is None or noted.attempt != work.number or noted.next_at is not None
            if (is_new and now - work.began_at >= NOTE_AFTER) or (
                work.details is not (noted and noted.details)
            ):
                self._note(work)

    def _note(
        self, work: Work, *, number: int | None = None, next_at: datetime | None = None
    ) -> None:
        instance = work.instance
        note = work.note(self._clock.now(), number=number or work.number, next_at=next_at)
        instance.noting().notes[note.op] = note
        if not instance.lost:
            self._worker.has_news(instance)
