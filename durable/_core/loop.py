"""A deterministic asyncio event loop: no clock, no sockets, no threads.

Workflow code is plain asyncio: tasks, ``gather``, ``TaskGroup``, ``timeout``. This loop is
what makes it replayable. It runs callbacks first in, first out; its time stands still
while code runs; a timer is not a wait but a question put to the replayer; tasks and
futures hash by birth, so that the sets in which asyncio keeps them are walked in the same
order in every process.

It runs nested inside the host's loop, on the same thread, and only while an event is fed.
The private names of asyncio that Durable uses stand in this file, in ``hosts.py`` and ``shims.py``,
but for ``_callbacks`` (``operation.py``), ``_log_traceback`` (``replayer.py``) and the running
loop's (``_authoring/guards.py``). What the loop refuses to do stands in ``refusals.py``.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from asyncio import _get_running_loop, _set_running_loop
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextvars import Context, copy_context
from datetime import datetime
from typing import Any, Protocol, TypeVar

import msgspec

from ..errors import Evicted, InvalidCall
from . import hosts
from .refusals import OUTSIDE, OUTWARD, refusing

T = TypeVar("T")

# A turn that runs this many callbacks without asking for anything new and without a task
# ending polls in a circle (`while not done: await asyncio.sleep(0)`) and would hold the
# host's loop for ever. A gather over 10,000 coroutines needs about 30,000.
CALLBACKS_MAX = 100_000

# One that runs this many goes in a circle that asks (`while True:` around an await whose
# cancellation is swallowed); each round takes memory.
TURN_MAX = 1_000_000
_ROUNDS_MAX = TURN_MAX // CALLBACKS_MAX

# A timer past the year 9999 is never due: `anyio.sleep_forever` asks for one in infinity.
NEVER = 253_402_300_800.0


NO_TURN: deque[Handle] = deque(maxlen=0)


class NoProgress(Exception):
    """The workflow's tasks only yield to each other; nothing can ever wake them."""


class Keeper(Protocol):
    """Who the loop asks for what it cannot do by itself: the replayer."""

    now: datetime  # what the loop's time is; it stands still while code runs

    def timer_asked(self, timer: Timer) -> None: ...
    def timer_dropped(self, timer: Timer) -> None: ...
    def callback_raised(self, error: BaseException) -> None: ...
    def task_failed(self, task: asyncio.Task[Any]) -> None: ...
    def taken_back(self, operation: Any) -> None: ...


def _by_birth(self: Any) -> int:
    """A hash that counts births, taken when it is first asked for: in the order of the code."""
    try:
        return self._birth  # type: ignore[no-any-return]
    except AttributeError:
        loop = self.get_loop()
        if type(loop) is not ReplayLoop:  # of a class that hosts use too
            return object.__hash__(self)
        self._birth = loop.next_birth()
        return self._birth  # type: ignore[no-any-return]


class OrderedFuture(asyncio.Future[T]):
    """A future that hashes by its birth in this loop, not by its address."""

    __slots__ = ("_birth",)
    _birth: int
    __hash__ = _by_birth


# What `asyncio.gather` returns, the one class of futures of asyncio's own that is written in
# Python. In a set of a workflow it must hash as the others do.
asyncio.tasks._GatheringFuture.__hash__ = _by_birth  # type: ignore[attr-defined]


class OrderedTask(asyncio.Task[T]):
    """A task that hashes by its birth. ``asyncio.Task`` asks for its hash while it is being
    made, hence ``__new__``."""

    __slots__ = ("_birth", "context")
    _birth: int
    context: Context

    def __new__(  # pyright: ignore[reportInconsistentConstructor]
        cls, _coro: object, *, loop: ReplayLoop, **_: Any
    ) -> OrderedTask[T]:
        task = super().__new__(cls)
        task._birth = loop.next_birth()
        return task

    def __hash__(self) -> int:
        return self._birth

    def __repr__(self) -> str:  # stands in asyncio's error when it awaits a stranger's future
        return (
            f"<Task {self.get_name()!r} of a workflow, which can await only what `ctx`, asyncio "
            "and anyio gave it; what lives in another loop (a connection, a client, a lock made "
            "outside) belongs into an activity>"
        )


class Handle(msgspec.Struct, eq=False):
    """A callback to come: what ``asyncio.Handle`` is, less what only a debugging loop reads. Made
    in C, since there are several in a step."""

    callback: Callable[..., object]
    args: tuple[Any, ...]
    context: Context
    is_cancelled: bool = False

    def cancel(self) -> None:
        self.is_cancelled = True

    def cancelled(self) -> bool:
        return self.is_cancelled

    def get_context(self) -> Context:
        return self.context


class Timer(Handle, kw_only=True, eq=False):
    """A callback at a time. Unlike ``asyncio.TimerHandle`` it hashes and compares as itself:
    a thousand timers of one due time are told apart at once."""

    loop: ReplayLoop
    due: float  # seconds since 1970
    op: int = 0  # the operation that stands for it; 0: nobody waits for it

    def when(self) -> float:
        return self.due

    def cancel(self) -> None:
        if self.op:
            self.loop.keeper.timer_dropped(self)
        self.is_cancelled = True


class ReplayLoop(asyncio.AbstractEventLoop):
    """The loop of one run. Its time is the replayer's, in seconds since 1970.

    ``in_turn`` is True while an event is fed; at no other time may anything here be touched.
    ``ready`` lives as long: a deque takes 624 bytes, and most runs only wait.
    """

    def __init__(self, keeper: Keeper, seed: bytes) -> None:
        self.in_turn = False
        self.dead = False
        self.tasks: set[OrderedTask[Any]] = set()
        self.progress = 0  # counts tasks begun and ended, and whatever the replayer notes
        self.keeper = keeper
        self.ready = NO_TURN
        self._tasks_made = 0
        self._not_before = 0.0
        self._put_off: tuple[Handle, ...] = ()  # to the next turn
        # Low bits count births, so a small set iterates in their order; high bits tell runs
        # apart, since asyncio keeps the tasks of all loops of a process in one weak set.
        self._births = int.from_bytes(seed[:4], "big") << 24

    def next_birth(self) -> int:
        self._births += 1
        return self._births

    # Driving

    def run_until_idle(self) -> None:
        """Run until every coroutine waits for something that only an event can bring."""
        ready = self.ready
        if self._put_off:
            ready.extend(self._put_off)
            self._put_off = ()
            self.progress += 1
        seen, callbacks, rounds = self.progress, 0, _ROUNDS_MAX
        before = self._enter()
        try:
            while ready:
                try:
                    while ready:
                        handle = ready.popleft()
                        if not handle.is_cancelled:
                            handle.context.run(handle.callback, *handle.args)
                        callbacks += 1
                        if callbacks > CALLBACKS_MAX:
                            rounds -= 1
                            if seen == self.progress or not rounds:
                                raise NoProgress
                            seen, callbacks = self.progress, 0
                except NoProgress:
                    raise
                except BaseException as error:  # noqa: BLE001 - as asyncio: told, no more.
                    # Also a SystemExit out of a task, which keeps it as its outcome.
                    self.keeper.callback_raised(error)
        finally:
            if before is not None:
                hosts.put_back(*before)

    def _enter(self) -> hosts.Host | None:
        """Become the running loop; returns what to put back."""
        before = None if hosts.thread.lent else hosts.left()
        sys.set_asyncgen_hooks(None, self.finalize_generator)
        _set_running_loop(self)
        return before

    def fire(self, timer: Timer) -> None:
        # A due time is whole microseconds; code that compares must not find itself early.
        self._not_before = timer.due
        timer.op = 0
        self.ready.append(timer)

    def put_off(self, handle: Handle) -> None:
        """Run what was queued last in the next turn, not in this one."""
        if self.ready and self.ready[-1] is handle:
            self._put_off = *self._put_off, self.ready.pop()

    def discard(self) -> None:
        """Throw the run's coroutines away. They see ``Evicted``, not a cancellation: the run
        is not over, it only leaves this process's memory."""
        self.dead = True
        before = self._enter() if self.tasks else None
        try:
            while self.tasks:  # clean-up code may make new ones, which never begin
                for task in sorted(self.tasks, key=hash):
                    self.tasks.discard(task)
                    task._log_destroy_pending = False  # type: ignore[attr-defined]
                    asyncio.tasks._enter_task(self, task)
                    task.context.run(_unwind, task.get_coro())
                    asyncio.tasks._leave_task(self, task)
        finally:
            if before is not None:
                hosts.put_back(*before)
            self._put_off = ()

    # What asyncio asks of a loop

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        handle = Handle(callback, args, copy_context() if context is None else context)
        if self.in_turn:
            self.ready.append(handle)
        elif not self.dead:
            raise InvalidCall(OUTSIDE)
        return handle

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> Timer:
        return self.call_at(self.time() + max(0.0, delay), callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> Timer:
        if when != when:
            raise ValueError("a timer's time is NaN")
        context = copy_context() if context is None else context
        timer = Timer(callback, args, context, loop=self, due=max(when, 0.0))
        if when < NEVER:
            self.keeper.timer_asked(timer)
        return timer

    def time(self) -> float:
        return max(self.keeper.now.timestamp(), self._not_before)

    def create_future(self) -> asyncio.Future[Any]:
        return OrderedFuture(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, T], **kwargs: Any
    ) -> asyncio.Task[T]:
        kwargs.pop("eager_start", None)  # order must not depend on the version of Python
        operation = coro if isinstance(coro, asyncio.Future) else None
        if operation is not None:
            coro = _awaiting(operation)
        self._tasks_made += 1
        if kwargs.get("name") is None:  # asyncio numbers all tasks of the process
            kwargs["name"] = f"Task-{self._tasks_made}"
        context = kwargs.get("context")
        if context is None:
            context = kwargs["context"] = copy_context()
        task: OrderedTask[T] = OrderedTask(coro, loop=self, **kwargs)
        task.context = context
        # asyncio itself holds tasks weakly; without this one could vanish in mid-run.
        self.tasks.add(task)
        task.add_done_callback(self._task_done, context=context)
        self.progress += 1
        if operation is not None:  # a task that is cancelled before it begins awaits nothing
            task.add_done_callback(lambda task: task.cancelled() and operation.cancel())
        return task

    def _task_done(self, task: Any) -> None:
        self.tasks.discard(task)
        self.progress += 1
        if task._exception is not None:
            self.keeper.task_failed(task)

    def finalize_generator(self, generator: AsyncGenerator[Any, Any]) -> None:
        """An async generator was dropped half way: close it here, where order is kept. One
        that the garbage collector finds is left alone: that may be at any moment."""
        if _get_running_loop() is not self or _collecting or not (self.in_turn or self.dead):
            return
        if self.dead:
            _unwind(generator.athrow(Evicted()))
        else:
            self.create_task(generator.aclose())

    def is_running(self) -> bool:
        return not self.dead

    def is_closed(self) -> bool:
        return self.dead

    # False, and told in C: each future asks for it.
    get_debug = staticmethod(bool)  # pyright: ignore[reportAssignmentType]

    def get_task_factory(self) -> None:
        return None

    def get_exception_handler(self) -> None:
        return None

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """asyncio says here what was never awaited, when the last reference goes: which the
        collector may be, at any moment. The replayer says it at the end of the run."""

    default_exception_handler = call_exception_handler


for _name in OUTWARD:
    setattr(ReplayLoop, _name, refusing(_name))

_collecting = False


def _note_collection(phase: str, _: object) -> None:
    global _collecting
    _collecting = phase == "start"


gc.callbacks.append(_note_collection)


def running_loop() -> ReplayLoop | None:
    """The loop of the workflow whose code is running now in this thread, if one is."""
    loop = _get_running_loop()
    return loop if type(loop) is ReplayLoop else None


async def _awaiting(future: asyncio.Future[T]) -> T:
    return await future


# Each `await` in a `finally` takes one throw more; code that catches everything and awaits
# again is left to the collector after this many.
_UNWIND_TRIES = 100


def _unwind(coro: Any) -> None:
    """Throw ``Evicted`` in until the coroutine has ended. ``close()`` would do for one that
    does not await in its clean-up; else it raises a RuntimeError amid the coroutine's own
    frames, whose ``except Exception`` would take that for a failure."""
    try:
        for _ in range(_UNWIND_TRIES):
            coro.throw(Evicted())
        coro.close()
    except BaseException:  # noqa: BLE001
        return  # it has ended; if its clean-up raised, nobody is left to tell
