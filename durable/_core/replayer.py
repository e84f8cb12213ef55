"""The replayer: a workflow function and its journal in, commands out.

There is one door, ``feed``. The runtime feeds it the journal from the first event to the
last, then each new event as it arrives; old and new take the same path, so there is no
replay mode to get wrong. Each call is one turn: the event moves the code, the code runs
until every coroutine waits, and what it asked for meanwhile is returned. What is still
unanswered stands in ``open``; after a replay the runtime takes up exactly that, and drops
the commands of turns that were already written.

    journal --feed--> Replayer --commands--> runtime --feed(answers)--> Replayer

No method here waits, reads a clock, draws a random number or does I/O.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, TypeVar

from .. import errors
from . import anyio_shims, commands, divergence, events, shims
from .causes import latest, position_of
from .children import Children, Ending, continued
from .forgotten import OVER, UNASKED, Nobody, gone, told
from .loop import NO_TURN, NoProgress, ReplayLoop, Timer
from .mailbox import Mailbox, Receipt
from .operation import Operation
from .patches import Patches
from .refusals import OUTSIDE
from .sites import call_site
from .updates import Updates

assert anyio_shims and shims  # imported for what they do

OperationT = TypeVar("OperationT", bound=Operation[Any])


class Replayer:
    """One run of one workflow, rebuilt from its journal. ``code`` makes its coroutine, in the turn
    of ``Started``; all chance that this sees comes from ``seed`` (16 bytes), the run's."""

    def __init__(self, code: Callable[[], Coroutine[Any, Any, Any]], seed: bytes) -> None:
        self.seed = seed
        self.now = commands.EPOCH
        self.open: dict[int, commands.Open] = {}
        self.next_op, self.events = 1, 0  # events: the journal's length, as far as it was fed
        self.closed = self.has_children = False
        self._code = code
        # Abstract only in the stubs: what is missing is refused, or raises NotImplementedError.
        self._loop = ReplayLoop(self, seed)  # type: ignore[abstract]
        self._asked: list[commands.Command] = []
        self._shown_in, self._shown = self._asked, 0  # in a turn, of what size
        self._waiting: dict[int, Any] = {}  # the operation or the timer that an answer resolves
        self.unfit: Exception | None = None  # why no code here can go on
        self._main: asyncio.Task[None] | None = None
        self._outcome: commands.Close | None = None
        self._stop: commands.Stop | None = None  # as first asked to cancel
        self._winding_up = False
        # Failures handed to the code, to find the one that a run failed with.
        self._failures: tuple[tuple[BaseException, int], ...] = ()
        # The latest that failed; at the end it is told at which of them nobody has looked.
        self._failed: tuple[asyncio.Future[Any], ...] = ()

    # Made for the few runs that need them.
    mailbox = cached_property(Mailbox)
    updates = cached_property(Updates)
    children = cached_property(Children)
    patches = cached_property(Patches)

    # The door

    def feed(self, event: events.Event) -> list[commands.Command]:
        """Take one event, run the workflow until it can go no further without news, and
        return what it asked for in this turn, in order.

        Raises:
            Divergence: the code does not ask for what the event answers. This replayer is of
                no more use; the journal is.
            Exception: a message cannot be read by the type that the code receives it with.
        """
        loop = self._loop
        loop.in_turn, loop.ready = True, deque()  # what is fed may touch it before the code runs
        # Tests of types, the usual ones first: a pattern match would take the tuples apart.
        if isinstance(event, events.Answered):
            operation = self._answer(event)
            self.now = event.at
            operation.set_result(event.value)
        elif isinstance(event, events.TimerFired):
            timer = self._fire(event)
            self.now = event.at
            loop.fire(timer)
        elif isinstance(event, events.Failed):
            operation = self._answer(event)
            self.now = event.at
            self.note_failure(operation, event.error, event.position)
        elif isinstance(event, events.Voided):
            self.next_op = max(self.next_op, event.next_op)
            loop.in_turn, loop.ready = False, NO_TURN
            return []
        else:
            is_start = isinstance(event, events.Started)
            divergence.check_begun(event.position, begun=self._main is not None, starts=is_start)
            self.now = event.at
            self._take_news(event)
        return self._run_turn(event.position)

    def _take_news(self, event: events.News) -> None:
        match event:
            case events.Received():
                self._received(self.mailbox.put(event.position, event.name, event.value))
            case events.Asked():
                self.updates.put(event)
            case events.Refused():
                self.children.refuse(event)
            case events.Started():
                self._main = self._begin()
            case events.CancelRequested():
                self._stop = self._stop or commands.Stop(event.reason)
                assert self._main is not None
                self._main.cancel()

    def close(self) -> None:
        """Forget the run. Its journal holds all that is needed to build it again."""
        self._loop.discard()
        self._asked.clear()
        # What refers to itself waits for the garbage collector, and there are many runs.
        self._loop.keeper = Nobody(self.now, over=self.closed)
        self._code = gone
        self._main = None

    # What workflow code asks for

    def ask(
        self, kind: str, name: str, digest: bytes, call: Any, *, depth: int = 1
    ) -> Operation[Any]:
        """Ask for an activity or a transaction; the answer resolves what is returned. The line
        that asks is looked for from ``depth`` frames up."""
        op, loop = self._take_op(), self._loop
        operation: Operation[Any] = Operation(loop=loop)
        operation.op = op
        if not loop.dead:
            command = commands.Run(op, kind, name, digest, call_site(depth + 1), call)
            operation.asked = self.open[op] = command
            self._waiting[op] = operation
            self._asked.append(command)
            loop.progress += 1
        return operation

    def ask_sleep(self, due: datetime) -> Operation[None]:
        """Ask for a timer that is due at a given time, which may be over already."""
        operation: Operation[None] = Operation(loop=self._loop)
        timer = self._loop.call_at(max(due, self.now).timestamp(), _wake, operation)
        operation.op = timer.op
        return operation

    def ask_receive(self, name: str, read: Callable[[Any], Any]) -> Receipt[Any]:
        """Ask for the next message of a name. ``read`` makes of its value what the code gets; if it
        raises, no code here can go on, and ``feed`` raises that."""
        receipt: Receipt[Any] = Receipt(loop=self._loop)
        receipt.op, receipt.name, receipt.read = self._take_op(), name, read
        receipt.is_taken = False
        receipt.give_back = self._give_letter_back
        if not self._loop.dead:
            command = commands.Receive(receipt.op, name, call_site(2))
            self.open[receipt.op] = command
            self._ask(command)
            self._received(self.mailbox.wait(receipt))
        return receipt

    def send(self, to: str, kind: str, name: str, digest: bytes, payload: Any) -> None:
        """Send a message to another run, with this turn."""
        op = self._take_op()
        if not self._loop.dead:
            self._ask(commands.Send(op, to, kind, name, digest, call_site(2), payload))

    def ask_promise(
        self, kind: type[OperationT], name: str, expected: Any, *, depth: int = 1
    ) -> OperationT:
        """Ask for an answer from outside, as an operation of that ``kind``."""
        op = self._take_op()
        operation = kind(loop=self._loop)
        operation.op = op
        if not self._loop.dead:
            command = operation.asked = commands.Promise(op, name, call_site(depth + 1), expected)
            self.open[op] = command
            self._waiting[op] = operation
            self._ask(command)
        return operation

    def publish(self, kind: str, name: str, value: Any, *, size: int, size_max: int) -> bool:
        """Show a value to the world. False, and nothing is shown, if what this turn shows would
        be larger than ``size_max`` with it."""
        op = self._take_op()
        if self._loop.dead:
            return True
        if self._shown_in is not self._asked:  # another turn has begun
            self._shown_in, self._shown = self._asked, 0
        self._shown += size
        if self._shown <= size_max:
            self._asked.append(commands.Publish(op, kind, name, call_site(2), value))
        return self._shown <= size_max

    def reply(self, asked: events.Asked, kind: str, digest: bytes, payload: Any) -> None:
        """Answer an update, with this turn."""
        op = self._take_op()
        if not self._loop.dead:
            self._ask(commands.Reply(op, asked.seq, kind, asked.name, digest, "?", payload))

    def _ask(self, command: commands.Command) -> None:
        self._asked.append(command)
        self._loop.progress += 1

    def say(self, level: int, message: str, args: tuple[Any, ...], more: Any = None) -> None:
        self.check_turn()
        self._asked.append(commands.Say(level, message, args, more or {}))

    def timer_asked(self, timer: Timer) -> None:
        op = self._take_op()
        if self._loop.dead:
            return
        due = commands.EPOCH + timedelta(microseconds=round(timer.due * 1_000_000))
        command = commands.Wait(op, due, call_site())
        timer.op = op
        self.open[op] = command
        self._waiting[op] = timer
        self._ask(command)

    def timer_dropped(self, timer: Timer) -> None:
        if not self._loop.in_turn:
            self.check_turn()
        op, timer.op = timer.op, 0
        if not self._loop.dead:
            del self._waiting[op], self.open[op]
            self._asked.append(commands.Drop(op))

    def callback_raised(self, error: BaseException) -> None:
        self._asked.append(commands.Say(40, "a callback of the event loop raised %r", (error,), {}))

    def task_failed(self, task: asyncio.Task[Any]) -> None:
        self._failed = latest(self._failed, task)

    def note_failure(self, operation: Operation[Any], error: BaseException, position: int) -> None:
        self._failures = latest(self._failures, (error, position))
        operation.set_exception(error)
        self._failed = latest(self._failed, operation)

    def check_turn(self) -> None:
        """Raises:
        InvalidCall: the workflow's code is not running now; whoever asks is somebody else."""
        if self.closed:
            raise errors.InvalidCall(OVER)
        if not self._loop.in_turn and not self._loop.dead:
            raise errors.InvalidCall(OUTSIDE)

    @property
    def is_ending(self) -> bool:
        """The function has ended; what it left running is cancelled."""
        return self._winding_up

    def set_unfit(self, error: Exception) -> None:
        """A recorded value cannot be read: the run can go no further with this code."""
        self.unfit = self.unfit or error

    def taken_back(self, operation: Operation[Any]) -> None:
        """It was cancelled: nobody waits for its answer any more."""
        asked = self.open.get(operation.op)
        if asked is None or self._loop.dead:
            return
        if isinstance(asked, commands.Wait):
            self._waiting[asked.op].cancel()
            return
        del self.open[operation.op]
        if isinstance(operation, Receipt):
            self.mailbox.take_back(operation)
        else:
            del self._waiting[operation.op]
        self._asked.append(commands.Drop(operation.op))

    def _received(self, receipt: Receipt[Any] | None) -> None:
        """A receipt was answered: nobody waits for it any more."""
        if receipt is not None:
            self.open.pop(receipt.op, None)
            self._loop.progress += 1

    def _give_letter_back(self, receipt: Receipt[Any]) -> None:
        if not self._loop.dead:
            self._received(self.mailbox.give_back(receipt))

    def _take_op(self) -> int:
        if self.closed or not self._loop.in_turn:
            self.check_turn()
        op = self.next_op
        self.next_op = op + 1
        return op

    # What the outside answers

    def _answer(self, event: events.Answered | events.Failed) -> Operation[Any]:
        asked = self.open.pop(event.op, None)
        divergence.check_answer(event, asked, over=self._outcome if self.closed else None)
        return self._waiting.pop(event.op)  # type: ignore[no-any-return]

    def _fire(self, event: events.TimerFired) -> Timer:
        asked = self.open.pop(event.op, None)
        divergence.check_timer(event, asked, over=self._outcome if self.closed else None)
        return self._waiting.pop(event.op)  # type: ignore[no-any-return]

    # One turn

    def _begin(self) -> asyncio.Task[None]:
        # An empty context: what the host had set would differ from one replay to the next.
        return self._loop.create_task(self._run_code(), context=contextvars.Context())

    async def _run_code(self) -> None:
        try:
            running, self._code = self._code(), gone  # which holds the arguments: once will do
            self._outcome = commands.Complete(await running)
        except asyncio.CancelledError as error:
            self._outcome = self._stop or self._fail(error)
        except BaseException as error:
            if isinstance(error, errors.Evicted | GeneratorExit) and self._loop.dead:
                raise  # the run is not over
            self._outcome = continued(error) or self._fail(error)

    def _run_turn(self, position: int) -> list[commands.Command]:
        assert self._main is not None
        self.events = position + 1
        try:
            self._loop.run_until_idle()
            if self._outcome is not None and not self.closed:
                self._wind_up()
        except NoProgress as error:
            raise divergence.no_progress(position) from error
        finally:
            self._loop.in_turn, self._loop.ready = False, NO_TURN
        if self.unfit is not None:
            raise self.unfit
        asked, self._asked = self._asked, []
        return asked

    def _wind_up(self) -> None:
        """The function has ended: cancel what it left running, as ``asyncio.run`` does, and
        close the run when all of it has ended too."""
        if self._loop.tasks and not self._winding_up:
            self._winding_up = True
            for task in sorted(self._loop.tasks, key=hash):
                task.cancel()
            self._loop.run_until_idle()
        if self._loop.tasks:
            return  # they await something durable in their clean-up
        for op in list(self.open):
            self._forget(op)
        for future in self._failed:
            if future._log_traceback:
                future._log_traceback = False
                self.say(30, "%s failed (%r), and nobody looked. Await it, or take its "
                         "`.exception()`.", (told(future), future.exception()))  # fmt: skip
        assert self._outcome is not None
        if isinstance(self._outcome, commands.Continue):
            unread = self.mailbox.unread() + self.updates.unread()
            self._outcome = self._outcome._replace(unread=tuple(unread))
        elif "mailbox" in self.__dict__:
            for name in self.mailbox.unasked():
                self.say(30, UNASKED, (name,))
        self._asked.append(self._outcome)
        self.closed = True

    def _forget(self, op: int) -> None:
        command = self.open[op]
        if isinstance(command, commands.Receive):
            del self.open[op]  # whoever waits for it is gone with its task
            return
        if not isinstance(command, commands.Wait):
            operation = self._waiting[op]
            if isinstance(operation, Ending):  # what becomes of the child is its own affair
                del self.open[op], self._waiting[op]
                if not operation.give_up() or operation.is_kept:
                    return
            self.say(30, "%s was still pending when the workflow returned, and is cancelled. "
                     "Await it, or cancel it yourself.", (told(operation),))  # fmt: skip
            operation.cancel()
            return
        timer: Timer = self._waiting[op]
        if timer.callback is _wake and not timer.args[0].was_used:
            self.say(30, "a sleep asked for at %s was never awaited: write `await ctx.sleep(...)`.",
                     (command.site,))  # fmt: skip
        timer.cancel()

    def _fail(self, error: BaseException) -> commands.Fail:
        return commands.Fail(error, position_of(error, self._failures))


def _wake(operation: Operation[None]) -> None:
    if not operation.done():
        operation.set_result(None)
