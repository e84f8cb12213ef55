"""What is done to runs: to those that are named, or to all that fit what is given.

Each run has an answer of its own, and one that is refused costs the others nothing. What all these
commands are given alike is a ``Chosen``; what one of them is given beside stands with it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from .connection import database_option, schema_option, with_client
from .filters import FILTERS, filter_options
from .output import (
    EXIT_DATABASE,
    EXIT_FAILED,
    EXIT_NOT_FOUND,
    as_json,
    clean,
    output_option,
    trouble,
)

if TYPE_CHECKING:
    from .. import Client, Done
    from ..errors import DurableError

Command = Callable[..., int]


class Chosen(NamedTuple):
    """Which runs are meant, in which database, and how to answer: by ids, or by filters."""

    dsn: str | None
    schema: str
    output: str
    ids: tuple[str, ...]
    filters: dict[str, Any]


def of_named(command: Command) -> Command:
    """A command that takes ids."""
    return _options(click.argument("ids", nargs=-1, required=True)(_gathered(command)))


def of_many(command: Command) -> Command:
    """A command that takes ids, or what ``durable list`` takes."""
    limit = click.option("--limit", type=click.IntRange(min=1),
                         help="not more than that, the youngest")  # fmt: skip
    ids = click.argument("ids", nargs=-1)
    return _options(filter_options(limit(ids(_gathered(command)))))


def _options(command: Command) -> Command:
    return database_option(schema_option(output_option(command)))


def _gathered(command: Command) -> Command:
    @functools.wraps(command)
    def run(dsn: str | None, schema: str, output: str, ids: tuple[str, ...], **given: Any) -> int:
        filters = {name: given.pop(name) for name in (*FILTERS, "limit") if name in given}
        wanted = {name: each for name, each in filters.items() if each is not None}
        return command(Chosen(dsn, schema, output, ids, wanted), **given)

    return run


@click.command()
@of_many
def retry_command(chosen: Chosen) -> int:
    """Let failed or stuck runs go on from where they stood; completed steps are not repeated.

    Give IDS, or options: `durable retry --workflow order --closed-since 2h` takes all that failed
    or are stuck; `durable list` shows them.

    Exit codes: 0 all of them, 1 some were refused, 4 no such run.
    """
    return _treat(chosen, "retry", "will be retried")


@click.command()
@of_many
def cancel_command(chosen: Chosen) -> int:
    """Ask runs to stop; their clean-up code runs. A paused one stops when it is resumed, a stuck
    one when fitting code runs: terminate it, if that is not to be.

    Give IDS, or options, as in `durable cancel --parent import-7`, for all open ones.

    Exit codes: 0 all of them, 1 some are closed, 4 no such run.
    """
    return _treat(chosen, "cancel", "is asked to stop")


@click.command()
@of_many
@click.option("--reason", help="why, for the journal and for whoever waits for the result")
def terminate_command(chosen: Chosen, reason: str | None) -> int:
    """Close runs at once, stuck ones too. Their code has no say: no clean-up runs.

    Give IDS, or options, as in `durable terminate --workflow crawl`, for all open ones.

    Exit codes: 0 all of them, 1 some are closed, 4 no such run.
    """
    return _treat(chosen, "terminate", "is terminated", reason)


@click.command()
@of_named
def restart_command(chosen: Chosen) -> int:
    """Begin runs anew, with the same arguments, under their ids. One that is open is terminated.
    What was done is done again; to go on from a failure there is `durable retry`."""
    return _treat(chosen, "restart", "begins anew")


@click.command()
@of_named
def pause_command(chosen: Chosen) -> int:
    """Let runs hold until they are resumed. Attempts under way end first; messages are kept."""
    return _treat(chosen, "pause", "holds")


@click.command()
@of_named
@click.option("--build", help="whose workers alone may take them; left out: any may again")
def pin_command(chosen: Chosen, build: str | None) -> int:
    """Let only workers of one build take runs up (`durable worker --build`), or any again."""
    done = "is for any worker" if build is None else f"is for workers of build {build}"
    return _treat(chosen, "pin", done, build)


@click.command()
@of_named
def resume_command(chosen: Chosen) -> int:
    """Let paused runs go on."""
    return _treat(chosen, "resume", "goes on")


def _treat(chosen: Chosen, verb: str, done: str, *given: Any) -> int:
    """Call the handle's method of that name, or the client's ``..._many``; tell what came of it."""
    ids, filters = chosen.ids, chosen.filters
    if bool(ids) == bool(filters.keys() - {"limit"}):
        raise click.UsageError(
            "give the ids of runs, or options that say which are meant: not both"
            if ids
            else f"say which runs: `durable {verb} ID ...`, or `durable {verb} --workflow NAME`"
        )

    async def use(client: Client) -> list[Done]:
        if ids:
            return await _named(client, ids, verb, *given)
        treated: list[Done] = await getattr(client, f"{verb}_many")(*given, **filters)
        return treated

    answers = with_client(chosen.dsn, chosen.schema, use)
    if chosen.output == "json":
        click.echo(as_json([{"id": each.id, "done": each.error is None, "why": each.error}
                            for each in answers]))  # fmt: skip
    else:
        _print(answers, done)
    return _exit_code([each.error for each in answers if each.error is not None])


def _print(answers: Sequence[Done], done: str) -> None:
    for each in answers:
        if each.error is None:
            click.echo(f"{clean(each.id)} {done}.")
        else:
            trouble(each.error, EXIT_FAILED)
    if not answers:
        click.echo("No runs.")


async def _named(client: Client, ids: Sequence[str], verb: str, *given: Any) -> list[Done]:
    from .. import Done
    from ..errors import DurableError, InvalidCall, StoreError

    answers: list[Done] = []
    for id in ids:
        try:
            done = await getattr(client.handle(id), verb)(*given) is not False
            answers.append(
                Done(id, None if done else InvalidCall(f"Run {id!r} was closed already."))
            )
        except StoreError as error:  # those after it are not even tried
            return [*answers, Done(id, error)]
        except DurableError as error:
            answers.append(Done(id, error))
    return answers


def _exit_code(errors: Sequence[DurableError]) -> int:
    from ..errors import RunNotFound, StoreError

    if not errors:
        return 0
    if any(isinstance(each, StoreError) for each in errors):
        return EXIT_DATABASE
    return EXIT_NOT_FOUND if all(isinstance(e, RunNotFound) for e in errors) else EXIT_FAILED
