"""``crash_everywhere``: one workflow again and again, whose worker dies at another moment each
time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from .._client.handle import Handle
from .._core.statuses import Status
from .._store.protocol import JournalRow
from ..errors import InternalError, RunError
from . import courses
from .courses import Course, End
from .crashing import Moment, Written
from .passage import Stalled

if TYPE_CHECKING:
    from .environment import Environment

R = TypeVar("R")

ID = "crash-everywhere"


@dataclass(frozen=True, slots=True)
class Survived(Generic[R]):
    """A workflow that came to the same, wherever its worker died.

    Attributes:
        result: what it returned; None if it did not complete.
        status: how it ended.
        crashes: at how many moments the worker died, one in each repetition.
    """

    result: R
    status: Status
    crashes: int


class CrashDifference(AssertionError):
    """A crash at one moment led to something else than no crash.

    Attributes:
        moment: when the worker died, in words.
        position: where the journal goes another way, or None.
        without, with_crash: how the run ended, without a crash and with this one.
    """

    def __init__(
        self, *, moment: str, difference: str, position: int | None, without: str, with_crash: str
    ) -> None:
        ends = (
            f"With and without it, the run {without}."
            if without == with_crash
            else f"Without a crash the run {without}; with it, it {with_crash}."
        )
        super().__init__(f"The worker died {moment}. {ends}\n{difference}")
        self.moment = moment
        self.position = position
        self.without = without
        self.with_crash = with_crash


class Run(NamedTuple):
    """What came of one time."""

    course: Course
    written: list[Written]  # commit by commit
    ids: dict[int, str]  # of the runs, by their keys
    has_died: bool  # the worker, at the moment


class Trial(Generic[R]):
    """One workflow, and how it is to be run each time: ``begin`` makes an environment that dies at
    a moment, ``meanwhile`` plays the world, ``check`` says what must hold."""

    def __init__(
        self,
        begin: Callable[[Moment | None], Environment],
        workflow: Any,
        args: tuple[Any, ...],
        meanwhile: Callable[[Environment, Handle[R]], Awaitable[object]] | None,
        check: Callable[[Environment, Handle[R]], Awaitable[object]] | None,
    ) -> None:
        self._begin = begin
        self._workflow = workflow
        self._args = args
        self._meanwhile = meanwhile
        self._check = check

    async def survive(self) -> Survived[R]:
        first = await self._run(None)
        end = first.course.end
        if end.status == "stalled":
            raise Stalled(waits=[end.failure or ""])
        crashes = 0
        for commit in first.written:
            for moment in commit.moments():
                when = _when(moment, commit, first.ids)
                crashes += await self._survives(first.course, moment, when)
        result: Any = end.result
        return Survived(result, Status(end.status), crashes)

    async def _survives(self, first: Course, moment: Moment, when: str) -> bool:
        """Whether the worker died: what runs for real may take another course before."""
        try:
            other, _, _, has_died = await self._run(moment)
        except Exception as error:
            error.add_note(f"The worker had died {when}.")
            raise
        if self._check is None and (found := courses.difference(first, other)) is not None:
            raise CrashDifference(
                moment=when, difference=found.text, position=found.position,
                without=str(first.end), with_crash=str(other.end),
            )  # fmt: skip
        return has_died

    async def _run(self, moment: Moment | None) -> Run:
        async with self._begin(moment) as environment:
            handle: Handle[R] = await environment.start(self._workflow, *self._args, id=ID)
            if self._meanwhile is not None:
                await self._meanwhile(environment, handle)
            end = await _end(handle)
            await environment.advance()  # what was begun besides comes to rest
            if self._check is not None:
                await self._check(environment, handle)
            course, ids = await _course(environment, end)
            journal = environment._crashing
            if journal is None:
                raise InternalError("nothing was counted in a trial")
            return Run(course, list(journal.written), ids, journal.is_over)


async def _end(handle: Handle[Any]) -> End:
    try:
        return End("completed", await handle.result())
    except Stalled as error:
        return End("stalled", failure="; ".join(error.waits))
    except RunError as error:
        return End((await handle.status()).value, failure=str(error))


async def _course(environment: Environment, end: End) -> tuple[Course, dict[int, str]]:
    runs = [(each.run, each.id) async for each in environment.list(order="oldest")]
    rows: defaultdict[int, list[JournalRow]] = defaultdict(list)
    for row in await environment.store.journal.read([(run, 0) for run, _ in runs]):
        rows[row.run].append(row)
    journals: dict[tuple[str, int], list[JournalRow]] = {}
    for run, id in runs:
        nth = sum(1 for known, _ in journals if known == id)
        journals[id, nth] = rows[run]
    calls = {call.key: (name, call) for name, call in environment._cast.known()}
    return Course(end, journals, calls), dict(runs)


def _when(moment: Moment, commit: Written, ids: dict[int, str]) -> str:
    """When the worker dies, as the end of a sentence."""
    if commit.ops and not commit.rows:
        what = f"a note on the attempts of op {', '.join(map(str, commit.ops))}"
    elif not commit.rows:
        what = "a note on what is waited for"
    elif len(commit.rows) == 1:
        what = f"position {commit.rows[0].position} ({courses.told(commit.rows[0])})"
    else:
        last = commit.rows[-1]
        what = f"positions {commit.rows[0].position} to {last.position} ({courses.told(last)})"
    of = f" of run {ids.get(moment.run, '?')!r}"
    if moment.when == "after":
        return f"when {what}{of} was written, and nobody had been told"
    return f"when {what}{of} was known, and before it was written"
