"""``durable stack``: where the code of a run stands, from a replay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..errors import InvalidCall
from .modules import users_code
from .output import as_json, clean, output_option
from .recorded import found, recorded_run

if TYPE_CHECKING:
    from .._stacks import Frame, Stack
    from ..testing import History


@click.command()
@recorded_run
@output_option
@click.option("--locals", "shows_locals", is_flag=True, help="with the local variables of each")
@click.option("--all", "shows_all", is_flag=True, help="with the coroutines of asyncio and Durable")
def stack_command(
    id: str,
    modules: tuple[str, ...],
    dsn: str | None,
    schema: str,
    file: str | None,
    output: str,
    shows_locals: bool,
    shows_all: bool,
) -> None:
    """Show where an open run stands: each of its tasks, what it waits for, and its lines; and what
    else is open: the timer of a timeout, what a gather waits for.

    The run is replayed here, with the code of MODULES (as in `durable stack order-42 shop.orders`).
    Needs no live worker, runs no activity, writes nothing.
    """
    from .._replaying import Copy
    from .._stacks import stacks

    history = found(id, modules, dsn, schema, file)
    check_open(history)
    with Copy(history) as copy:
        with users_code():
            for row in history.fed:
                copy.feed(row)
            copy.end()
        tasks = stacks(copy.instance.replayer)
        ops = {each.op for each in tasks}
        others = [each for each in copy.waits() if each.op not in ops]
        if output == "json":
            facts = _facts(history, tasks, shows_all=shows_all, locals=shows_locals)
            also = [{"op": each.op, "what": each.what, "site": each.site} for each in others]
            click.echo(as_json({**facts, "also_open": also}))
            return
        click.echo(clean(str(history)))
        for each in tasks:
            _print(each, shows_all=shows_all, shows_locals=shows_locals)
        for other in others:
            click.echo(clean(f"also open: {other.what}, asked for at {other.site}"))


def check_open(history: History) -> None:
    """
    Raises:
        InvalidCall: the code of the run stands nowhere.
    """
    if history.closed_at is not None:
        raise InvalidCall(
            f"Run {history.id!r} is closed ({history.status}): its code stands nowhere any more. "
            f"`durable debug {history.id} MODULES --to POSITION` shows where it stood."
        )
    if not history.events:
        raise InvalidCall(f"Run {history.id!r} has not begun: its code stands nowhere yet.")


def _print(stack: Stack, *, shows_all: bool, shows_locals: bool) -> None:
    click.echo(clean(f"{stack.task} waits for {stack.waits_for}"))
    for frame in stack.frames if shows_all else stack.own:
        click.echo(clean(f"  {frame.file}:{frame.line}, in {frame.function}"))
        if frame.source:
            click.echo(clean(f"    {frame.source}"))
        if shows_locals:
            for name, value in frame.locals.items():
                click.echo(clean(f"      {name} = {value}"))


def _facts(
    history: History, tasks: list[Stack], *, shows_all: bool, locals: bool
) -> dict[str, Any]:
    def told(frame: Frame) -> dict[str, Any]:
        facts = {"file": frame.file, "line": frame.line, "function": frame.function,
                 "source": frame.source}  # fmt: skip
        return {**facts, "locals": frame.locals} if locals else facts

    return {
        "id": history.id,
        "workflow": history.workflow,
        "status": history.status,
        "events": len(history.events),
        "tasks": [
            {"task": each.task, "waits_for": each.waits_for, "op": each.op,
             "frames": [told(frame) for frame in (each.frames if shows_all else each.own)]}
            for each in tasks
        ],
    }  # fmt: skip
