"""``durable debug``: a recorded run, replayed here under a debugger."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from ..errors import DurableError, InvalidCall
from .output import EXIT_FAILED, clean, clean_lines
from .recorded import found, recorded_run

if TYPE_CHECKING:
    from .._replaying import Copy
    from .._stacks import Stack
    from ..testing import History


@click.command()
@recorded_run
@click.option("--to", type=int, metavar="POSITION",
              help="replay up to there, and stop where the code waits then")  # fmt: skip
@click.option("--break", "breaks", multiple=True, metavar="FILE:LINE",
              help="stop there; may be given again")  # fmt: skip
@click.option("--locals", "shows_locals", is_flag=True,
              help="no debugger: print the local variables wherever the code waits")  # fmt: skip
@click.option("--pdbcls", metavar="MODULE:CLASS", help="a debugger of pdb's kind  [default: pdb]")
def debug_command(
    id: str,
    modules: tuple[str, ...],
    dsn: str | None,
    schema: str,
    file: str | None,
    to: int | None,
    breaks: tuple[str, ...],
    shows_locals: bool,
    pdbcls: str | None,
) -> int:
    """Replay a recorded run under a debugger, with the code of MODULES (as in
    `durable debug order-42 shop.orders --to 17`).

    Stops at the workflow's first line, unless --to or --break say where else, and at each
    `breakpoint()` in its code. Where it has stopped, `tasks` and `task NAME` show its tasks. The
    run itself learns nothing of it: no activity runs, nothing is written.

    PYTHONBREAKPOINT=0: without a debugger of its own, for one that is attached already.
    """
    from .._replaying import Copy, told
    from . import debugger

    history = found(id, modules, dsn, schema, file)
    check_position(history, to)
    with Copy(history) as copy:
        if shows_locals:
            return _walk(copy, to)
        debugger.check_source(copy)
        used = None
        if os.environ.get("PYTHONBREAKPOINT") != "0" or pdbcls:
            used = debugger.made(pdbcls or debugger.DEFAULT, copy)
            debugger.set_breaks(used, copy, breaks)
        session = debugger.Session(copy, used)
        session.run(to, waits_for_break=bool(breaks))
        if session.misfit is not None:
            return EXIT_FAILED
        try:
            if not session.is_over:
                click.echo(clean(str(copy.end())))
        except DurableError as error:
            click.echo(clean_lines(f"durable: {told(error, history)}"), err=True)
            return EXIT_FAILED
    return 0


def check_position(history: History, to: int | None) -> None:
    """
    Raises:
        InvalidCall: there is no such position.
    """
    if not history.events:
        raise InvalidCall(f"Run {history.id!r} has not begun: there is nothing to replay.")
    last = len(history.events) - 1
    if to is not None and not 0 <= to <= last:
        raise InvalidCall(f"Run {history.id!r} has no position {to}: its journal ends at {last}.")


def _walk(copy: Copy, to: int | None) -> int:
    """Print where the code waits after each event, and with what."""
    from .._replaying import told
    from .._stacks import stacks
    from ..testing.courses import told as event_line

    for row in copy.history.fed:
        if to is not None and row.position > to:
            return 0
        click.echo(clean(f"{row.position:>4}  {event_line(row)}"))
        try:
            copy.feed(row)
        except DurableError as error:
            click.echo(clean_lines(f"durable: {told(error, copy.history)}"), err=True)
            return EXIT_FAILED
        for each in stacks(copy.instance.replayer):
            _print(each)
    if copy.outcome is not None:
        click.echo(clean(str(copy.end())))
    return 0


def _print(stack: Stack) -> None:
    if not stack.own:
        return
    frame = stack.own[-1]
    click.echo(clean(f"      {stack.task} waits for {stack.waits_for}"))
    click.echo(clean(f"        {frame.file}:{frame.line}, in {frame.function}: {frame.source}"))
    for name, value in frame.locals.items():
        click.echo(clean(f"          {name} = {value}"))
