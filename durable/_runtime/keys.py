"""Keys of turns: this process's random part and a count. Unique, and cheap to make."""

from __future__ import annotations

import itertools
import os

_prefix = os.urandom(8)
_count = itertools.count()


def _forked() -> None:
    """A forked child has its parent's count: its keys must not be its parent's."""
    global _prefix
    _prefix = os.urandom(8)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def next_key() -> bytes:
    """The key of one more turn: 16 bytes that tell whether what stands in the journal is this."""
    return _prefix + next(_count).to_bytes(8, "big")
