"""Records random programs, and replays what was recorded."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from durable import Context
from durable._codec.values import encode
from durable._core import commands, events
from durable._core.replayer import Replayer
from durable.errors import Divergence

from . import messages, scopes
from .programs import BRANCHES, KINDS, LEAVES, Mishap, Node, Program, grow

KINDS |= LEAVES | BRANCHES
assert messages and scopes

START = datetime(2026, 1, 1, tzinfo=UTC)
EVENTS_MAX = 80

# Of a hundred answers so many are failures; of a hundred runs so many are cancelled.
FAILURES, CANCELS = 12, 20

# Of a hundred events so many are messages.
MESSAGES = 15


class Fact(NamedTuple):
    """One recorded event, small enough for a line of JSON."""

    kind: str  # "answer", "failure", "timer", "cancel", "signal", "update"
    op: int  # of a message: its value
    micros: int  # since the start


class Recorded(NamedTuple):
    seed: int
    program: Node
    facts: list[Fact]
    trace: list[str]  # of each turn, a digest of what was asked


class Run:
    """A replayer with a random program in it."""

    def __init__(self, seed: int, program: Node) -> None:
        self.replayer = Replayer(self._code, seed.to_bytes(16, "big"))
        self.program = Program(Context(self.replayer, id="fuzz", workflow="fuzz"))
        self._node = program
        self.now = START
        self.position = 0
        self.feed(None)

    async def _code(self) -> Any:
        return await self.program.root(self._node)

    def feed(self, fact: Fact | None) -> None:
        asked = self.replayer.feed(self._event(fact))
        self.position += 1
        told = "\n".join([*map(_told, asked), *self.program.seen[-3:]])
        self.last = hashlib.blake2b(told.encode(), digest_size=6).hexdigest()

    def _event(self, fact: Fact | None) -> events.Event:
        if fact is None:
            return events.Started(0, self.now)
        at = self.now = START + timedelta(microseconds=fact.micros)
        if fact.kind == "cancel":
            return events.CancelRequested(self.position, at)
        if fact.kind == "signal":
            name, value = f"fuzz.{fact.op % 3}", encode(fact.op)
            return events.Received(self.position, at, "signal", name, value)
        if fact.kind == "update":
            name, value = f"fuzz.{fact.op % 3}", encode(fact.op)
            return events.Asked(self.position, at, self.position, name, value, None)
        command = self.replayer.open.get(fact.op)
        digest = getattr(command, "digest", b"")
        if fact.kind == "timer":
            digest = digest if isinstance(command, commands.Wait) else b""
            return events.TimerFired(self.position, at, fact.op, digest)
        kind, name = "activity", "fuzz"
        if isinstance(command, commands.Promise | commands.Spawn):
            kind, name = command.kind, command.name
        told = self.position, at, fact.op, kind, name, digest
        if fact.kind == "answer":
            return events.Answered(*told, f"r{fact.op}")
        return events.Failed(*told, Mishap())


def _told(command: commands.Command) -> str:
    match command:
        case commands.Run(op, kind, name, digest, _, call):
            return f"{op} {kind} {name} {digest.hex()} {call.nth}"
        case commands.Wait(op, due):
            return f"{op} wait {due}"
        case commands.Promise(op, name):
            return f"{op} promise {name}"
        case commands.Spawn(op, kind, name, to, digest, _, call):
            return f"{op} {kind} {name} {to} {digest.hex()} {call.id}"
        case commands.Publish(op, kind, name, _, value):
            return f"{op} publish {kind} {name} {value!r}"
        case commands.Reply(op, seq, kind, name, digest):  # in it stands a traceback, in words
            return f"{op} reply {seq} {kind} {name} {digest.hex()}"
        case commands.Say(level, message, args):
            return f"say {level} {message} {[str(each) for each in args]}"
        case commands.Fail(error, failed_at):
            return f"fail {type(error).__name__} {failed_at}"
        case _:
            return repr(command)


def record(seed: int) -> Recorded:
    """Grow a program and run it, with answers in random order."""
    chance = random.Random(seed)
    program = grow(chance)
    cancelled_at = chance.randrange(12) if chance.randrange(100) < CANCELS else -1
    run = Run(seed, program)
    facts: list[Fact] = []
    trace = [run.last]
    while not run.replayer.closed and len(facts) < EVENTS_MAX:
        fact = _next(chance, run, len(facts) == cancelled_at)
        if fact is None:
            break
        run.feed(fact)
        facts.append(fact)
        trace.append(run.last)
    run.replayer.close()
    return Recorded(seed, program, facts, trace)


def _next(chance: random.Random, run: Run, cancel: bool) -> Fact | None:
    waits = sorted(
        (each.due, op) for op, each in run.replayer.open.items() if isinstance(each, commands.Wait)
    )
    asked = commands.Run | commands.Promise | commands.Spawn
    ops = [op for op, each in run.replayer.open.items() if isinstance(each, asked)]
    now = run.now + timedelta(microseconds=chance.randrange(2_000_000))
    if cancel:
        return Fact("cancel", 0, _micros(now))
    opened = run.replayer.open.values()
    wanted = {each.name for each in opened if isinstance(each, commands.Receive)}
    if chance.randrange(100) < (MESSAGES if ops or waits else 100 * bool(wanted)):
        kind = chance.choice(["signal", "update"]) if ops or waits else "signal"
        numbers = [n for n in range(30) if ops or waits or f"fuzz.{n % 3}" in wanted]
        return Fact(kind, chance.choice(numbers), _micros(now))
    if waits and (not ops or waits[0][0] <= now or chance.random() < 0.3):
        due, op = waits[0]
        return Fact("timer", op, _micros(max(due, run.now)))
    if not ops:
        return None
    kind = "failure" if chance.randrange(100) < FAILURES else "answer"
    return Fact(kind, chance.choice(ops), _micros(now))


def _micros(moment: datetime) -> int:
    return (moment - START) // timedelta(microseconds=1)


def replay(recorded: Recorded) -> str | None:
    """None if replay equals the original; else where it first differs. Then once more,
    thrown away half way, as an eviction does: nothing may be asked by that."""
    seed, program, facts, trace = recorded
    run = Run(seed, program)
    difference = None
    for position, (fact, asked) in enumerate(zip([None, *facts], trace, strict=True)):
        try:
            if fact is not None:
                run.feed(fact)
        except Divergence as error:
            difference = f"seed {seed}: {error}"
            break
        if run.last != asked:
            difference = f"seed {seed}: position {position} of {len(facts)} differs"
            break
    run.replayer.close()
    if difference is None and facts:
        half = Run(seed, program)
        try:
            for fact in facts[: len(facts) // 2]:
                half.feed(fact)
        except Divergence as error:  # by chance, of what hashes by address
            return f"seed {seed}: the second time: {error}"
        before = set(half.replayer.open)
        half.replayer.close()
        if half.replayer.open.keys() - before or half.replayer._asked:
            difference = f"seed {seed}: an eviction asked for something"
    return difference


def write(recorded: Recorded) -> str:
    return json.dumps(recorded)


def read(lines: Iterable[str]) -> Iterator[Recorded]:
    for line in lines:
        seed, program, facts, trace = json.loads(line)
        yield Recorded(seed, program, [Fact(*each) for each in facts], trace)
