"""``durable worker``: a process that works on the runs of the modules it is given."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys

import click

from .connection import database_option, found_database, schema_option
from .modules import imported
from .output import as_json, output_option


@click.command()
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
def worker_command(
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
) -> None:
    """Work on the runs of MODULES (as in `durable worker shop.orders shop.billing`) until
    SIGTERM or Ctrl-C, which drains."""
    sys.path.insert(0, "")
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    serve = [imported(name) for name in modules]

    async def work(url: str) -> None:
        from .. import Worker

        worker = Worker(
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
                click.echo(as_json({"worker": health.worker, "serves": modules}))
            else:
                click.echo(f"worker {health.worker} serves {', '.join(modules)}; Ctrl-C drains")
            await worker.until_stopped()

    quiet_collector()
    with found_database(dsn, only_looks=False) as url:
        asyncio.run(work(url))


def quiet_collector() -> None:
    """Let the garbage collector look less often, in a process that only works. A worker makes
    many small objects that live for one commit; at its defaults the collector took 15 to 25 %
    of its time (`python -m bench steps`), to find nothing: reference counts free them. Less often
    still saves no more, and a look at 50,000 objects holds the loop for 24 ms."""
    gc.set_threshold(10_000, 20, 50)
