"""``examples/first.py`` as a newcomer runs it: killed at any point, and run again."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SLEEP = "20"


class Terminal:
    """A directory with the example in it, and its own embedded Postgres."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.text = (ROOT / "examples" / "first.py").read_text()
        assert f"ctx.sleep({SLEEP})" in self.text
        self.sleeps(8)
        self.env = {k: v for k, v in os.environ.items() if k != "DURABLE_DATABASE_URL"}
        self.env |= {"DURABLE_HOME": str(base / "home"), "PYTHONPATH": str(ROOT)}

    def sleeps(self, seconds: int) -> None:
        text = self.text.replace(f"ctx.sleep({SLEEP})", f"ctx.sleep({seconds})")
        (self.base / "first.py").write_text(text)

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-u", "first.py"],
            cwd=self.base,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Whoever runs the tests in the background of a shell leaves its children deaf to it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def durable(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "durable", *arguments],
            cwd=self.base,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    base = Path(tempfile.mkdtemp(prefix="durable-test-"))
    base.chmod(0o755)
    yield Terminal(base)
    shutil.rmtree(base, ignore_errors=True)


def read_until(process: subprocess.Popen[str], words: str) -> str:
    assert process.stdout is not None
    said = ""
    while words not in said:
        line = process.stdout.readline()
        assert line, f"it ended without saying {words!r}: {said}"
        said += line
    return said


def wait_until_waiting(terminal: Terminal) -> None:
    end = time.monotonic() + 20
    while json.loads(terminal.durable("show", "order-42", "-o", "json"))["status"] != "waiting":
        assert time.monotonic() < end


def test_ctrl_c_in_mid_sleep_and_again(terminal: Terminal) -> None:
    terminal.sleeps(20)  # a busy machine takes its time to stop one process and to ask another
    first = terminal.start()
    read_until(first, "shipping socks")
    wait_until_waiting(terminal)
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=20)

    shown = terminal.durable("show", "order-42")
    assert re.search(r"waiting at first\.py:\d+ for sleep until ", shown.splitlines()[-1]), shown
    assert "charge(4200)" in shown

    second = terminal.start()
    said = read_until(second, "order-42 is there already, and waits at first.py:")
    said += second.communicate(timeout=40)[0]
    assert re.search(r"resumed order-42 at first\.py:\d+ .*; 2 recorded steps", said), said
    assert "charging" not in said
    assert "shipping" not in said
    assert said.rstrip().endswith("done")


def test_kill_9_at_random_points_never_repeats_what_is_recorded(terminal: Terminal) -> None:
    seed = int(os.environ.get("DURABLE_TEST_SEED", random.randrange(10**6)))
    print(f"DURABLE_TEST_SEED={seed}")
    chance = random.Random(seed)
    for _ in range(3):
        process = terminal.start()
        read_until(process, "no database is given")
        # Until a random moment: the time it takes is what is drawn, not a condition.
        try:
            process.wait(chance.uniform(0, 1.2))
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()
    last = terminal.start()
    said = last.communicate(timeout=60)[0]
    assert said.rstrip().endswith("done"), said
    history = json.loads(terminal.durable("show", "order-42", "-o", "json"))["history"]
    assert [each["name"] or each["kind"] for each in history] == [
        "started",
        "charge",
        "ship",
        "timer",
    ]
