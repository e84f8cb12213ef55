"""Messages of clients, and the answers of runs: signals, updates; and answers to promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

from .._authoring.channels import Channel, Message, expect
from .._codec import values
from .._codec.failures import decode_failure
from .._codec.tokens import kind_of, read_token
from .._store.protocol import Answer, Letter
from .._store.verbs import Store
from ..errors import (
    InternalError,
    InvalidCall,
    RunClosed,
    RunNotFound,
    RunStuck,
    TokenRefused,
    UpdateFailed,
    UpdateRejected,
    shorten,
)

if TYPE_CHECKING:
    from .client import Client


def message(channel: Any, value: Any, key: str | None, kind: type[Channel]) -> Message[Any]:
    """What was given as a channel and a value, or as a message already.

    Raises:
        InvalidCall: the channel, or the value, is of another kind.
        EncodeError, PayloadTooLarge: the value cannot be recorded.
    """
    is_ready = isinstance(channel, Message)
    expect(channel.channel if is_ready else channel, kind)
    if is_ready and (value is not None or key is not None):
        raise InvalidCall(f"{channel!r} has its value and its key already.")
    made: Message[Any] = channel if is_ready else channel(value, key=key)
    return made


def letter(message: Message[Any]) -> Letter:
    """
    Raises:
        InvalidCall: it is no message.
    """
    if not isinstance(message, Message):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidCall(
            f"{message!r:.100} is no message: call the channel with its value, as in "
            "shipped(parcel)."
        )
    message.key = message.key or str(uuid4())  # from now on it is this one
    channel = message.channel
    return Letter(channel.kind, channel.name, f"sent/{message.key}", message.payload)


async def send(
    client: Client, id: str, message: Message[Any], *, meant: int | None, connection: Any = None
) -> tuple[int, str]:
    """The run that has it, and its key there.

    Raises:
        RunNotFound, RunClosed: nobody is there to take it; nothing was sent.
    """
    sent = letter(message)
    answer = await client._deliver(id, sent, meant, connection)
    if answer.run is None or answer.state == "absent":
        raise RunNotFound(id=id)
    if answer.state == "closed":
        raise RunClosed(id=id, status=answer.status)
    return answer.run, sent.key


async def update(client: Client, id: str, message: Message[Any], *, meant: int | None) -> Any:
    """Send an update and wait for its answer. What was sent before is only waited for."""
    at: tuple[int, str] | None = await send(client, id, message, meant=meant)
    status = None
    while at is not None:
        answer = await client.waits.answers.answer(at)
        if answer.result is not None:
            return message.channel.decode(answer.result, 1)
        _raise_refusal(id, message, answer)
        status = status if answer.status == "unknown" else answer.status
        # It went on as a new run, which may have taken its unread messages along.
        at = None if answer.successor is None else (answer.successor, at[1])
    raise RunClosed(id=id, status=status)


def _raise_refusal(id: str, message: Message[Any], answer: Answer) -> None:
    if answer.failure is not None:
        failure = decode_failure(answer.failure)
        name = message.channel.name
        if answer.status == "rejected":
            raise UpdateRejected(id=id, update=name, type=failure.type, message=failure.message)
        raise UpdateFailed(id=id, update=name, **failure.told)
    if answer.status == "stuck":
        raise RunStuck(id=id, report=answer.report or "no reason was recorded")
    if answer.status == "absent":
        raise RunNotFound(id=id)


async def resolve(
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
