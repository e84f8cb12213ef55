"""What goes on is told at once, then now and then, and when it is over."""

from __future__ import annotations

import logging
import time

import pytest

from durable._runtime.complaints import Complaint


def test_a_trouble_is_told_once_in_a_while_and_at_its_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    complaint = Complaint(logging.getLogger("durable.worker"), "well again after %.0f s")
    complaint.over()
    for now in (100.0, 101.0, 129.0, 131.0, 132.0):
        complaint.raised("it failed at %g", now)
    now = 140.0
    complaint.over()
    complaint.over()
    complaint.raised("it failed at %g", now)
    assert caplog.messages == [
        "it failed at 100", "it failed at 131", "well again after 40 s", "it failed at 140",
    ]  # fmt: skip
