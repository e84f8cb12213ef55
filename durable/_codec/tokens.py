"""Tokens of promises: what may be sent to anybody, and proves that it came from the run.

A token names a run, one of its operations and the kind of answer, under a MAC of the run's
seed, which never leaves workers and database: who has not been given a token cannot make one.
It comes from no stream of chance that workflow code might show. As in ``promise.sql``.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, NamedTuple

# Kinds of answer that a token names, so that another kind is refused where it is given.
KINDS: dict[Any, str] = {bool: "bool", int: "int", float: "float", str: "str"}

# Each token in one spelling: the last character has two bits that say nothing.
_FORM = re.compile(r"([A-Za-z0-9_-]{42}[AEIMQUYcgkosw048])(?:\.(bool|int|float|str))?", re.ASCII)
_KEY_MAX = 2**63


class Token(NamedTuple):
    run: int
    op: int
    kind: str | None
    mac: bytes

    def mac_by(self, seed: bytes) -> bytes:
        """What the MAC must be. The name of an activity, with which the messages of idempotency
        keys begin, never begins with NUL."""
        message = b"\0promise" + self._where() + (self.kind or "").encode()
        return hmac.new(seed, message, hashlib.sha256).digest()[:16]

    def text(self) -> str:
        body = urlsafe_b64encode(self._where() + self.mac).decode().rstrip("=")
        return f"{body}.{self.kind}" if self.kind else body

    def _where(self) -> bytes:
        return self.run.to_bytes(8, "big") + self.op.to_bytes(8, "big")


def new_token(seed: bytes, run: int, op: int, expected: Any) -> str:
    try:
        kind = KINDS.get(expected)
    except TypeError:  # an annotation with a list in it
        kind = None
    bare = Token(run, op, kind, b"")
    return bare._replace(mac=bare.mac_by(seed)).text()


def read_token(text: object) -> Token | None:
    """What a token says, whoever made it; None if it is none."""
    found = _FORM.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    try:
        body = urlsafe_b64decode(found[1] + "=")
    except binascii.Error:
        return None
    run, op = int.from_bytes(body[:8], "big"), int.from_bytes(body[8:16], "big")
    return None if max(run, op) >= _KEY_MAX else Token(run, op, found[2], body[16:])


def kind_of(value: object) -> str:
    """As ``payload_kind`` has it."""
    return KINDS.get(type(value), "other")
