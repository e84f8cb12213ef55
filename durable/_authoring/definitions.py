"""``@workflow`` and ``@activity``: a plain function becomes a definition under a name.

A workflow stays the very function it was. An activity becomes a thin shim around it, which
refuses to be called inside a workflow, where the call would leave no trace. Both carry
their definition as a mark; the mark counts only on the object that was made here, since
``functools.wraps`` of another decorator copies it along.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, Unpack, get_origin, overload

from .._codec.signatures import Signature, first_annotation
from .._core.loop import running_loop
from ..errors import CalledDirectly, DefinitionError, NotRegistered
from . import registry
from .options import ActivityOptions, Given

F = TypeVar("F", bound=Callable[..., Any])
W = TypeVar("W", bound=Callable[..., Coroutine[Any, Any, Any]])

_MARK = "__durable__"


@dataclass(frozen=True, slots=True, eq=False)
class Definition:
    """A function under its stable name. ``place`` is where it stands, for error texts;
    ``is_plain``: an attempt takes nothing but the call."""

    kind: str
    name: str
    fn: Callable[..., Any]
    place: str
    signature: Signature
    is_async: bool
    options: ActivityOptions = field(default_factory=ActivityOptions)
    library: str = ""  # of a transaction: which its first parameter speaks
    is_plain: bool = field(init=False)
    suffix: bytes = field(init=False)  # tells its calls from those of others with this input

    def __post_init__(self) -> None:
        object.__setattr__(self, "suffix", b"\0" + self.name.encode(errors="surrogatepass"))
        watched = self.options.is_timed or self.options.records_start
        plain = self.kind == "activity" and self.is_async and not watched
        object.__setattr__(self, "is_plain", plain)


@overload
def workflow(fn: W, /) -> W: ...
@overload
def workflow(*, name: str | None = None) -> Callable[[W], W]: ...
def workflow(fn: Any = None, /, *, name: str | None = None) -> Any:
    """Make an ``async def fn(ctx, ...)`` a workflow: its progress survives crashes.

    ``name`` is what the database calls it, the function's own name by default. It must stay
    the same for as long as runs of it are open. The function is returned as it was.

    Raises:
        DefinitionError: not ``async def``, no ``ctx`` parameter, a lambda without a name,
            or another workflow has this name already.

    Example:
        @workflow
        async def greet(ctx: Context, name: str) -> str:
            await ctx.sleep(days=1)
            return await ctx.activity(compose, name)
    """
    if fn is None:
        return functools.partial(_define_workflow, name=name)
    return _define_workflow(fn, name=name)


def _define_workflow(fn: W, *, name: str | None) -> W:
    name = _name_of(fn, name, kind="workflow")
    if not inspect.iscoroutinefunction(fn):
        raise DefinitionError(
            f"Workflow {name!r} is not `async def`. A workflow waits for what it asks for, "
            f"maybe for days: write `async def {name}(ctx: Context, ...)`."
        )
    if not _takes_context(fn):
        raise DefinitionError(
            f"Workflow {name!r} takes no context: its first parameter is the `ctx` by which it "
            f"reaches the world. Write `async def {name}(ctx: Context, ...)`."
        )
    definition = Definition("workflow", name, fn, _place(fn), Signature(fn, skip=1), True)
    registry.add(definition)
    setattr(fn, _MARK, (fn, definition))
    return fn


@overload
def activity(fn: F, /) -> F: ...
@overload
def activity(*, name: str | None = None, **options: Unpack[Given]) -> Callable[[F], F]: ...
def activity(fn: Any = None, /, *, name: str | None = None, **options: Unpack[Given]) -> Any:
    """Make a function one that workflows may call for its effects: I/O, time, chance.

    Its result is recorded once; the function itself runs *at least once*: a crash after it
    acted and before its result was recorded makes it run again. Use
    ``durable.attempt().idempotency_key`` where that matters. ``async def`` runs on the
    host's loop, ``def`` in a thread.

    Args:
        name: what the journal calls it; the function's own name by default.
        retry: when to try again; five attempts, one second apart and growing, by default.
        timeout: seconds (or a timedelta) that one attempt may take; None: no limit.
        timeout_total: the same for all attempts together, with the pauses between them, from
            the moment when the first one begins.
        heartbeat_timeout: how long an attempt may go without ``durable.attempt().heartbeat()``.
            What passes a limit fails as ``ActivityTimedOut``.
        raises: exception classes that are results, not accidents: they are not retried and
            reach the workflow as themselves, also in a group of nothing else. All else arrives
            as ``ActivityError``.
        record_start: write down that an attempt begins before it does. If its worker then dies,
            it is not run again: the workflow gets ``OutcomeUnknown``. None: only with
            ``Retry(attempts=1)``, which means "never twice".

    Outside of workflows the function is called as ever; tests need nothing special.
    """
    known = ActivityOptions().changed(options)
    if fn is None:
        return functools.partial(_define_activity, name=name, options=known)
    return _define_activity(fn, name=name, options=known)


def _define_activity(fn: Any, *, name: str | None, options: ActivityOptions) -> Any:
    name = _name_of(fn, name, kind="activity")
    is_async = inspect.iscoroutinefunction(fn)
    definition = Definition("activity", name, fn, _place(fn), Signature(fn), is_async, options)
    registry.add(definition)

    @functools.wraps(fn)
    def shim(*args: Any, **kwargs: Any) -> Any:
        if running_loop() is not None:
            raise CalledDirectly(activity=name)
        return fn(*args, **kwargs)

    mark_async = getattr(inspect, "markcoroutinefunction", None)  # Python 3.12 and later
    if is_async and mark_async is not None:
        mark_async(shim)
    setattr(shim, _MARK, (shim, definition))
    return shim


def workflow_of(fn: Callable[..., Any] | str) -> Definition:
    """The definition of a workflow given by function or by name.

    Raises:
        NotRegistered: no such workflow.
    """
    if isinstance(fn, str):
        definition = registry.find("workflow", fn)
        if definition is None:
            advice = registry.near("workflow", fn) or "Import the module that defines it."
            raise NotRegistered(kind="workflow", name=fn, advice=advice)
        return definition
    return _marked(fn, kind="workflow")


def activity_of(fn: Callable[..., Any]) -> Definition:
    """The definition of an activity given by function.

    Raises:
        NotRegistered: not an activity.
        DefinitionError: the call was made already, so there is nothing left to record.
    """
    mark: tuple[Any, Definition] | None = getattr(fn, _MARK, None)
    if mark is not None and mark[0] is fn and mark[1].kind == "activity":
        return mark[1]
    return _marked(fn, kind="activity")


def transaction_of(fn: Callable[..., Any]) -> Definition:
    """What ``ctx.transaction(fn)`` runs: any ``async def fn(conn, ...)``. One that is also an
    activity brings its options along."""
    known = _transactions.get(fn)
    if known is not None:
        return known
    name = _name_of(fn, None, kind="transaction")
    inner, options = fn, ActivityOptions()
    mark = getattr(fn, _MARK, None)
    if mark is not None and mark[0] is fn:
        inner, options = mark[1].fn, mark[1].options
    if not inspect.iscoroutinefunction(inner):
        raise DefinitionError(
            f"ctx.transaction() was given {name!r}, which is not `async def {name}(conn, ...)`."
        )
    options = options.changed(NEVER_UNKNOWN)
    signature = Signature(inner, skip=1)
    known = Definition(
        "transaction", name, inner, _place(inner), signature, True, options, _library_of(inner)
    )
    if "<locals>" not in inner.__qualname__:  # closures would pile up
        _transactions[fn] = known
    return known


def _library_of(fn: Callable[..., Any]) -> str:
    """By what the first parameter is annotated with; asyncpg if nothing tells.

    Raises:
        DefinitionError: that is a connection which blocks.
    """
    annotation = first_annotation(fn)
    origin = get_origin(annotation) or annotation
    package = getattr(origin, "__module__", "").partition(".")[0]
    told = annotation if isinstance(annotation, str) else ""  # imported for types alone
    name = told or getattr(origin, "__name__", "")
    if (package in ("psycopg", "sqlalchemy") or "psycopg" in told) and "Async" not in name:
        raise DefinitionError(
            f"{fn.__name__}() takes a {name} of {package or told}, which would hold up the event "
            "loop: annotate an AsyncConnection, or an AsyncSession, and await what it does."
        )
    if package == "psycopg" or "psycopg" in told:
        return "psycopg"
    if package == "sqlalchemy" or "AsyncSession" in told:
        return "sqlalchemy.session" if "Session" in name else "sqlalchemy.connection"
    return "asyncpg"


_transactions: dict[Callable[..., Any], Definition] = {}

# A transaction has happened, or has not: its outcome row tells.
NEVER_UNKNOWN: Given = {"record_start": False, "heartbeat_timeout": None}


def with_options(definition: Definition, changes: Given) -> Definition:
    """
    Raises:
        TypeError: as ``changed``; or that is for transactions alone.
    """
    if definition.kind == "activity" and changes.get("isolation") is not None:
        raise TypeError("isolation= is for ctx.options(...).transaction(): an activity is in none")
    options = definition.options.changed(changes)
    if definition.kind == "transaction":
        options = options.changed(NEVER_UNKNOWN)
    return replace(definition, options=options)


def _marked(fn: Any, *, kind: str) -> Definition:
    mark: tuple[Any, Definition] | None = getattr(fn, _MARK, None)
    if mark is None and inspect.iscoroutine(fn):
        fn.close()
        verb = "start" if kind == "workflow" else f"ctx.{kind}"
        raise DefinitionError(
            f"{fn.__qualname__}(...) was called already, so there is nothing left to record. Give "
            f"the function and its arguments apart: `{verb}({fn.__name__}, ...)`."
        )
    if isinstance(fn, str):
        raise NotRegistered(kind=kind, name=fn, advice="Give the function itself, not its name.")
    if mark is None:
        name = getattr(fn, "__qualname__", repr(fn))
        raise NotRegistered(kind=kind, name=name, advice=f"Put @{kind} on its definition.")
    made, definition = mark
    if inspect.ismethod(fn):
        advice = "A method needs its object again, in another process: use a function."
        raise NotRegistered(kind=kind, name=definition.name, advice=advice)
    if made is not fn:
        raise NotRegistered(
            kind=kind, name=definition.name, advice=f"Put @{kind} outermost of its decorators."
        )
    if definition.kind != kind:
        advice = f"It is defined with @{definition.kind}."
        if kind == "activity":
            advice += (
                f" Inside another one it is a plain function: `await {definition.name}(ctx, ...)`."
            )
        raise NotRegistered(kind=kind, name=definition.name, advice=advice)
    return definition


def _name_of(fn: Any, name: str | None, *, kind: str) -> str:
    if not callable(fn):
        advice = f" Write @{kind}(name={fn!r})." if isinstance(fn, str) else ""
        raise DefinitionError(f"@{kind} was given {fn!r}, which is not a function.{advice}")
    given = name if name is not None else getattr(fn, "__name__", "<lambda>")
    if given == "<lambda>":
        raise DefinitionError(
            f"A lambda has no name to stand in the journal: use `def`, or @{kind}(name=...)."
        )
    if not registry.is_name(given):
        raise DefinitionError(
            f"{given!r} cannot be a name for @{kind}: 1 to {registry.NAME_MAX} characters, "
            "without NUL."
        )
    return given


def _takes_context(fn: Callable[..., Any]) -> bool:
    parameters = inspect.signature(fn).parameters.values()
    return any(each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD, each.VAR_POSITIONAL)
               for each in parameters)  # fmt: skip


def _place(fn: Any) -> str:
    code = getattr(fn, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(fn)
