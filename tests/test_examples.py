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
