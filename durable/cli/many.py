"""What is done to runs: to those that are named, or to all that fit what is given.

Each run has an answer of its own, and one that is refused costs the others nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from .connection import database_option, schema_option, with_client
from .filters import filter_options
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


@click.command()
@database_option
@schema_option
@output_option
@filter_options
@click.option("--limit", type=click.IntRange(min=1), help="not more than that, the youngest")
@click.argument("ids", nargs=-1)
def retry_command(
    dsn: str | None, schema: str, output: str, ids: tuple[str, ...], **filters: Any
) -> int:
    """Let failed or stuck runs go on from where they stood; completed steps are not repeated.

    Give IDS, or options: `durable retry --workflow order --closed-since 2h` takes all that failed
    or are stuck; `durable list` shows them.

    Exit codes: 0 all of them, 1 some were refused, 4 no such run.
    """
    return _treat(dsn, schema, output, "retry", "will be retried", ids, filters)


@click.command()
@database_option
@schema_option
@output_option
@filter_options
@click.option("--limit", type=click.IntRange(min=1), help="not more than that, the youngest")
@click.argument("ids", nargs=-1)
def cancel_command(
    dsn: str | None, schema: str, output: str, ids: tuple[str, ...], **filters: Any
) -> int:
    """Ask runs to stop; their clean-up code runs. A paused one stops when it is resumed, a stuck
    one when fitting code runs: terminate it, if that is not to be.

    Give IDS, or options, as in `durable cancel --parent import-7`, for all open ones.

    Exit codes: 0 all of them, 1 some are closed, 4 no such run.
    """
    return _treat(dsn, schema, output, "cancel", "is asked to stop", ids, filters)


@click.command()
@database_option
@schema_option
@output_option
@filter_options
@click.option("--limit", type=click.IntRange(min=1), help="not more than that, the youngest")
@click.option("--reason", help="why, for the journal and for whoever waits for the result")
@click.argument("ids", nargs=-1)
def terminate_command(
    dsn: str | None, schema: str, output: str, reason: str | None, ids: tuple[str, ...],
    **filters: Any,
) -> int:  # fmt: skip
    """Close runs at once, stuck ones too. Their code has no say: no clean-up runs.

    Give IDS, or options, as in `durable terminate --workflow crawl`, for all open ones.

    Exit codes: 0 all of them, 1 some are closed, 4 no such run.
    """
    return _treat(dsn, schema, output, "terminate", "is terminated", ids, filters, reason)


@click.command()
@database_option
@schema_option
@output_option
@click.argument("ids", nargs=-1, required=True)
def restart_command(dsn: str | None, schema: str, output: str, ids: tuple[str, ...]) -> int:
    """Begin runs anew, with the same arguments, under their ids. One that is open is terminated.
    What was done is done again; to go on from a failure there is `durable retry`."""
    return _treat(dsn, schema, output, "restart", "begins anew", ids, {})


@click.command()
@database_option
@schema_option
@output_option
@click.argument("ids", nargs=-1, required=True)
def pause_command(dsn: str | None, schema: str, output: str, ids: tuple[str, ...]) -> int:
    """Let runs hold until they are resumed. Attempts under way end first; messages are kept."""
    return _treat(dsn, schema, output, "pause", "holds", ids, {})


@click.command()
@database_option
@schema_option
@output_option
@click.option("--build", help="whose workers alone may take them; left out: any may again")
@click.argument("ids", nargs=-1, required=True)
def pin_command(
    dsn: str | None, schema: str, output: str, build: str | None, ids: tuple[str, ...]
) -> int:
    """Let only workers of one build take runs up (`durable worker --build`), or any again."""
    done = "is for any worker" if build is None else f"is for workers of build {build}"
    return _treat(dsn, schema, output, "pin", done, ids, {}, build)


@click.command()
@database_option
@schema_option
@output_option
@click.argument("ids", nargs=-1, required=True)
def resume_command(dsn: str | None, schema: str, output: str, ids: tuple[str, ...]) -> int:
    """Let paused runs go on."""
    return _treat(dsn, schema, output, "resume", "goes on", ids, {})


def _treat(
    dsn: str | None,
    schema: str,
    output: str,
    verb: str,
    done: str,
    ids: Sequence[str],
    filters: dict[str, Any],
    *given: Any,
) -> int:
    wanted = {name: each for name, each in filters.items() if each is not None}
    if bool(ids) == bool(wanted.keys() - {"limit"}):
        raise click.UsageError(
            "give the ids of runs, or options that say which are meant: not both"
            if ids
            else f"say which runs: `durable {verb} ID ...`, or `durable {verb} --workflow NAME`"
        )

    async def use(client: Client) -> list[Done]:
        if ids:
            return await _named(client, ids, verb, *given)
        treated: list[Done] = await getattr(client, f"{verb}_many")(*given, **wanted)
        return treated

    answers = with_client(dsn, schema, use)
    if output == "json":
        click.echo(as_json([{"id": each.id, "done": each.error is None, "why": each.error}
                            for each in answers]))  # fmt: skip
    else:
        for each in answers:
            if each.error is None:
                click.echo(f"{clean(each.id)} {done}.")
            else:
                trouble(each.error, EXIT_FAILED)
        if not answers:
            click.echo("No runs.")
    return _exit_code([each.error for each in answers if each.error is not None])


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
