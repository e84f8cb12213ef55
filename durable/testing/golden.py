"""``assert_replays``: recorded histories, kept beside the tests, against the code at hand."""

from __future__ import annotations

import glob
import linecache
from collections.abc import Callable, Iterable, Iterator
from os import PathLike, fspath
from typing import Any

from .._authoring.definitions import Definition
from .._histories import History
from .._replaying import Replayed, definition_of, told
from .._replaying import replay as _replay
from .._runtime.versions import differing
from ..errors import Divergence, DurableError, InvalidCall, shorten
from . import courses

# Of the journal, so many events stand above the one at which code and journal part.
EVENTS_BEFORE = 3


def assert_replays(
    *sources: str | PathLike[str] | History, workflow: Callable[..., Any] | None = None
) -> int:
    """Replay recorded histories against the code at hand, and fail with all that do not fit.

    Args:
        sources: files of histories, as ``durable export`` and ``History.save`` write them, patterns
            of files (``tests/histories/*.jsonl``), or histories.
        workflow: as of :func:`replay`.

    Returns:
        How many were replayed.

    Raises:
        AssertionError: some do not fit; for each, the journal beside what the code asks for.
        HistoryUnreadable: a file holds something else.
        FileNotFoundError, InvalidCall: no file fits a pattern, or there is no history in any: a
            test of nothing would pass for ever.

    Example:
        def test_open_runs_go_on() -> None:
            assert_replays("tests/histories/*.jsonl")
    """
    __tracebackhide__ = True
    count = 0
    misfits: dict[Any, list[str]] = {}  # by what they differ in: the first whole, others by name
    for history, source in _histories(sources):
        count += 1
        try:
            _replay(history, workflow)
        except DurableError as error:
            alike = misfits.setdefault(_place(history, error), [])
            whole = compared(history, error, source, workflow)
            alike.append(f"Likewise: {whole.splitlines()[0]}" if alike else whole)
    if misfits:
        unfit = sum(map(len, misfits.values()))
        heading = f"{unfit} of {count} recorded histories do not fit the code at hand."
        raise AssertionError("\n\n".join([heading, *map("\n".join, misfits.values())]))
    if not count:
        raise InvalidCall("There is no history in what was given: this test could never fail.")
    return count


def _place(history: History, error: DurableError) -> tuple[Any, ...]:
    """Where code and journal part: told once, however many runs stand there."""
    if isinstance(error, Divergence):
        return history.workflow, error.position, error.kind, error.site
    return history.workflow, str(error)


def replay(history: History, workflow: Callable[..., Any] | None = None) -> Replayed:
    _check_history(history)
    try:
        return _replay(history, workflow)
    except Divergence as error:
        error.add_note("\n".join([*_events(history, error),
                                  *_asked(error, definition_of(history, workflow))]))  # fmt: skip
        raise


replay.__doc__ = _replay.__doc__


def _check_history(given: object) -> None:
    if not isinstance(given, History):
        raise InvalidCall(
            f"replay() takes a History, and {shorten(given)} is none: History.load(path) reads "
            "them, `.history` is that of a Recording."
        )


def _histories(sources: Iterable[Any]) -> Iterator[tuple[History, str | None]]:
    for source in sources:
        if isinstance(source, History):
            yield source, None
            continue
        paths = sorted(glob.glob(fspath(source), recursive=True))  # noqa: PTH207 - it is a pattern
        if not paths:
            raise FileNotFoundError(
                f"No file fits {fspath(source)!r}. Where it is looked for: the working directory, "
                "unless it is an absolute path."
            )
        for path in paths:
            for history in History.load(path):
                yield history, path


def compared(
    history: History,
    error: DurableError,
    source: str | None = None,
    workflow: Callable[..., Any] | None = None,
) -> str:
    """Journal and code side by side, where they part."""
    where = f", from {source}" if source else ""
    lines = [f"{history}{where}"]
    if isinstance(error, Divergence):
        lines += _events(history, error)
        lines += _asked(error, definition_of(history, workflow))
        lines += [f"Likely cause: {error.cause}.", f"What to do: {error.advice}."]
        lines.append(differing(history.versions).strip())
    else:
        lines.append(told(error, history))
    return "\n".join(lines).rstrip()


def _events(history: History, error: Divergence) -> Iterator[str]:
    fed = [row for row in history.fed if row.position <= error.position]
    if len(fed) > EVENTS_BEFORE + 1:
        yield "            ..."
    for row in fed[-EVENTS_BEFORE - 1 :]:
        mark = "-" if row.position == error.position else " "
        yield f"  {mark} {row.position:>6}  {courses.told(row)}"
    if error.position >= len(history.events):
        yield f"  - {error.position:>6}  {error.recorded}"


def _asked(error: Divergence, definition: Definition) -> Iterator[str]:
    site = f"  [{error.site}]" if error.site else ""
    yield f"  +   code  {error.asked}{site}"
    line = _line(error.site, definition)
    if line:
        yield f"            {line}"


def _line(site: str | None, definition: Definition) -> str:
    """The source of a line in the workflow's own file; of others only the name is known."""
    if not site:
        return ""
    file = definition.fn.__code__.co_filename
    name, _, number = site.rpartition(":")
    is_own = file.endswith(("/" + name, "\\" + name)) and number.isdecimal()
    return linecache.getline(file, int(number)).strip() if is_own else ""
