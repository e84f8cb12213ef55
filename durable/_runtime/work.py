"""One op that is being worked on, and what may become of an attempt at it.

Facts and small judgements; nothing here begins, waits or ends anything.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol, TypeAlias

import msgspec

from .._authoring import attempts as authoring
from .._authoring.context import Call
from .._codec.failures import decode_failure, encode_failure, rebuild
from .._core import commands
from .._core.retries import verdict
from .._store.protocol import Note
from ..errors import CodecError, DecodeError, shorten
from . import threads
from .arrivals import Result
from .instance import Instance
from .limits import TimedOut
from .rows import to_error
from .streaming import Publisher

log = logging.getLogger("durable.activity")

_nths = itertools.count(1)  # of this process's notes, whatever it is called as a worker

Task: TypeAlias = "asyncio.Task[None]"


class Disowned(Exception):
    """The run is not this worker's any more: no attempt at its ops may begin or count here."""


class Unfit(Exception):
    """What is recorded does not fit this code: the run is stuck until other code comes."""


class Vanished(Exception):
    """An attempt whose start was recorded was lost with its worker."""


class Unrecordable(CodecError):
    """What an activity was given or has returned cannot make the trip. Another attempt would
    end the same way, or act twice."""


_KINDS: dict[type[BaseException], str] = {TimedOut: "timed_out", Vanished: "unknown"}


class Work(msgspec.Struct, eq=False):
    """One op, and all its attempts, one after another. One is made per step, so it is made in C."""

    key: tuple[int, int]  # run and op
    instance: Instance
    command: commands.Run
    call: Call
    stir: Callable[[Work], None]  # from any thread: it has published something
    number: int = 0  # of the attempt under way, or the last one; 0: none is known
    may_have_run: bool = False  # before the first attempt of this process
    pause: float | None = None  # seconds to wait before the next attempt
    since: datetime | None = None  # the first attempt began, as far as is known
    began_at: datetime | None = None  # this attempt did, as far as is known
    deadline: datetime | None = None  # of this attempt
    failure: bytes | None = None  # of the attempt before
    details: bytes | None = None  # of the latest heartbeat
    heard_at: datetime | None = None  # when a heartbeat was last seen
    has_beaten: bool = False  # since then
    scope: asyncio.Timeout | None = None  # around the attempt, if it has limits
    over: TimedOut | None = None  # what it fails with when that expires
    noted: Note | None = None  # the latest that was noted
    vanished: Vanished | None = None  # nobody knows how the last attempt ended
    waits: bool = False  # for its turn, or between two attempts
    abandoned: bool = False  # nobody waits for it any more
    is_doubted: bool = False  # the database took its run for another worker's
    stopped: bool = False  # the attempt under way passed a limit; its thread may go on
    task: Task | None = None
    thread: threads.Call | None = None  # of this attempt, or of one that was stopped
    publisher: Publisher | None = None  # once it has published something
    before: Work | None = None  # an older work for the same op, which has not ended

    @property
    def facts(self) -> dict[str, Any]:
        """What log lines about it carry."""
        return {**self.instance.facts, "activity": self.command.name, "attempt": self.number}

    def is_for(self, command: commands.Run) -> bool:
        """Whether its result will answer the command."""
        mine = self.command
        return mine.digest == command.digest and mine.name == command.name and not self.abandoned

    def begin_attempt(self) -> None:
        self.number += 1
        self.waits = False
        if self.publisher is not None:
            self.publisher.begin(self.number)

    def attempt(self) -> authoring.Attempt:
        """What ``durable.attempt()`` tells the activity."""
        seed, name, digest = self.instance.seed, self.command.name, self.command.digest
        return authoring.Attempt(
            id=self.instance.id,
            activity=name,
            number=self.number,
            deadline=self.deadline,
            may_have_run=self.may_have_run or self.number > 1,
            _details=self.details,
            _key=lambda: authoring.idempotency_key(seed, name, digest, self.call.nth),
            _cancelled=lambda: self.abandoned or self.stopped,
            _beat=self._beat,
            _publish=self._publish,
        )

    def _beat(self, details: bytes | None) -> None:
        """From any thread."""
        self.has_beaten = True
        if details is not None:
            self.details = details

    def _publish(self, name: str, value: bytes) -> None:
        """From any thread."""
        if self.abandoned or self.stopped:
            return  # nobody waits for it any more
        if self.publisher is None:
            may_have_run = self.may_have_run or self.number > 1
            self.publisher = Publisher(
                lambda: self.stir(self), number=self.number, may_have_run=may_have_run
            )
        self.publisher.publish(name, value)

    # Across processes

    def resume(self, found: Note | None, now: datetime) -> None:
        """Go on after what an earlier owner of the run has noted, if anything."""
        self.may_have_run = True
        if found is None:
            return
        self.number, self.since, self.details = found.attempt, found.since, found.details
        self.failure, self.pause, self.noted = found.failure, 0.0, found
        if found.next_at is not None:
            self.pause = max(0.0, (found.next_at - now).total_seconds())
        elif self.call.definition.options.records_start:
            self.vanished = Vanished(
                f"attempt {found.attempt} began at {found.began_at:%Y-%m-%d %H:%M:%S} UTC, and its "
                "worker was lost before it recorded how it ended"
            )

    def note(self, now: datetime, *, number: int, next_at: datetime | None = None) -> Note:
        """How it stands, to be written by the run's next commit."""
        self.since, self.began_at = self.since or now, self.began_at or now
        asked = self.command
        self.noted = Note(
            asked.op, asked.name, asked.digest, number, self.since, self.began_at,
            self.failure, next_at, self.details, next(_nths),
        )  # fmt: skip
        return self.noted

    # Its end

    @property
    def live_thread(self) -> threads.Call | None:
        """The thread of this attempt, or of one that was stopped and goes on."""
        return None if self.thread is None or self.thread.ended.done() else self.thread

    def endings(self) -> list[asyncio.Future[Any]]:
        """What of it goes on, with what came before it for the same op."""
        thread, before = self.live_thread, self.before
        own = [] if self.task is None or self.task.done() else [self.task]
        return [*own, *([thread.ended] if thread else []), *(before.endings() if before else [])]

    def where(self) -> str:
        """The line where its thread stands; of a coroutine, where it is defined."""
        place = self.call.definition.place
        thread = self.live_thread
        return thread.line(place.rpartition(":")[0]) if thread else place


class Runner(Protocol):
    """Runs one attempt of one kind of work and returns its value, encoded and as decoded."""

    async def __call__(self, work: Work) -> tuple[bytes, Any]: ...


def failure_of(work: Work, error: BaseException) -> bytes:
    attempts, raises = max(1, work.number), work.call.definition.options.raises
    if is_answer(error, raises):
        payload = encode_failure(error, attempts=attempts, kind="answer")
        if rebuild(decode_failure(payload), raises) is not None:
            return payload
    return encode_failure(error, attempts=attempts, kind=_KINDS.get(type(error), "raised"))


def failed(work: Work, error: BaseException) -> Result:
    """What answers an op to which no other attempt is made."""
    payload = failure_of(work, error)
    seen = to_error(work.command.name, decode_failure(payload), work.call.definition)
    return Result(work.command.op, None, None, seen, payload)


def is_answer(error: BaseException, raises: tuple[type[BaseException], ...]) -> bool:
    """Whether it is a business error, or a group of nothing else."""
    if isinstance(error, raises):
        return True
    return bool(raises) and isinstance(error, BaseExceptionGroup) and not error.split(raises)[1]


def is_retryable(error: BaseException, retry_if: Callable[[Exception], bool] | None) -> bool:
    """Whether another attempt makes sense. A ``retry_if`` that fails itself has no say: a
    needless attempt costs less than a lost one."""
    if isinstance(error, Unrecordable) or not isinstance(error, Exception):
        return False
    try:
        return retry_if is None or bool(retry_if(error))
    except Exception:
        log.exception("retry_if failed on %s; the activity is tried again", type(error).__name__)
        return True


def tell_failed(work: Work, error: BaseException, *, next_in: float | None) -> None:
    """The one line about a failed attempt; ``next_in``: seconds until the next."""
    then = "giving up" if next_in is None else f"trying again in {next_in:.1f} s"
    if work.live_thread:
        then += f"; its thread goes on, at {work.where()}, and keeps its slot"
        then += "" if next_in is None else ": there is no other attempt before it has ended"
    log.warning(
        "activity %r of run %r failed in attempt %d (%s: %s); %s",
        work.command.name,
        work.instance.id,
        work.number,
        type(error).__name__,
        error,
        then,
        exc_info=None if isinstance(error, Unrecordable) else error,  # no frame of theirs is in it
        extra={**work.facts, "error": type(error).__name__, "next_in": next_in},
    )


def next_in(work: Work, error: BaseException, *, chance: float, left: float | None) -> float | None:
    """Seconds until the next attempt; None if there is none. ``left`` is what remains of the time
    for all of them."""
    options = work.call.definition.options
    business = is_answer(error, options.raises)
    retryable = not business and is_retryable(error, options.retry.retry_if)
    pause = verdict(options.retry, work.number, retryable=retryable, chance=chance, left=left)
    if not business:  # a business error is an answer, not an accident
        tell_failed(work, error, next_in=pause)
    return pause


def arguments(call: Call) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """
    Raises:
        Unrecordable: they do not fit the annotations.
    """
    if call.args is not None:
        return call.args, {}
    try:
        return call.definition.signature.decode_call(call.input)
    except DecodeError as error:
        raise Unrecordable(
            f"nothing was called: an argument does not fit {error.expected}: {error.why}"
        ) from error


def encoded(signature: Any, value: Any) -> tuple[bytes, Any]:
    """The value as it is recorded, and as the workflow will see it on every replay.

    Raises:
        Unrecordable: it cannot make the trip. The activity has acted, so it is not tried
            again: the run learns of it as a failure.
    """
    try:
        payload: bytes
        payload, seen = signature.record_result(value)
        return payload, seen
    except DecodeError as error:
        raise Unrecordable(
            f"the activity returned {shorten(value)}, which does not fit its annotation "
            f"{error.expected}: {error.why}"
        ) from error
    except CodecError as error:
        raise Unrecordable(f"the activity returned what cannot be recorded: {error}") from error
