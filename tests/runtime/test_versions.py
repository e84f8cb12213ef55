"""The report of a divergence names versions only when they differ."""

from __future__ import annotations

from durable._runtime.versions import differing, versions


def test_other_versions_are_named_with_our_own() -> None:
    assert differing(versions()) == differing(None) == ""
    told = differing("loop 1, python 3.9, anyio 4.0.0")
    assert "python 3.9" in told
    assert versions() in told
