"""The web service of the examples, in a real server, stopped by a real SIGTERM."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parent.parent

# No line per request: nobody reads on, and a full pipe would stop the server.
ARGUMENTS = ("examples.fastapi_app:app", "--port", "0", "--no-access-log")


@pytest.fixture
def server(dsn: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", *ARGUMENTS],
        cwd=ROOT,
        env={**os.environ, "DURABLE_DATABASE_URL": dsn},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    url = None
    while url is None:
        line = process.stdout.readline()
        assert line, "the server ended"
        url = re.search(r"http://[\d.:]+", line)
    yield process, url[0]
    process.kill()
    process.wait()
    process.stdout.close()


def test_posting_twice_is_one_order_and_sigterm_drains(
    server: tuple[subprocess.Popen[str], str],
) -> None:
    process, url = server
    with httpx.Client(base_url=url) as web:
        order = {"card": "visa", "cents": 100}
        first = web.post("/orders/7", json=order)
        assert first.status_code == 202
        assert first.json()["id"] == "order-7"
        assert web.post("/orders/7", json=order).status_code == 202
        other = web.post("/orders/7", json={"card": "visa", "cents": 5})
        assert other.status_code == 409
        assert "order-7" in other.json()["detail"]
        assert web.get("/health").json() == {"ok": True, "runs": 1}
        assert web.get("/orders/8").status_code == 404
        end = time.monotonic() + 20
        while web.get("/orders/7").json()["status"] != "completed":
            assert time.monotonic() < end
            time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    # uvicorn drains, then ends by the signal it was sent.
    assert process.wait(20) in (0, -signal.SIGTERM)


def run_example(dsn: str, name: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "examples" / name), *arguments],
        env={**os.environ, "DURABLE_DATABASE_URL": dsn, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def output(process: subprocess.Popen[str]) -> list[str]:
    told, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    return [line.rstrip() for line in told.splitlines() if line.strip()]


@pytest.mark.parametrize(
    ("answer", "end"),
    [("yes", ["4200 cents go to ada", "To: ada@example.com", "Your expense: paid.", "paid"]),
     ("no", ["To: ada@example.com", "Your expense: declined: not this month.",
             "declined: not this month"])],
)  # fmt: skip
def test_an_approval_waits_for_the_token_of_its_mail(dsn: str, answer: str, end: list[str]) -> None:
    waiting = run_example(dsn, "approval.py")
    assert waiting.stdout is not None
    token = None
    while token is None:
        line = waiting.stdout.readline()
        assert line, waiting.communicate()[1]
        token = re.search(r"yes (\S+)", line)
    assert output(run_example(dsn, "approval.py", answer, token[1])) == ["thank you"]
    assert output(waiting) == end
    (late,) = output(run_example(dsn, "approval.py", answer, token[1]))
    assert late == "this was answered before"
    (forged,) = output(run_example(dsn, "approval.py", "yes", "x" + token[1]))
    assert "was not made here" in forged


def test_an_agent_s_words_come_as_they_are_spoken(dsn: str) -> None:
    lines = output(run_example(dsn, "agent.py"))
    assert lines[0].startswith("Let me look")
    assert lines[1:] == [
        "(once more)", "Let me look up the weather in Oslo.",
        "  [weather {'city': 'Oslo'}: -3 °C]", "And in Rome.",
        "  [weather {'city': 'Rome'}: 12 °C]", "Rome is warmer.", "=> Rome is warmer.",
    ]  # fmt: skip


def test_a_trigger_starts_workflows_of_what_is_committed_and_of_nothing_else(dsn: str) -> None:
    assert output(run_example(dsn, "order_trigger.py")) == [
        "rolled back: no such card",
        "To: ada@example.com", "Thank you for your 42.00.", "=> ada@example.com",
        "0 runs of the order that was rolled back",
    ]  # fmt: skip


def test_an_account_lives_on_and_answers_where_no_worker_lives(dsn: str) -> None:
    assert output(run_example(dsn, "account.py")) == [
        "  book +500 for ada: wages", "500", "500 (once)", "no: only 500 left",
        "  book -200 for ada: rent", "300", "balance: 300", "closed with 300",
    ]  # fmt: skip


def test_a_thousand_children_are_fetched_and_those_that_fail_are_told(dsn: str) -> None:
    (line,) = output(run_example(dsn, "fan_out.py"))
    assert line == "999 pages of 9880 bytes; missing: [404]"
