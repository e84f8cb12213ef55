"""What is asked for by a start, checked before anything is written, and what became of it."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    NamedTuple,
    TypeAlias,
    TypedDict,
    TypeVar,
    TypeVarTuple,
    Unpack,
    get_args,
    overload,
)

from .._authoring import children, registry
from .._authoring.channels import Message
from .._authoring.children import (
    ANY,
    Code,
    check_fits,
    check_options,
    checked_name,
    checked_priority,
    unfit,
)
from .._authoring.definitions import Definition
from .._authoring.moments import times
from .._codec import sameness
from .._core.retries import Duration
from .._store.family import NewRun
from .._store.protocol import Started as Answer
from ..errors import (
    DecodeError,
    DurableError,
    IdReused,
    InvalidCall,
    RunExists,
)
from . import asking
from .handle import Handle

if TYPE_CHECKING:
    from .client import Client

T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)
Ts = TypeVarTuple("Ts")

IfExists: TypeAlias = Literal["use", "reject", "after_close", "after_failure", "replace"]
IF_EXISTS = get_args(IfExists)

# The host's loop is ours for this long at a time, in seconds: as the committer has it.
SLICE_SECONDS = 0.0015

log = logging.getLogger("durable.client")


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
    message: Message[Any] | None
    build: str | None


class JoinedOptions(StartOptions, total=False):
    connection: Any


class Start(Generic[R_co]):
    """One of the starts of ``client.start_many``. It takes what ``client.start`` takes, and is
    checked when it is used.

    Example:
        await client.start_many(Start(order, each, id=each.id) for each in orders)
    """

    @overload
    def __init__(
        self, workflow: Code[*Ts, R_co], /, *args: *Ts, **options: Unpack[StartOptions]
    ) -> None: ...
    @overload
    def __init__(
        self: Start[Any], workflow: str, /, *args: Any, **options: Unpack[StartOptions]
    ) -> None: ...
    def __init__(  # type: ignore[misc]  # mypy cannot match *Ts with *Any
        self, workflow: Any, /, *args: Any, **options: Any
    ) -> None:
        self.workflow = workflow
        self.args = args
        self.options = options
        check_options(options, StartOptions, "start")


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


class Asked(NamedTuple):
    """A start as the database takes it, and what to make of the answer."""

    new: NewRun
    definition: Definition | None  # None: this process does not know the workflow
    args: tuple[Any, ...] | None  # what decoding the input would give, if that is known
    compare: bool
    message: Message[Any] | None

    def check_fits(self) -> None:
        """
        Raises:
            InvalidCall: the workflow does not take these arguments, as far as is known here.
        """
        if self.definition is not None:
            check_fits(self.new.workflow, self.definition.signature, self.new.input, self.args)

    def check(self, answer: Answer | DurableError) -> Answer:
        """
        Raises:
            RunExists, IdReused: the id names a run that must not, or cannot, be used.
        """
        if isinstance(answer, DurableError):
            raise answer
        new = self.new
        if answer.created:
            return answer
        if new.if_exists != "use":
            raise RunExists(id=new.id, status=answer.status, policy=new.if_exists)
        if answer.workflow != new.workflow:
            raise IdReused(id=new.id, path="workflow", before=answer.workflow, now=new.workflow)
        if self.compare and answer.input is not None:
            signature = self.definition.signature if self.definition else None
            found = sameness.difference(answer.input, new.input, signature)
            if found is not None:
                raise IdReused(id=new.id, **found._asdict())
        return answer


def asked(start: Start[Any]) -> Asked:
    """
    Raises:
        InvalidCall, EncodeError, NotRegistered: it cannot be started so.
    """
    options, (definition, name) = start.options, definition_of(start.workflow)
    payload, args = (definition.signature if definition else ANY).record_call(start.args, {})
    try:
        print_of_input = sameness.digest(payload, args)
    except DecodeError as error:  # not all that can be written can be read: dicts as keys
        raise unfit(name, error) from None
    chance = os.urandom(32)
    id, seed = random_id(chance[16:]), chance[:16]
    new = NewRun(id, name, "default", 0, payload, print_of_input, "use", False, seed)
    if not options:
        return Asked(new, definition, args, True, None)
    new = _chosen(new, options)
    return Asked(new, definition, args, options.get("compare", True), options.get("message"))


def _chosen(new: NewRun, options: dict[str, Any]) -> NewRun:
    given, build = options.get("id"), options.get("build")
    if_exists = options.get("if_exists", "use")
    if if_exists not in IF_EXISTS:
        raise InvalidCall(f"if_exists={if_exists!r} is not one of {IF_EXISTS}.")
    return new._replace(
        id=new.id if given is None else checked_name(given, "id"),
        queue=checked_name(options.get("queue", new.queue), "queue"),
        priority=checked_priority(options.get("priority", new.priority)),
        if_exists=if_exists,
        explicit_id=given is not None,
        build=build if build is None else checked_name(build, "build"),
        **times(options, datetime.now(UTC))._asdict(),
    )


def random_id(chance: bytes) -> str:
    """A UUID of version 4, made of 16 bytes; ``uuid.UUID`` takes six times as long for it."""
    a = chance.hex()
    return f"{a[:8]}-{a[8:12]}-4{a[13:16]}-{'89ab'[chance[8] >> 4 & 3]}{a[17:20]}-{a[20:]}"


async def begin(client: Client, start: Asked, connection: Any) -> Answer:
    """Start a run with its message: both, or neither.

    Raises: as ``Client.start``.
    """
    first = None if start.message is None else asking.letter(start.message)
    found = await client.store.runs.start(start.new, first=first, connection=connection)
    answer, id = start.check(found), start.new.id
    if start.message is not None and not answer.created:
        await asking.send(client, id, start.message, meant=answer.run, connection=connection)
    return answer


def definition_of(workflow: Any) -> tuple[Definition | None, str]:
    """With its name. One that is nearly known here is asked about."""
    found, name = children.definition_of(workflow)
    if found is None and (hint := registry.near("workflow", name)):
        log.warning("this process knows no workflow %r. %s", name, hint)
    return found, name


async def unhurried(items: Iterable[T]) -> AsyncGenerator[T, None]:
    """Each of many, letting others have the loop every few milliseconds."""
    end = time.monotonic() + SLICE_SECONDS
    for each in items:
        yield each
        if time.monotonic() > end:
            await asyncio.sleep(0)
            end = time.monotonic() + SLICE_SECONDS
