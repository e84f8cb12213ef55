"""Answers to promises, by their tokens."""

from __future__ import annotations

from typing import Any

from .._codec import values
from .._codec.tokens import kind_of, read_token
from .._store.verbs import Store
from ..errors import InternalError, InvalidCall, RunClosed, TokenRefused, shorten


async def answer(
    store: Store, token: str, value: Any, *, rejects: bool, connection: Any
) -> tuple[int | None, bool]:
    """The run, and whether this was the answer.

    Raises:
        TokenRefused, RunClosed, InvalidCall, EncodeError, PayloadTooLarge
    """
    if read_token(token) is None:
        raise TokenRefused
    if rejects and not isinstance(value, str):
        raise InvalidCall(f"A promise is rejected with a text, not {shorten(value)}.")
    payload = values.encode(value, path="the answer")
    kind = None if rejects else kind_of(value)
    found = await store.inbox.answer(token, payload, kind, connection=connection)
    match found.state:
        case "accepted" | "answered":
            return found.run, found.state == "accepted"
        case "forged":
            raise TokenRefused
        case "closed":
            raise RunClosed(id=found.id or "", status=found.status)
        case "unfit":
            raise InvalidCall(
                f"The promise takes a value of type {found.expected}, not {shorten(value)}. "
                "Nothing was answered: the token is still good."
            )
        case _:
            raise InternalError("an answer of another kind", state=found.state)
