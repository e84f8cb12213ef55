"""A supervisor and its processes, which are real and do nothing: which begin and end, what is said.

With workers: ``tests/end_to_end/test_processes.py``.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import pty
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from durable.cli.supervisor import WORKS, Restarts, Supervisor

ROOT = Path(__file__).resolve().parent.parent

# What a process does, by name. Each ends with its line to the supervisor: that is closed when the
# test fails.
PLAYS = {
    "works": "line.send(WORKS); line.recv(1)",
    "stubborn": "signal.signal(signal.SIGTERM, signal.SIG_IGN); line.send(WORKS); line.recv(1)",
    "ends": "line.send(WORKS); sys.exit(7)",
    "begins never": "sys.exit(3)",
    "is killed": "os.kill(os.getpid(), signal.SIGKILL)",
}
QUICK = Restarts(first=0.001, most=0.01, tries=3, steady=60.0)


class Stage:
    """Hands out the command of each process: the plays in this order, the last for ever."""

    def __init__(self, *plays: str) -> None:
        self.plays = itertools.chain(plays, itertools.repeat(plays[-1]))
        self.begun: list[str] = []  # the builds
        self.builds = (f"build {n}" for n in itertools.count())

    def command(self, end: int, build: str) -> list[str]:
        self.begun.append(build)
        says = f"import os, signal, socket, sys; WORKS = {WORKS!r}; "
        says += f"line = socket.socket(fileno={end}); {PLAYS[next(self.plays)]}"
        return [sys.executable, "-I", "-S", "-c", says]

    def supervisor(self, processes: int, *, patience: float = 30.0) -> Supervisor:
        return Supervisor(
            self.command,
            processes,
            patience=patience,
            new_build=lambda: next(self.builds),
            restarts=QUICK,
        )


@pytest.fixture(autouse=True)
def signals_stay() -> Iterator[None]:
    numbers = signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD
    before = [signal.getsignal(each) for each in numbers]
    yield
    assert [signal.getsignal(each) for each in numbers] == before


@asynccontextmanager
async def running(supervisor: Supervisor) -> AsyncIterator[asyncio.Task[int]]:
    hang_up = signal.getsignal(signal.SIGHUP)
    task = asyncio.create_task(supervisor.run())
    try:
        yield task
    finally:
        for each in supervisor._children:
            each.tell(signal.SIGKILL)
        if not task.done():
            supervisor._stop(signal.SIGTERM)
            await task
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            loop.remove_signal_handler(number)
        signal.signal(signal.SIGHUP, hang_up)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.002)


def working(supervisor: Supervisor) -> set[int]:
    return {each.pid for each in supervisor._children if each._works.done()}


def to_me(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_all_of_them(number: signal.Signals) -> None:
    supervisor = Stage("works").supervisor(3)
    async with running(supervisor) as ended:
        await until(lambda: len(working(supervisor)) == 3)
        to_me(number)
        assert await ended == 0
    assert not supervisor._children


async def test_one_that_is_killed_is_replaced_and_the_others_stay(
    caplog: pytest.LogCaptureFixture,
) -> None:
    supervisor = Stage("works").supervisor(2)
    async with running(supervisor):
        await until(lambda: len(working(supervisor)) == 2)
        victim, other = working(supervisor)
        os.kill(victim, signal.SIGKILL)
        await until(lambda: len(working(supervisor) - {victim}) == 2)
        assert other in working(supervisor)
    assert f"pid {victim}) was ended by SIGKILL; another begins in" in caplog.text


async def test_a_crash_loop_is_said_and_ends(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage("ends")
    async with running(stage.supervisor(2)) as ended:
        assert await ended == 1
    assert "ended with code 7" in caplog.text
    assert "giving up: each process has ended by itself 3 times in succession" in caplog.text
    assert len(stage.begun) >= 2 * QUICK.tries


async def test_a_crash_loop_of_one_ends_nothing_while_another_has_worked_for_long() -> None:
    stage = Stage("works", "ends")
    supervisor = stage.supervisor(2)
    async with running(supervisor) as ended:
        await until(lambda: len(working(supervisor)) >= 1)
        steady = next(each for each in supervisor._children if each._works.done())
        steady._since -= QUICK.steady
        await until(lambda: len(stage.begun) > 3 * QUICK.tries)
        assert not ended.done()
        assert steady.pid in working(supervisor)


async def test_who_has_worked_for_long_begins_to_count_anew() -> None:
    stage = Stage("works")
    supervisor = stage.supervisor(1)
    async with running(supervisor) as ended:
        known: set[int] = set()
        for _ in range(2 * QUICK.tries):
            await until(lambda: working(supervisor) - known)
            [child] = supervisor._children
            known.add(child.pid)
            child._since -= QUICK.steady
            child.tell(signal.SIGKILL)
        assert not ended.done()


@pytest.mark.parametrize(("play", "code"), [("begins never", 3), ("is killed", 1)])
async def test_what_keeps_the_first_from_working_is_told_once(play: str, code: int) -> None:
    stage = Stage(play)
    async with running(stage.supervisor(4)) as ended:
        assert await ended == code
    assert len(stage.begun) == 1


async def test_hang_up_replaces_them_one_by_one() -> None:
    stage = Stage("works")
    supervisor = stage.supervisor(2)
    async with running(supervisor) as ended:
        await until(lambda: len(working(supervisor)) == 2)
        old = working(supervisor)
        to_me(signal.SIGHUP)
        fewest = 2

        def replaced() -> bool:
            nonlocal fewest
            fewest = min(fewest, len(working(supervisor)))
            return len(working(supervisor) - old) == 2 and not working(supervisor) & old

        await until(replaced)
        assert fewest == 2
        assert stage.begun == ["build 0"] * 2 + ["build 1"] * 2
        to_me(signal.SIGTERM)
        assert await ended == 0


async def test_what_nohup_has_begun_outlives_its_terminal_and_is_replaced_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("durable.cli.supervisor.has_terminal", lambda: False)
    was = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        supervisor = Stage("works").supervisor(1)
        supervisor._had_terminal = True  # it was closed
        async with running(supervisor) as ended:
            await until(lambda: len(working(supervisor)) == 1)
            old = working(supervisor)
            supervisor._hang_up()
            assert not supervisor._is_stopping
            assert not supervisor._replace.is_set()
            to_me(signal.SIGHUP)
            await until(lambda: len(working(supervisor) - old) == 1)
            assert not ended.done()
    finally:
        signal.signal(signal.SIGHUP, was)


async def test_new_code_that_does_not_begin_replaces_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    supervisor = Stage("works", "works", "begins never", "works").supervisor(2)
    async with running(supervisor):
        await until(lambda: len(working(supervisor)) == 2)
        old = working(supervisor)
        to_me(signal.SIGHUP)
        await until(lambda: "ended with code 3; the old ones that are left stay" in caplog.text)
        assert working(supervisor) == old
        to_me(signal.SIGHUP)
        await until(lambda: not working(supervisor) & old and len(working(supervisor)) == 2)


async def test_one_that_does_not_leave_is_killed(caplog: pytest.LogCaptureFixture) -> None:
    supervisor = Stage("stubborn").supervisor(1, patience=0.01)
    async with running(supervisor) as ended:
        await until(lambda: len(working(supervisor)) == 1)
        to_me(signal.SIGTERM)
        assert await ended == 1
    assert "has not left within 0 s: it is killed" in caplog.text


async def test_a_second_signal_ends_all_at_once() -> None:
    supervisor = Stage("stubborn").supervisor(2)
    async with running(supervisor) as ended:
        await until(lambda: len(working(supervisor)) == 2)
        to_me(signal.SIGINT)
        await until(lambda: supervisor._is_stopping)
        to_me(signal.SIGINT)
        assert await ended == 130


AT_A_TERMINAL = """
import asyncio, fcntl, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever has begun the tests may ignore it
from tests.test_supervisor import Stage, until, working
supervisor = Stage("works").supervisor(1)
async def main():
    running = asyncio.ensure_future(supervisor.run())
    await until(lambda: working(supervisor))
    print("works", flush=True)
    return await running
sys.exit(asyncio.run(main()))
"""


def test_a_terminal_that_is_closed_asks_for_no_new_code() -> None:
    ours, theirs = pty.openpty()
    program = subprocess.Popen(
        [sys.executable, "-c", AT_A_TERMINAL],
        cwd=ROOT,
        stdin=theirs,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    os.close(theirs)
    with program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"works\n"
        os.close(ours)
        assert program.wait(30) == 0
