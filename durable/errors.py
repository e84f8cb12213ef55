"""Every exception that Durable raises on purpose, in one tree.

    DurableError                    ``except DurableError`` catches all of it
    + DefinitionError               your definitions: a sync workflow, two of one name
      + CalledDirectly              an activity called as a function inside a workflow
      + NotRegistered               a name or a function that nothing here serves
    + InvalidCall                   wrong arguments, a bad id, ``start`` outside ``async with``
    + NotInWorkflow                 I/O, threads, foreign futures inside a workflow
    + CodecError
      + EncodeError                 a value that cannot be written
      + DecodeError                 a recorded value that no longer fits its type
      + PayloadTooLarge
    + ActivityError                 what ``await ctx.activity()`` raises inside a workflow
      + ActivityTimedOut  OutcomeUnknown
    + ChildError                    what ``await ctx.child()`` raises inside a workflow
      + ChildRefused                it was not begun
    + PromiseRejected               what ``await ctx.promise(...)`` raises inside a workflow
    + RunError                      what ``handle.result()`` raises
      + RunFailed  RunCancelled  RunTerminated  RunStuck
    + RunNotFound  RunClosed  RunExists  IdReused  RetryRefused  ForkRefused  TokenRefused
    + UpdateRejected  UpdateFailed  what ``handle.update()`` raises
    + Divergence                    your code changed under an open run
    + HistoryUnreadable             a file of histories that was cut, or is something else
    + StoreError                    your database
      + StoreUnavailable  ConfigurationError  SchemaMismatch
    + LeaseLost                     another worker has it now; never reaches workflow code
    + InternalError                 our fault: please report it

    Evicted                         no DurableError, no Exception: see there
    WorkflowWarning                 a clock or chance, read by workflow code itself

A class builds its sentence from facts and keeps the facts as attributes; who raises it passes
facts only. Each sentence says what happened, why, and what to do now.
"""

from __future__ import annotations

from typing import Any

# What a value looks like in an error text: enough to find it, never a page.
REPR_MAX = 120


def shorten(value: object, limit: int = REPR_MAX) -> str:
    """``repr(value)``, cut to ``limit`` characters; never raises."""
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - a user's __repr__ may do anything
        text = f"<{type(value).__name__}, whose repr raised {type(error).__name__}>"
    return text if len(text) <= limit else text[: limit - 1] + "…"


class DurableError(Exception):
    """The root of all that Durable raises on purpose."""


class DefinitionError(DurableError):
    """A workflow or an activity is defined in a way that cannot work."""


class CalledDirectly(DefinitionError):
    """An activity was called like a function inside a workflow."""

    def __init__(self, *, activity: str) -> None:
        super().__init__(
            f"Activity {activity!r} was called directly inside a workflow, so its result would "
            f"not be recorded. Write `await ctx.activity({activity}, ...)` instead."
        )
        self.activity = activity


class NotRegistered(DefinitionError):
    """Nothing here is known under this name."""

    def __init__(self, *, kind: str, name: str, advice: str) -> None:
        super().__init__(f"There is no {kind} {name!r} here. {advice}")
        self.kind = kind
        self.name = name


class InvalidCall(DurableError):
    """A call with arguments, or at a time, that cannot work. Nothing was written."""


class NotInWorkflow(DurableError, NotImplementedError):
    """Something that cannot be replayed was tried inside a workflow.

    Also a ``NotImplementedError``, which is what asyncio's own loops raise for what they
    cannot do; libraries that probe a loop expect it.
    """


class CodecError(DurableError):
    """A value could not make the trip to the database or back."""


class EncodeError(CodecError):
    """A value cannot be written. ``path`` leads to it, as in ``args[0].items[3]``."""

    def __init__(self, *, path: str, value: object, why: str) -> None:
        super().__init__(
            f"{path or 'the value'} is {shorten(value)} ({type(value).__qualname__}), "
            f"which cannot be recorded: {why}"
        )
        self.path = path
        self.value = value
        self.type = type(value).__qualname__
        self.why = why


class DecodeError(CodecError):
    """Recorded bytes cannot be read, or do not fit the annotation any more."""

    def __init__(self, *, expected: str, why: str) -> None:
        super().__init__(
            f"A recorded value does not fit {expected}: {why}. What was recorded must stay "
            "readable: a new field needs a default, and a name or a type must not change"
        )
        self.expected = expected
        self.why = why


class PayloadTooLarge(CodecError):
    """``what`` takes ``size`` bytes, more than the ``limit`` of one payload."""

    def __init__(self, *, what: str, size: int, limit: int) -> None:
        super().__init__(
            f"{what} takes {size:,} bytes; a payload may have {limit:,}. It is read again on "
            "every replay: keep it in object storage and record its address."
        )
        self.what = what
        self.size = size
        self.limit = limit


class PromiseRejected(DurableError):
    """Somebody has rejected a promise, with this message."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class TokenRefused(DurableError):
    """This token answers nothing: nothing here has made it, or its run has been removed."""

    def __init__(self) -> None:
        super().__init__(
            "The token was not made here, or was changed, or the run that made it has been "
            "removed: nothing was answered. Is it whole, and for this database?"
        )


class ActivityError(DurableError):
    """An activity failed for good: all its attempts did, or it must not be retried.

    ``type`` is the name of the class that was raised, ``traceback`` its text, ``attempts`` how
    often it was tried. ``cause`` is what it was raised from, or while handling what: a business
    error (``raises=``) as itself, another as an ``ActivityError`` that describes it.
    """

    def __init__(
        self,
        *,
        activity: str,
        type: str,
        message: str,
        attempts: int = 1,
        traceback: str = "",
        cause: BaseException | None = None,
    ) -> None:
        tries = "once" if attempts == 1 else f"{attempts} times"
        super().__init__(f"Activity {activity!r} failed, tried {tries}: {type}: {message}")
        self.activity = activity
        self.type = type
        self.message = message
        self.attempts = attempts
        self.traceback = traceback
        self.cause = cause
        if cause is not None:
            self.__cause__ = cause


class ActivityTimedOut(ActivityError):
    """An attempt passed a limit: ``timeout``, ``timeout_total`` or ``heartbeat_timeout``. Not a
    ``TimeoutError``: that one is ``asyncio.timeout``'s."""


class OutcomeUnknown(ActivityError):
    """An attempt began, its worker was lost, and nobody knows how the attempt ended: it may
    have acted or not. It is not run again, since its start was recorded (``record_start``, or
    ``Retry(attempts=1)``). Look whether it has acted, by its idempotency key, and go on."""

    def __init__(self, *, activity: str, message: str, **facts: Any) -> None:
        super().__init__(activity=activity, message=message, **facts)
        self.args = (f"Activity {activity!r} may have acted or not: {message}",)


class ChildError(DurableError):
    """A child run did not complete. ``id`` names it, ``status`` tells how it ended: ``failed``,
    ``cancelled``, ``terminated``, or ``refused`` if it was never begun. ``type`` is the name of the
    class that it raised, ``traceback`` its text; ``cause`` a ``ChildError``: raised from what."""

    def __init__(
        self,
        *,
        id: str,
        workflow: str,
        status: str,
        type: str = "",
        message: str = "",
        traceback: str = "",
        cause: BaseException | None = None,
    ) -> None:
        # Of many generations, each failed by the next, the last one says why.
        short = f"{message[:300]} ... {message[-500:]}" if len(message) > 1_000 else message
        what = f"failed: {type}: {short}" if status == "failed" else f"was {status}"
        why = f": {message}" if message and status != "failed" else ""
        super().__init__(f"Child {shorten(id)} ({workflow}) {what}{why}")
        self.id = id
        self.workflow = workflow
        self.status = status
        self.type = type
        self.message = message
        self.traceback = traceback
        self.cause = cause
        if cause is not None:
            self.__cause__ = cause


class ChildRefused(ChildError):
    """The child was not started: its id names another run, or runs begin each other without end.
    ``message`` says which."""


class RunError(DurableError):
    """A run did not complete. ``id`` names it."""

    def __init__(self, message: str, *, id: str) -> None:
        super().__init__(message)
        self.id = id


class RunFailed(RunError):
    """The workflow raised. ``type``, ``message`` and ``traceback`` tell what."""

    def __init__(self, *, id: str, type: str, message: str, traceback: str = "") -> None:
        super().__init__(
            f"Run {id!r} failed with {type}: {message.rstrip('.')}. Mend the reason, then "
            f"`durable retry {id}` goes on where it stood.",
            id=id,
        )
        self.type = type
        self.message = message
        self.traceback = traceback


class RunCancelled(RunError):
    """The run was asked to stop, and did. ``reason`` says why, if it was no request of yours:
    that its deadline has passed."""

    def __init__(self, *, id: str, reason: str | None = None) -> None:
        super().__init__(f"Run {id!r} was cancelled{f': {reason}' if reason else ''}.", id=id)
        self.reason = reason


class RunTerminated(RunError):
    """Somebody closed the run at once (``handle.terminate``, or a start with
    ``if_exists="replace"``: ``reason`` is then "replaced"); its code had no say."""

    def __init__(self, *, id: str, reason: str | None = None) -> None:
        why = f" ({reason})" if reason else ""
        super().__init__(f"Run {id!r} was terminated{why}; its code had no say.", id=id)
        self.reason = reason


class RunStuck(RunError):
    """No code here can continue the run. ``report`` says why; nothing is lost."""

    def __init__(self, *, id: str, report: str) -> None:
        super().__init__(
            f"Run {id!r} is stuck and keeps all it has: {report}\n"
            f"It goes on when fitting code is deployed, or after `durable retry {id}`; "
            f"`durable terminate {id}` closes it as it is.",
            id=id,
        )
        self.report = report


class RunNotFound(DurableError):
    """No run has this id, or none any more: closed runs may be deleted."""

    def __init__(self, *, id: str, where: str = "this database") -> None:
        super().__init__(f"There is no run with the id {id!r} in {where}.")
        self.id = id


class RunClosed(DurableError):
    """A message was sent to a run that is closed, or an update to one that closed before it has
    answered. ``.id``, ``.status``."""

    def __init__(self, *, id: str, status: str | None) -> None:
        super().__init__(
            f"Run {shorten(id)} is closed ({status}): it takes no messages, and answers none, any "
            "more. A new run of that id would: start it, if that is meant."
        )
        self.id = id
        self.status = status


class UpdateRejected(DurableError):
    """The update's check refused it, or its value does not fit: nothing has happened. ``type`` and
    ``message`` are those of what the check raised."""

    def __init__(self, *, id: str, update: str, type: str, message: str) -> None:
        super().__init__(f"Run {id!r} rejects update {update!r}: {type}: {message}")
        self.id = id
        self.update = update
        self.type = type
        self.message = message


class UpdateFailed(DurableError):
    """The update's handler raised: ``type``, ``message`` and ``traceback`` tell what. What it did
    before stays done, and the run goes on."""

    def __init__(
        self, *, id: str, update: str, type: str, message: str, traceback: str = ""
    ) -> None:
        super().__init__(f"Update {update!r} of run {id!r} failed with {type}: {message}")
        self.id = id
        self.update = update
        self.type = type
        self.message = message
        self.traceback = traceback


class RunExists(DurableError):
    """The id is taken, and ``if_exists`` (or an import, a fork: ``policy``) forbids to use it."""

    def __init__(self, *, id: str, status: str, policy: str) -> None:
        why = {
            "import": "so its history was not imported: take another database, or another schema",
            "fork": "so a fork cannot have it: give it another one",
        }.get(policy, f"and if_exists={policy!r} does not allow another. Use if_exists='use' to "
              "share it, or another id")  # fmt: skip
        super().__init__(f"The id {id!r} names a run that is {status}, {why}.")
        self.id, self.status, self.policy = id, status, policy


class IdReused(DurableError):
    """The id names a run of another workflow, or one with other arguments.

    ``path`` leads to what differs (``workflow``, ``args[0].items[3].price``); ``before`` is what
    the run has there, ``now`` what was given.
    """

    def __init__(self, *, id: str, path: str, before: object, now: object) -> None:
        super().__init__(
            f"The id {id!r} already names a run with another {path} (it was {shorten(before)}, "
            f"now {shorten(now)}). An id stands for one piece of work: use another id, "
            "compare=False to take the run as it is, or if_exists='replace' to drop it."
        )
        self.id, self.path, self.before, self.now = id, path, before, now


class RetryRefused(DurableError):
    """The run neither failed nor is stuck, or its id stands for another by now; ``why`` tells."""

    def __init__(self, *, id: str, why: str) -> None:
        super().__init__(f"Run {id!r} cannot be retried: {why}")
        self.id, self.why = id, why


class ForkRefused(DurableError):
    """A run cannot be forked at a position; ``why`` tells, and names a better one if there is."""

    def __init__(self, *, id: str, at: object, why: str) -> None:
        super().__init__(f"Run {id!r} cannot be forked at {at!r}: {why}. Nothing was written.")
        self.id, self.at, self.why = id, at, why


class WorkflowWarning(UserWarning):
    """Workflow code did by itself what only ``ctx`` does in the same way on each replay."""


class Evicted(BaseException):
    """A run leaves this process's memory; it is not over, and goes on elsewhere or later.

    Raised inside workflow code, so that ``finally`` may let go of what it holds here. What is
    asked of ``ctx`` then goes nowhere; an ``await`` raises this again. Not an ``Exception``:
    nothing that handles failures or cancellations must take it for one. Never catch it.
    """


_PATCH_IT = 'put the change behind `if ctx.patched("..."):`, and the old way into the else'
_KEEP_IT = 'keep it for the runs that have it, in the else of `if ctx.patched("..."):`'

# What a difference mostly comes from, and what to do about it, by its kind.
DIFFERENCES = {
    "step": ("a step was added, removed or moved before, or a branch goes another way", _PATCH_IT),
    "name": (
        "the function was renamed, or another step comes first now",
        'if it was renamed, keep its recorded name by @activity(name="..."); else ' + _PATCH_IT,
    ),
    "arguments": (
        "the arguments come of changed code, or of a clock, chance, a global, the order of a set",
        _PATCH_IT,
    ),
    "time": ("the sleep has another length, or one that comes from a clock", _PATCH_IT),
    "gone": ("the step was taken out, or comes later now", _KEEP_IT),
    "over": ("the code ends earlier: a step was taken out, or a branch is new", _KEEP_IT),
    "sent": (
        "a message, a child or a value shown was added, removed or moved, or a step before it",
        _PATCH_IT,
    ),
    "patch": (
        "the code was rolled back to before the patch, or the patch was taken out too early",
        "let code run that asks for the patch, or that says `ctx.retire_patch(...)`",
    ),
    "begun": ("an activity under way was taken out, or has other arguments", _KEEP_IT),
    "circle": ("the code polls around `asyncio.sleep(0)`", "wait for an event, or use ctx.sleep"),
    "journal": ("the journal was changed by hand", "look at it, and terminate the run if so"),
    "other": ("the code was changed while this run was open", _PATCH_IT),
}

# Of the whole turn, not of what its event answers; and where a fork would come to no other end.
_OF_TURNS, _NO_FORK = ("sent", "patch"), ("over", "circle", "journal")


class Divergence(DurableError):
    """The workflow code no longer asks for what its journal holds: its run is *stuck*.

    Attributes:
        position: of the event, in the journal.
        recorded, recorded_at: what the journal holds, and the line that asked for it then.
        asked, site: what the code asks for now, and at which line; or the line where it waits.
        kind: of the difference, a key of ``DIFFERENCES``.
        cause, advice: its likely cause, and what to do now.
    """

    def __init__(
        self,
        *,
        position: int,
        recorded: str,
        asked: str,
        kind: str = "other",
        site: str | None = None,
        recorded_at: str | None = None,
        whose: str = "ID MODULE",
    ) -> None:
        then = f", asked for at {recorded_at}" if recorded_at else ""
        now = f" at {site}" if site else ""
        self.cause, self.advice = DIFFERENCES[kind]
        fork = (
            ""
            if kind in _NO_FORK
            else "\nTo go on with the code as it is, in another run that shares the events before: "
            f"durable fork {whose} --at {position}"
        )
        super().__init__(
            f"At position {position} the journal holds {recorded}{then}; but the code now asks for "
            f"{asked}{now}.\nLikely cause: {self.cause}.\nWhat to do: {self.advice}. The run keeps "
            f"everything and goes on by itself when fitting code runs.{fork}"
        )
        self.position, self.kind = position, kind
        self.recorded, self.recorded_at = recorded, recorded_at
        self.asked, self.site = asked, site

    def seen(
        self,
        recorded_at: str | None,
        waits_for: str | None,
        waits_at: str | None,
        *,
        event: str = "",
        otherwise: str = "",
        whose: str = "ID MODULE",
    ) -> Divergence:
        """The same, with lines: of the journal, and where the code waits if it asks for nothing;
        with the event that began the turn, the argument that differs, and whom to fork."""
        recorded, asked, site = self.recorded, self.asked, self.site
        if self.kind in _OF_TURNS and event:
            recorded += f", after {event}" + (f" of {recorded_at}" if recorded_at else "")
            recorded_at = None
        if otherwise:
            recorded += f" ({otherwise})"
        if site is None and waits_at is not None:
            asked, site = f"{asked}; it waits for {waits_for}", waits_at
        return Divergence(position=self.position, recorded=recorded, asked=asked, kind=self.kind,
                          site=site, recorded_at=recorded_at, whose=whose)  # fmt: skip


class HistoryUnreadable(DurableError):
    """A file holds no histories, or not whole ones. ``source`` names it; ``line``, ``why``."""

    def __init__(self, *, source: str, line: int, why: str) -> None:
        super().__init__(
            f"{source}, line {line}: {why}. Histories are written by `durable export`, or by "
            "durable.testing.History.save; export them again."
        )
        self.source, self.line, self.why = source, line, why


class StoreError(DurableError):
    """The database said no."""


class StoreUnavailable(StoreError):
    """The database cannot be reached now. Nothing is known to be lost; try again."""


class ConfigurationError(StoreError):
    """The database can be reached, but cannot be used as it is: a wrong password, a read-only
    replica, a Postgres that is too old, a missing extra."""


class SchemaMismatch(StoreError):
    """The schema in the database and this code do not fit each other."""


class LeaseLost(StoreError):
    """This worker was declared dead; its runs belong to others now."""


class InternalError(DurableError):
    """Our fault. Please report it, with the traceback and the output of ``durable doctor``."""

    def __init__(self, message: str, **facts: Any) -> None:
        told = ", ".join(f"{name}={shorten(fact)}" for name, fact in facts.items())
        super().__init__(f"{message} [{told}] This is a bug in Durable; please report it.")
        self.facts = facts
