"""Tells the core a story, line by line: what arrives, and what the workflow then asks.

The core alone: values stay objects, nothing is encoded, and time is what the story says.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from durable._core import commands, events
from durable._core.children import Continued, Ending
from durable._core.mailbox import Receipt
from durable._core.operation import Operation
from durable._core.replayer import Replayer
from durable._core.updates import Handler

START = datetime(2026, 1, 1, tzinfo=UTC)
SEED = bytes(range(16))


class Ctx:
    """Just enough of a context to ask for things."""

    def __init__(self, replayer: Replayer) -> None:
        self.replayer = replayer

    def activity(self, name: str, *args: object) -> Operation[Any]:
        return self.replayer.ask("activity", name, repr(args).encode(), args)

    def sleep(self, seconds: float) -> Operation[None]:
        return self.replayer.ask_sleep(self.replayer.now + timedelta(seconds=seconds))

    def receive(self, name: str, read: Callable[[Any], Any] = lambda value: value) -> Receipt[Any]:
        return self.replayer.ask_receive(name, read)

    def child(self, name: str, *args: object, id: str = "", kept: bool = False) -> Ending[Any]:
        digest = repr(args).encode()
        return self.replayer.children.spawn(name, id, digest, args, 1, is_kept=kept)

    def patched(self, id: str) -> bool:
        return self.replayer.patches.ask(id)

    def retire_patch(self, id: str) -> None:
        self.replayer.patches.retire(id)

    def continue_as_new(self, *args: object) -> NoReturn:
        raise Continued(args)

    def send(self, to: str, name: str, value: object) -> None:
        self.replayer.send(to, "signal", name, repr(value).encode(), value)

    def publish(self, name: str, value: object, *, size: int = 1) -> bool:
        return self.replayer.publish("stream", name, value, size=size, size_max=10)

    def promise(self, name: str) -> Operation[Any]:
        return self.replayer.ask_promise(Operation[Any], name, Any)

    def on(
        self,
        name: str,
        run: Callable[[Any], Awaitable[Any]],
        check: Callable[[Any], None] = lambda _: None,
        read: Callable[[Any], Any] = lambda value: value,
    ) -> None:
        async def answer(argument: Any) -> tuple[bytes, Any]:
            value = await run(argument)
            return repr(value).encode(), value

        self.replayer.updates.on(name, Handler(read, check, answer, repr))


Code = Callable[[Ctx], Awaitable[Any]]


@dataclass(frozen=True)
class Turn:
    """One fed event and what the code asked for, in a form that compares."""

    event: events.Event
    asked: tuple[str, ...]

    @property
    def patches(self) -> list[str]:
        """What its row carries."""
        return [each.removeprefix("patched ") for each in self.asked if each.startswith("patched ")]


class Story:
    def __init__(self, code: Code) -> None:
        self.code = code
        self.journal: list[Turn] = []
        self.now = START
        self.replayer = fresh(code)
        self.feed(events.Started(0, self.now))

    def goes_on_with(self, code: Code) -> None:
        """Other code takes the run over, and is fed what is recorded.

        Raises:
            Divergence: it does not fit.
        """
        self.code, self.replayer = code, fresh(code)
        for turn in self.journal:
            again(self.replayer, turn)

    def feed(self, event: events.Event) -> tuple[str, ...]:
        asked = tuple(told(each) for each in self.replayer.feed(event))
        self.journal.append(Turn(event, asked))
        return asked

    # What arrives

    def returns(self, name: str, value: object = None, *, after: float = 0) -> tuple[str, ...]:
        command = self.open_run(name)
        self.now += timedelta(seconds=after)
        return self.feed(
            events.Answered(
                self.position, self.now, command.op, "activity", name, command.digest, value
            )
        )

    def fails(self, name: str, error: BaseException) -> tuple[str, ...]:
        command = self.open_run(name)
        return self.feed(
            events.Failed(
                self.position, self.now, command.op, "activity", name, command.digest, error
            )
        )

    def is_answered(self, name: str, value: object) -> tuple[str, ...]:
        """A promise, by somebody outside; an exception rejects it."""
        (op,) = (each.op for each in self.replayer.open.values()
                 if isinstance(each, commands.Promise) and each.name == name)  # fmt: skip
        told = self.position, self.now, op, "promise", name, b""
        if isinstance(value, BaseException):
            return self.feed(events.Failed(*told, value))
        return self.feed(events.Answered(*told, value))

    def time_comes(self) -> tuple[str, ...]:
        """The earliest timer fires."""
        timer = min(
            (each for each in self.replayer.open.values() if isinstance(each, commands.Wait)),
            key=lambda each: each.due,
        )
        self.now = max(self.now, timer.due)
        return self.feed(events.TimerFired(self.position, self.now, timer.op, timer.digest))

    def gets(self, name: str, value: object = None) -> tuple[str, ...]:
        """A signal comes."""
        return self.feed(events.Received(self.position, self.now, "signal", name, value))

    def is_asked(self, name: str, value: object = None) -> tuple[str, ...]:
        """An update comes."""
        event = events.Asked(self.position, self.now, self.position, name, value, None)
        return self.feed(event)

    def is_cancelled(self) -> tuple[str, ...]:
        return self.feed(events.CancelRequested(self.position, self.now))

    # What is asked

    @property
    def position(self) -> int:
        return len(self.journal)

    @property
    def last(self) -> tuple[str, ...]:
        return self.journal[-1].asked

    def child_ends(self, name: str, outcome: object = None) -> tuple[str, ...]:
        """A child completes, or fails if ``outcome`` is an error."""
        for each in self.replayer.open.values():
            if isinstance(each, commands.Spawn) and each.name == name:
                break
        else:
            raise AssertionError(f"no child {name} is open: {self.replayer.open}")
        facts = self.position, self.now, each.op, "child", name, each.digest
        if isinstance(outcome, BaseException):
            return self.feed(events.Failed(*facts, outcome))
        return self.feed(events.Answered(*facts, outcome))

    def is_refused(self, op: int, error: BaseException) -> tuple[str, ...]:
        return self.feed(events.Refused(self.position, self.now, op, "refused", error))

    def open_run(self, name: str) -> commands.Run:
        for each in self.replayer.open.values():
            if isinstance(each, commands.Run) and each.name == name:
                return each
        raise AssertionError(f"{name} is not asked for; open: {self.replayer.open}")

    # The two laws of replay

    def replays(self) -> None:
        """A whole journal, and every prefix of it, replays to exactly what came next."""
        for length in range(1, len(self.journal) + 1):
            replayer = fresh(self.code)
            for turn in self.journal[:length]:
                asked = again(replayer, turn)
                assert asked == turn.asked, f"replay of {length} events differs at {turn.event}"


def again(replayer: Replayer, turn: Turn) -> tuple[str, ...]:
    """A recorded turn, as the runtime feeds it."""
    replayer.patches.recorded = turn.patches
    asked = tuple(told(each) for each in replayer.feed(turn.event))
    replayer.patches.recorded = None
    replayer.patches.check(turn.event.position, turn.patches)
    return asked


def fresh(code: Code) -> Replayer:
    async def run() -> Any:
        return await code(ctx)

    replayer = Replayer(run, SEED)
    ctx = Ctx(replayer)
    _made.append(replayer)
    return replayer


_made: list[Replayer] = []


def close_all() -> None:
    """Put away what the stories of one test left waiting, as the runtime would."""
    while _made:
        _made.pop().close()


def told(command: commands.Command) -> str:
    """A command as one line."""
    match command:
        case commands.Run(op, kind, name, _, _, call):
            return f"#{op} {kind} {name}{call}"
        case commands.Wait(op, due):
            return f"#{op} wait {(due - START).total_seconds():g}"
        case commands.Receive(op, name):
            return f"#{op} receive {name}"
        case commands.Promise(op, name):
            return f"#{op} promise {name}"
        case commands.Publish(op, kind, name, _, value):
            return f"#{op} publish {kind} {name} {value!r}"
        case commands.Send(op, to, kind, name, _, _, payload):
            return f"#{op} send {kind} {name} {payload!r} to {to}"
        case commands.Spawn(op, kind, name, to, _, _, call):
            return f"#{op} {kind} {name} {call!r}" + (f" as {to}" if to else "")
        case commands.Continue(call, unread):
            return f"continue {call!r} with {list(unread)}"
        case commands.Reply(op, seq, kind, name, _, _, payload):
            return f"#{op} {kind} {name} {payload!r} to {seq}"
        case commands.Drop(op):
            return f"#{op} drop"
        case commands.Patched(id):
            return f"patched {id}"
        case commands.Say(_, message, args):
            return f"say {message % args}"
        case commands.Complete(value):
            return f"complete {value!r}"
        case commands.Fail(error, failed_at):
            return f"fail {type(error).__name__} at {failed_at}"
        case commands.Stop():
            return "stop"
