"""``durable worker``: a process that works on the runs of the modules it is given."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import uuid4

import click

from .connection import database_option, found_database, schema_option
from .modules import imported
from .output import as_json, output_option

# Beyond twice its grace a worker has this long to hand its runs back and to say farewell: what
# bounds its drain, and room for a machine that is busy.
LEAVING_SECONDS = 15.0


class Remembering(click.Command):
    """Keeps the arguments as they were given, for the processes that are given them again."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["given"] = list(args)
        return super().parse_args(ctx, args)


@click.command(cls=Remembering)
@click.argument("modules", nargs=-1, required=True)
@database_option
@schema_option
@output_option
@click.option("--queue", "queues", multiple=True, default=("default",), show_default=True,
              help="whose runs it takes; may be given again")  # fmt: skip
@click.option("--runs-max", default=1_000, show_default=True, help="runs in memory at once")
@click.option("--activities-max", default=200, show_default=True, help="attempts at once")
@click.option("--transactions-max", default=4, show_default=True,
              help="connections for ctx.transaction")  # fmt: skip
@click.option("--grace", default=10.0, show_default=True, help="seconds to finish when stopping")
@click.option(
    "--lease", default=15.0, show_default=True, help="seconds of silence until others take over"
)
@click.option(
    "--build", help="a name for this version of your code; new in each process if left out"
)
@click.option("--migrate", is_flag=True, help="upgrade an older schema first")
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    metavar="N",
    help="N workers, each a process with all these bounds; one that dies is replaced. "
    "SIGHUP replaces them one by one, for new code",
)
@click.option("--supervised", type=int, hidden=True)  # one of them: its line to the supervisor
@click.pass_context
def worker_command(
    ctx: click.Context,
    modules: tuple[str, ...],
    dsn: str | None,
    schema: str,
    output: str,
    queues: tuple[str, ...],
    runs_max: int,
    activities_max: int,
    transactions_max: int,
    grace: float,
    lease: float,
    build: str | None,
    migrate: bool,
    processes: int | None,
    supervised: int | None,
) -> int | None:
    """Work on the runs of MODULES (as in `durable worker shop.orders shop.billing`) until
    SIGTERM or Ctrl-C, which drains; a second one ends it at once."""
    patience = 2 * grace + LEAVING_SECONDS
    if processes is not None and supervised is None:
        return supervise(ctx.meta["given"], processes, patience, output)
    new_worker, works = _kind(supervised, patience)
    serve = imported(modules)

    async def work(url: str) -> None:
        worker = new_worker(
            url,
            serve=serve,
            schema=schema,
            migrate=migrate,
            queues=queues,
            runs_max=runs_max,
            activities_max=activities_max,
            transactions_max=transactions_max,
            grace=grace,
            lease=lease,
            build=build,
        )
        async with worker:
            health = worker.health()
            if output == "json":
                facts = {"worker": health.worker, "serves": modules, "pid": os.getpid()}
                click.echo(as_json(facts))
            else:
                click.echo(f"worker {health.worker} serves {', '.join(modules)}; Ctrl-C drains")
            works()
            await worker.until_stopped()

    quiet_collector()
    with found_database(dsn, only_looks=False) as url:
        asyncio.run(work(url))
    return None


def _kind(supervised: int | None, patience: float) -> tuple[Any, Callable[[], None]]:
    """The class of the worker, and what is called when it works."""
    if supervised is None:
        log_to_stderr()
        from .. import Worker  # after --help is done with

        return Worker, lambda: None
    log_to_stderr(which="[%(process)d] ")
    from .supervised import Line, SupervisedWorker

    return SupervisedWorker, Line(supervised, patience=patience).say_that_it_works


def supervise(given: list[str], processes: int, patience: float, output: str) -> int:
    """Keep several processes, each with these arguments."""
    from .supervisor import Supervisor

    log_to_stderr(which="[%(process)d] ")
    if output == "json":
        click.echo(as_json({"supervisor": os.getpid(), "processes": processes}))
    else:
        click.echo(f"supervisor {os.getpid()} keeps {processes} workers; Ctrl-C drains")
    supervisor = Supervisor(
        partial(_again, given), processes, patience=patience, new_build=lambda: str(uuid4())
    )
    # Others keep SIGCHLD to themselves, should a policy have put one in asyncio's place.
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(supervisor.run())


def _again(given: list[str], end: int, build: str) -> list[str]:
    """The command of one process. All of a generation have one build: code that cannot go on with
    a run cannot in the others either. One that was given comes later, and so is used."""
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    ours = ["--supervised", str(end), "--build", build]
    return [sys.executable, *flags, "-m", "durable", "worker", *ours, *given]


def log_to_stderr(which: str = "") -> None:
    form = f"%(asctime)s %(levelname)s {which}%(name)s: %(message)s"
    logging.basicConfig(level=logging.INFO, format=form)


def quiet_collector() -> None:
    """Let the garbage collector look less often, in a process that only works. A worker makes
    many small objects that live for one commit; at its defaults the collector took 15 to 25 %
    of its time (`python -m bench steps`), to find nothing: reference counts free them. Less often
    still saves no more, and a look at 50,000 objects holds the loop for 24 ms."""
    gc.set_threshold(10_000, 20, 50)
