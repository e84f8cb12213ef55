"""What is asked for by a start, checked before anything is written, and what became of it."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import (
    Any,
    Generic,
    Literal,
    TypeAlias,
    TypedDict,
    TypeVar,
    TypeVarTuple,
    Unpack,
    get_args,
    overload,
)
from uuid import uuid4

from .._authoring import registry
from .._authoring.context import Context
from .._authoring.definitions import Definition, workflow_of
from .._codec import sameness
from .._codec.signatures import Signature
from .._core.retries import Duration, seconds
from .._store.protocol import NewRun
from .._store.protocol import Started as Answer
from ..errors import DecodeError, DurableError, IdReused, InvalidCall, NotRegistered, RunExists
from .handle import Handle

T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)
Ts = TypeVarTuple("Ts")

IfExists: TypeAlias = Literal["use", "reject", "after_close", "after_failure", "replace"]

PRIORITIES = range(-2, 3)

# The host's loop is ours for this long at a time, in seconds; half of what is promised.
SLICE_SECONDS = 0.0025

log = logging.getLogger("durable")


class StartOptions(TypedDict, total=False):
    """What a start may say beside the workflow and its arguments: see ``Client.start``."""

    id: str | None
    if_exists: IfExists
    compare: bool
    queue: str
    priority: int
    delay: Duration | None
    at: datetime | None
    deadline: Duration | datetime | None


class Start(Generic[R_co]):
    """One of the starts of ``client.start_many``. It takes what ``client.start`` takes, and is
    checked when it is used.

    Example:
        await client.start_many(Start(order, each, id=each.id) for each in orders)
    """

    @overload
    def __init__(
        self,
        workflow: Callable[[Context, *Ts], Coroutine[Any, Any, R_co]],
        /,
        *args: *Ts,
        **options: Unpack[StartOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: Start[Any], workflow: str, /, *args: Any, **options: Unpack[StartOptions]
    ) -> None: ...
    def __init__(  # type: ignore[misc]  # mypy cannot match *Ts with *Any
        self,
        workflow: Any,
        /,
        *args: Any,
        id: str | None = None,
        if_exists: IfExists = "use",
        compare: bool = True,
        queue: str = "default",
        priority: int = 0,
        delay: Duration | None = None,
        at: datetime | None = None,
        deadline: Duration | datetime | None = None,
    ) -> None:
        self.workflow = workflow
        self.args = args
        self.id = id
        self.if_exists = if_exists
        self.compare = compare
        self.queue = queue
        self.priority = priority
        self.delay = delay
        self.at = at
        self.deadline = deadline


@dataclass(frozen=True, slots=True)
class Started(Generic[R_co]):
    """What became of one start of many.

    Attributes:
        id: the run's; the random one that it was given if it had none.
        created: a run was started; False: the id named one already, or it was refused.
        error: why it was refused: ``RunExists``, ``IdReused``, ``InvalidCall``, an id that
            somebody holds locked. None if ``handle`` can be had.
    """

    id: str
    created: bool
    error: DurableError | None
    _handle: Handle[R_co] | None

    @property
    def handle(self) -> Handle[R_co]:
        """The run.

        Raises:
            DurableError: ``error``, if the start was refused.
        """
        if self.error is not None:
            raise self.error
        assert self._handle is not None
        return self._handle


def prepared(start: Start[Any]) -> tuple[NewRun, Definition | None]:
    """A start as the database takes it.

    Raises:
        InvalidCall, EncodeError, NotRegistered: it cannot be.
    """
    definition = definition_of(start.workflow)
    name = definition.name if definition else checked_name(start.workflow, "workflow")
    if start.if_exists not in get_args(IfExists):
        raise InvalidCall(f"if_exists={start.if_exists!r} is not one of {get_args(IfExists)}.")
    if type(start.priority) is not int or start.priority not in PRIORITIES:
        raise InvalidCall(f"priority={start.priority!r} is not one of -2, -1, 0, 1 and 2.")
    payload = (definition.signature if definition else _ANY).encode_call(start.args, {})
    try:
        print_of_input = sameness.digest(payload)
    except DecodeError as error:  # not all that can be written can be read: dicts as keys
        raise unfit(name, error) from None
    new = NewRun(
        str(uuid4()) if start.id is None else checked_name(start.id, "id"),
        name,
        checked_name(start.queue, "queue"),
        start.priority,
        payload,
        print_of_input,
        start.if_exists,
        start.id is not None,
        os.urandom(16),
        *_times(start),
    )
    return new, definition


def check_fits(new: NewRun, definition: Definition | None) -> None:
    """Whether the workflow will take these arguments, as far as this process knows it.

    Raises:
        InvalidCall: it will not.
    """
    if definition is not None:
        try:
            definition.signature.decode_call(new.input)
        except DecodeError as error:
            raise unfit(new.workflow, error) from None


def unfit(workflow: str, error: DecodeError) -> InvalidCall:
    return InvalidCall(
        f"{workflow}() cannot be started with these arguments: they do not fit "
        f"{error.expected}: {error.why}. Nothing was written."
    )


def check_answer(
    new: NewRun, answer: Answer, definition: Definition | None, *, compare: bool
) -> None:
    """
    Raises:
        RunExists, IdReused: the id names a run that must not, or cannot, be used.
    """
    if answer.created:
        return
    if new.if_exists != "use":
        raise RunExists(id=new.id, status=answer.status, policy=new.if_exists)
    if answer.workflow != new.workflow:
        raise IdReused(id=new.id, path="workflow", before=answer.workflow, now=new.workflow)
    if compare and answer.input is not None:
        signature = definition.signature if definition else None
        found = sameness.difference(answer.input, new.input, signature)
        if found is not None:
            raise IdReused(id=new.id, **found._asdict())


def definition_of(workflow: Any) -> Definition | None:
    """None for a name that this process does not know: others may serve it."""
    try:
        return workflow_of(workflow)
    except NotRegistered:
        if not isinstance(workflow, str):
            raise
        if hint := registry.near("workflow", workflow):
            log.warning("this process knows no workflow %r. %s", workflow, hint)
        return None


def checked_name(name: Any, what: str) -> str:
    if not registry.is_name(name):
        raise InvalidCall(
            f"{what}={name!r:.300} cannot name a run, a workflow or a queue: it must be a text of "
            f"1 to {registry.NAME_MAX} characters, without NUL."
        )
    assert isinstance(name, str)
    return name


def _times(start: Start[Any]) -> tuple[Any, ...]:
    """(begins_at, begins_after, ends_at, ends_after)"""
    if start.at is None and start.delay is None and start.deadline is None:
        return None, None, None, None
    if start.at is not None and start.delay is not None:
        raise InvalidCall("delay= and at= both say when the run begins: give one of them.")
    begins_at, begins_after = moment(start.at if start.delay is None else start.delay, "at")
    begins = begins_at or datetime.now(UTC) + (begins_after or timedelta())
    ends_at, ends_after = moment(start.deadline, "deadline", begins)
    if begins_at is not None and ends_at is not None and ends_at <= begins_at:
        raise InvalidCall(
            f"deadline={ends_at} is not after at={begins_at}: the run could do nothing."
        )
    return begins_at, begins_after, ends_at, ends_after


def moment(
    given: Duration | datetime | None, what: str, begins: datetime | None = None
) -> tuple[datetime | None, timedelta | None]:
    """A time as such, or as a length from another."""
    try:
        if given is None:
            return None, None
        if isinstance(given, datetime):
            return aware(given, what), None
        length = timedelta(seconds=seconds(given, what="it"))
        _ = (begins or datetime.now(UTC)) + length  # within the calendar
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidCall(f"{what}={given!r} cannot be: {error}.") from None
    return None, length


def aware(when: datetime, what: str) -> datetime:
    """
    Raises:
        InvalidCall: ``when`` has no time zone, or is beyond the calendar.
    """
    try:
        if when.utcoffset() is not None:
            return when.astimezone(UTC)
    except (OverflowError, AttributeError):  # beyond the calendar; or no datetime at all
        pass
    raise InvalidCall(
        f"{what}={when!r} is not a moment: a time without a zone means another one on each "
        "machine. Give it one, as in datetime(2026, 1, 1, tzinfo=UTC)."
    )


async def unhurried(items: Iterable[T]) -> AsyncGenerator[T, None]:
    """Each of many, letting others have the loop every few milliseconds."""
    end = time.monotonic() + SLICE_SECONDS
    for each in items:
        yield each
        if time.monotonic() > end:
            await asyncio.sleep(0)
            end = time.monotonic() + SLICE_SECONDS


def _any(*args: Any) -> Any:
    """Stands for a workflow whose code is elsewhere: all arguments pass as they are."""


_ANY = Signature.of(_any)
