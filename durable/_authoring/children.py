"""Child runs and the run that comes after this one: the verbs of ``ctx`` for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NoReturn,
    TypeAlias,
    TypedDict,
    TypeVar,
    TypeVarTuple,
    Unpack,
    get_args,
    overload,
)

from .._codec.signatures import Signature
from .._codec.values import digest
from .._core.children import Continued, Ending
from .._core.operation import Operation
from .._core.replayer import Replayer
from .._core.retries import Duration
from ..errors import DecodeError, InvalidCall, NotRegistered
from .channels import Exact, Signal, expect
from .definitions import Definition, workflow_of
from .moments import times
from .origins import Origins, who
from .registry import NAME_MAX, is_name

if TYPE_CHECKING:
    from .context import Context

R = TypeVar("R")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# A workflow by its function.
Code: TypeAlias = "Callable[[Context, *Ts], Coroutine[Any, Any, R]]"

OnParentClose: TypeAlias = Literal["cancel", "terminate", "abandon"]

PRIORITIES = range(-2, 3)

# What a child's own id keeps of its parent's; the run and the op after it make it unique.
ID_KEPT = 200


class ChildOptions(TypedDict, total=False):
    """What may be said of a child beside the workflow and its arguments: see ``ctx.child``."""

    id: str | None
    queue: str | None
    priority: int | None
    delay: Duration | None
    at: datetime | None
    deadline: Duration | datetime | None
    on_parent_close: OnParentClose


class Begetting(NamedTuple):
    """A child as it is asked for: the core carries it unseen."""

    definition: Definition | None  # None: this process does not know the workflow
    workflow: str
    id: str
    is_named: bool  # by the code; False: by its parent's run and op
    input: bytes
    args: tuple[Any, ...] | None  # what decoding the input would give, if that is known
    queue: str | None  # None: its parent's; likewise
    priority: int | None
    begins_at: datetime | None  # None: at once
    ends_at: datetime | None
    on_parent_close: str


class Child(Generic[R]):
    """A child run that was begun: ``child = await ctx.start_child(...)``.

    Attributes:
        id: the child's, by which others find it.
    """

    def __init__(self, id: str, replayer: Replayer, ending: Ending[R]) -> None:
        self.id = id
        self._replayer = replayer
        self._ending = ending

    def __repr__(self) -> str:
        return f"<Child {self.id!r}>"

    async def result(self) -> R:
        """Wait until the child has ended. Cancelling who waits leaves the child alone.

        Raises:
            ChildError: it did not complete; ``.status`` says how it ended.
        """
        return await asyncio.shield(self._ending)

    @overload
    def signal(self, signal: Signal[None], /) -> None: ...
    @overload
    def signal(self, signal: Exact[T, None], value: T, /) -> None: ...
    def signal(self, signal: Any, value: Any = None, /) -> None:
        """Send the child a message, as ``ctx.send`` does."""
        expect(signal, Signal)
        payload = signal.encode(value)
        children, spawn = self._replayer.children, self._ending.asked
        children.send(spawn, signal.kind, signal.name, digest(payload), payload)  # type: ignore[arg-type]

    def cancel(self) -> None:
        """Ask the child to stop; nothing if it has ended. ``result()`` then raises ``ChildError``
        with the status ``cancelled``, unless the child completes all the same."""
        self._replayer.children.stop(self._ending.op)


class Parent:
    """The part of ``ctx`` that begins other runs."""

    workflow: str
    _own: tuple[int, str]
    _origins: Origins
    _replayer: Replayer
    _signature: Signature

    @property
    def _who(self) -> tuple[int, str]:
        return who(self._origins, self._replayer.events, self._own)

    @property
    def id(self) -> str:
        """The caller's id of this run. In the turns that a fork shares with another run, it is that
        one's."""
        return self._who[1]

    @overload
    def child(
        self, workflow: Code[*Ts, R], /, *args: *Ts, **options: Unpack[ChildOptions]
    ) -> Operation[R]: ...
    @overload
    def child(
        self, workflow: str, /, *args: Any, **options: Unpack[ChildOptions]
    ) -> Operation[Any]: ...
    def child(  # type: ignore[misc]  # mypy cannot match *Ts with *Any
        self, workflow: Any, /, *args: Any, **options: Any
    ) -> Operation[Any]:
        """Run another workflow as a child of this one, and wait for its result.

        The child is a run of its own, with a journal of its own; any worker that serves it takes
        it. It begins with this turn, exactly once. Cancelling who waits (``asyncio.timeout``, a
        task group) asks the child to stop and waits until it has; cancelling once more waits no
        longer.

        Args:
            workflow: the function, or its name (its code need not be in this process).
            args: its arguments after ``ctx``, by position.
            id: your name for it, which no other run may have; one that contains this run by
                default.
            queue, priority: this run's by default.
            delay, at: when it begins: seconds (or a timedelta) from now, or an aware datetime.
            deadline: when it is cancelled if it is still open: seconds (or a timedelta) after it
                may begin, or an aware datetime.
            on_parent_close: what becomes of it if this run ends first, however it ends: it is
                asked to ``cancel`` (the default), it is ended with ``terminate``, or ``abandon``:
                it goes on.

        Raises:
            ChildError: (when awaited) it failed, or was ended by somebody else.
            ChildRefused: (when awaited) the id names another run, or children nest too deep.
            InvalidCall, EncodeError: bad arguments, or ones that the workflow does not take;
                nothing was begun.

        Example:
            async with asyncio.timeout(3600):
                receipt = await ctx.child(payment, order.card, order.cents)
        """
        return self._beget(workflow, args, options, is_kept=False)[1]

    @overload
    async def start_child(
        self, workflow: Code[*Ts, R], /, *args: *Ts, **options: Unpack[ChildOptions]
    ) -> Child[R]: ...
    @overload
    async def start_child(
        self, workflow: str, /, *args: Any, **options: Unpack[ChildOptions]
    ) -> Child[Any]: ...
    async def start_child(  # type: ignore[misc]  # as above
        self, workflow: Any, /, *args: Any, **options: Any
    ) -> Child[Any]:
        """Begin a child, and go on: ``child.result()`` waits for its end, ``child.signal(...)`` and
        ``child.cancel()`` reach it meanwhile. Takes what :meth:`child` takes.

        It begins with this turn: whatever the code does next is let out only when the child
        stands in the database. A refusal is raised by ``result()``, or else logged.

        Example:
            children = [await ctx.start_child(crawl, url) for url in urls]
            pages = [await each.result() for each in children]
        """
        call, ending = self._beget(workflow, args, options, is_kept=True)
        return Child(call.id, self._replayer, ending)

    def continue_as_new(self, *args: Any) -> NoReturn:
        """End this run and go on as a new one: same workflow, same id, other arguments, and a
        journal that begins anew. For runs that would go on for months.

        Messages that nobody has received are there for the new run, in order; so are the deadline,
        the queue and the priority, and who waits for this run's result waits for that one's.
        Children are not taken along: wait for them first. What ``finally`` does is done before.

        Raises:
            InvalidCall, EncodeError: bad arguments, or ones that the workflow does not take.

        Example:
            if ctx.events > 5_000:
                ctx.continue_as_new(state)
        """
        self._replayer.check_turn()
        payload, known = self._signature.record_call(args, {})
        check_fits(self.workflow, self._signature, payload, known)
        raise Continued(payload)

    @property
    def events(self) -> int:
        """How long this run's journal is by now. All of it is read again when the run is taken up
        after a restart: at some thousands, think of ``continue_as_new``."""
        return self._replayer.events

    def _beget(
        self, workflow: Any, args: tuple[Any, ...], options: dict[str, Any], *, is_kept: bool
    ) -> tuple[Begetting, Ending[Any]]:
        check_options(options, ChildOptions, "ctx.child")
        definition, name = definition_of(workflow)
        signature = definition.signature if definition else ANY
        payload, known = signature.record_call(args, {})
        check_fits(name, signature, payload, known)
        given, queue, priority = options.get("id"), options.get("queue"), options.get("priority")
        run, id = self._who
        own = f"{id[:ID_KEPT]}/{run}.{self._replayer.next_op}"
        now = self._replayer.now
        when = times(options, now)
        begins = when.begins_at if when.begins_after is None else now + when.begins_after
        ends = when.ends_at if when.ends_after is None else (begins or now) + when.ends_after
        policy = options.get("on_parent_close", "cancel")
        if policy not in get_args(OnParentClose):
            raise InvalidCall(f"on_parent_close={policy!r} is not in {get_args(OnParentClose)}.")
        call = Begetting(
            definition,
            name,
            own if given is None else checked_name(given, "id"),
            given is not None,
            payload,
            known,
            queue if queue is None else checked_name(queue, "queue"),
            priority if priority is None else checked_priority(priority),
            begins,
            ends,
            policy,
        )
        to, size = (call.id if call.is_named else ""), len(payload)
        children = self._replayer.children
        return call, children.spawn(name, to, digest(payload), call, size, is_kept=is_kept)


def check_options(given: Mapping[str, Any], known: type, call: str) -> None:
    """
    Raises:
        InvalidCall: there is no such option of a run.
    """
    if unknown := given.keys() - known.__annotations__.keys():
        raise InvalidCall(
            f"{call}(...) has no option {', '.join(sorted(unknown))}; it has "
            f"{', '.join(known.__annotations__)}. Arguments of the workflow are given by position, "
            f"as in {call}(order, 4200)."
        )


def checked_priority(priority: Any) -> int:
    """
    Raises:
        InvalidCall: there is no such priority.
    """
    if type(priority) is not int or priority not in PRIORITIES:
        raise InvalidCall(f"priority={priority!r} is not one of -2, -1, 0, 1 and 2.")
    return priority


def definition_of(workflow: Any) -> tuple[Definition | None, str]:
    """With the workflow's name. None for one that this process does not know: others may serve
    it."""
    try:
        definition = workflow_of(workflow)
    except NotRegistered:
        if not isinstance(workflow, str):
            raise
        return None, checked_name(workflow, "workflow")
    return definition, definition.name


def check_fits(
    workflow: str, signature: Signature, payload: bytes, args: tuple[Any, ...] | None
) -> None:
    """``args`` are what the payload holds, if that is known.

    Raises:
        InvalidCall: the workflow does not take these arguments.
    """
    if args is None:
        try:
            signature.decode_call(payload)
        except DecodeError as error:
            raise unfit(workflow, error) from None


def unfit(workflow: str, error: DecodeError) -> InvalidCall:
    return InvalidCall(
        f"{workflow}() cannot be started with these arguments: they do not fit "
        f"{error.expected}: {error.why}. Nothing was written."
    )


def checked_name(name: Any, what: str) -> str:
    """
    Raises:
        InvalidCall: nothing can be called so.
    """
    if not is_name(name):
        raise InvalidCall(
            f"{what}={name!r:.300} cannot name a run, a workflow or a queue: it must be a text of "
            f"1 to {NAME_MAX} characters, without NUL."
        )
    return str(name)


def _any(*args: Any) -> Any:
    """Stands for a workflow whose code is elsewhere: all arguments pass as they are."""


ANY = Signature(_any)
