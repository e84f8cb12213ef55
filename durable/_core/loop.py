"""A deterministic asyncio event loop: no clock, no sockets, no threads.

Workflow code is plain asyncio: tasks, ``gather``, ``TaskGroup``, ``timeout``. This loop is
what makes it replayable. It runs callbacks first in, first out; its time stands still
while code runs; a timer is not a wait but a question put to the replayer; tasks and
futures hash by birth, so that the sets in which asyncio keeps them are walked in the same
order in every process.

It runs nested inside the host's loop, on the same thread, and only while an event is fed.
All private names of asyncio that Durable uses stand in this file and in ``shims.py``.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import _get_running_loop, _set_running_loop
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextvars import Context, copy_context
from datetime import datetime
from typing import Any, NoReturn, Protocol, TypeVar

from ..errors import NotInWorkflow

T = TypeVar("T")

# A turn that runs this many callbacks without asking for anything new and without a task
# ending polls in a circle (`while not done: await asyncio.sleep(0)`) and would hold the
# host's loop for ever. A gather over 10,000 coroutines needs about 30,000.
CALLBACKS_MAX = 100_000


class NoProgress(Exception):
    """The workflow's tasks only yield to each other; nothing can ever wake them."""


class TimerKeeper(Protocol):
    now: datetime  # what the loop's time is; it stands still while code runs

    def timer_asked(self, handle: asyncio.TimerHandle) -> None: ...
    def timer_dropped(self, handle: asyncio.TimerHandle) -> None: ...


class OrderedFuture(asyncio.Future[T]):
    """A future that hashes by its birth in this loop, not by its address."""

    __slots__ = ("_birth",)
    _birth: int

    def __hash__(self) -> int:
        try:
            return self._birth
        except AttributeError:
            loop = self.get_loop()
            assert isinstance(loop, ReplayLoop)
            self._birth = loop.next_birth()
            return self._birth

    def __eq__(self, other: object) -> bool:
        return self is other


class OrderedTask(asyncio.Task[T]):
    """A task that hashes by its birth. ``asyncio.Task`` asks for its hash while it is being
    made, hence ``__new__``."""

    _birth: int

    def __new__(  # pyright: ignore[reportInconsistentConstructor]
        cls, _coro: object, *, loop: ReplayLoop, **_: Any
    ) -> OrderedTask[T]:
        task = super().__new__(cls)
        task._birth = loop.next_birth()
        return task

    def __hash__(self) -> int:
        return self._birth

    def __eq__(self, other: object) -> bool:
        return self is other


class _Handle:
    """A callback to come: what ``asyncio.Handle`` is, less what only a debugging loop reads."""

    __slots__ = ("args", "callback", "context", "is_cancelled")

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: Context
    ) -> None:
        self.callback = callback
        self.args = args
        self.context = context
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True

    def cancelled(self) -> bool:
        return self.is_cancelled

    def get_context(self) -> Context:
        return self.context


class ReplayLoop(asyncio.AbstractEventLoop):
    """The loop of one run. Its time is the replayer's, in seconds since 1970."""

    def __init__(self, keeper: TimerKeeper, seed: bytes) -> None:
        self.dead = False
        self.tasks: set[asyncio.Task[Any]] = set()
        self.progress = 0  # counts tasks begun and ended, and whatever the replayer notes
        self._keeper = keeper
        self._ready: deque[_Handle] = deque()
        # Low bits count births, so a small set iterates in their order; high bits tell runs
        # apart, since asyncio keeps the tasks of all loops of a process in one weak set.
        self._births = int.from_bytes(seed[:4], "big") << 24

    def next_birth(self) -> int:
        self._births += 1
        return self._births

    # Driving

    def run_until_idle(self) -> None:
        """Run until every coroutine waits for something that only an event can bring."""
        ready, pop = self._ready, self._ready.popleft
        seen, callbacks = self.progress, 0
        outer, hooks = self._enter()
        try:
            while ready:
                handle = pop()
                if not handle.is_cancelled:
                    try:  # noqa: SIM105 - `suppress` costs a call per callback
                        handle.context.run(handle.callback, *handle.args)
                    except (SystemExit, KeyboardInterrupt):
                        pass  # a task's: it has ended with it, and gives it to who awaits it
                callbacks += 1
                if callbacks > CALLBACKS_MAX:
                    if seen == self.progress:
                        raise NoProgress
                    seen, callbacks = self.progress, 0
        finally:
            _set_running_loop(outer)
            sys.set_asyncgen_hooks(*hooks)

    def _enter(self) -> tuple[asyncio.AbstractEventLoop | None, Any]:
        """Become the running loop; returns what to put back. Python 3.14 keeps the current
        task by thread, and there more must step aside: ``shims`` refuses it so far."""
        before = _get_running_loop(), sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(None, self.finalize_generator)
        _set_running_loop(self)
        return before

    def fire(self, handle: asyncio.TimerHandle) -> None:
        timer: Any = handle  # its parts are private to asyncio
        self._ready.append(_Handle(timer._callback, timer._args, timer._context))

    def close(self) -> None:
        """Throw the run's coroutines away. They see ``GeneratorExit``, not a cancellation:
        the run is not over, it only leaves this process's memory."""
        self.dead = True
        self._ready.clear()
        outer, hooks = self._enter()
        try:
            for task in sorted(self.tasks, key=hash):
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                _unwind(task.get_coro())
        finally:
            _set_running_loop(outer)
            sys.set_asyncgen_hooks(*hooks)
        self.tasks.clear()

    # What asyncio asks of a loop

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> _Handle:
        handle = _Handle(callback, args, copy_context() if context is None else context)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + max(0.0, delay), callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._keeper.timer_asked(handle)
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self._keeper.timer_dropped(handle)

    def time(self) -> float:
        return self._keeper.now.timestamp()

    def create_future(self) -> asyncio.Future[Any]:
        return OrderedFuture(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, T], **kwargs: Any
    ) -> asyncio.Task[T]:
        kwargs.pop("eager_start", None)  # order must not depend on the version of Python
        if isinstance(coro, asyncio.Future):
            coro = _awaiting(coro)
        task: OrderedTask[T] = OrderedTask(coro, loop=self, **kwargs)
        # asyncio itself holds tasks weakly; without this one could vanish in mid-run.
        self.tasks.add(task)
        task.add_done_callback(self._task_done)
        self.progress += 1
        return task

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        self.progress += 1

    def finalize_generator(self, generator: AsyncGenerator[Any, Any]) -> None:
        """An async generator was dropped half way: close it here, where order is kept.
        One that the collector finds later, outside of a turn, is left alone."""
        if _get_running_loop() is self and not self.dead:
            self.create_task(generator.aclose())

    def is_running(self) -> bool:
        return not self.dead

    def is_closed(self) -> bool:
        return self.dead

    def get_debug(self) -> bool:
        return False

    def get_task_factory(self) -> None:
        return None

    def get_exception_handler(self) -> None:
        return None

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """asyncio reports what nobody awaited; the run's own outcome is not touched."""

    default_exception_handler = call_exception_handler

    # What a workflow must not do

    def call_soon_threadsafe(self, *_: Any, **__: Any) -> NoReturn:  # type: ignore[override]
        _refuse("Another thread called into a workflow", "do the work in an activity")

    def run_in_executor(self, *_: Any, **__: Any) -> NoReturn:  # type: ignore[override]
        _refuse("A workflow tried to use a thread", "make that function a (plain) @activity")


# The methods by which asyncio's own loops reach the world: refused with advice.
_OUTWARD = (
    "add_reader",
    "add_signal_handler",
    "add_writer",
    "connect_accepted_socket",
    "connect_read_pipe",
    "connect_write_pipe",
    "create_connection",
    "create_datagram_endpoint",
    "create_server",
    "create_unix_connection",
    "create_unix_server",
    "getaddrinfo",
    "getnameinfo",
    "remove_reader",
    "remove_signal_handler",
    "remove_writer",
    "run_forever",
    "run_until_complete",
    "sendfile",
    "sock_accept",
    "sock_connect",
    "sock_recv",
    "sock_recv_into",
    "sock_recvfrom",
    "sock_sendall",
    "sock_sendfile",
    "sock_sendto",
    "start_tls",
    "subprocess_exec",
    "subprocess_shell",
)


def _refusing(name: str) -> Callable[..., NoReturn]:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        _refuse(f"A workflow tried to do I/O ({name})", "do it in an activity")

    return refuse


def _refuse(what: str, advice: str) -> NoReturn:
    raise NotInWorkflow(
        f"{what}. Workflow code is run again after each crash and must only compute and "
        f"await `ctx`: {advice}, and call it by `await ctx.activity(...)`."
    )


for _name in _OUTWARD:
    setattr(ReplayLoop, _name, _refusing(_name))


def running_loop() -> ReplayLoop | None:
    """The loop of the workflow whose code is running now in this thread, if one is."""
    loop = _get_running_loop()
    return loop if type(loop) is ReplayLoop else None


async def _awaiting(future: asyncio.Future[T]) -> T:
    return await future


# A coroutine that awaits in its `finally` while it is thrown away yields instead of ending;
# it is asked again this often, then left to the collector.
_UNWIND_TRIES = 8


def _unwind(coro: Any) -> None:
    for _ in range(_UNWIND_TRIES):
        try:
            coro.close()
        except RuntimeError:
            continue  # it awaited again inside a `finally`
        except BaseException:  # noqa: BLE001
            return  # user clean-up code raised; nobody is left to tell
        else:
            return
