"""The ``durable`` command. Subcommands are imported when they are used, so that ``--help``
is quick; they import ``durable`` as a user does."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

# command -> module of this package that defines it
COMMANDS = {
    "demo": "demo",
    "worker": "worker",
    "list": "runs",
    "show": "runs",
    "retry": "many",
    "restart": "many",
    "fork": "fork",
    "cancel": "many",
    "terminate": "many",
    "pause": "many",
    "resume": "many",
    "pin": "many",
    "delete": "runs",
    "replay": "histories",
    "export": "histories",
    "import": "histories",
    "stack": "stack",
    "debug": "debug",
    "migrate": "database",
    "doctor": "doctor",
    "check": "check",
}


class LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f".{COMMANDS[cmd_name]}", __name__)
        command = getattr(module, f"{cmd_name}_command")
        assert isinstance(command, click.Command)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="durably", prog_name="durable")
def cli() -> None:
    """Durable execution for Python on nothing but Postgres.

    The database is --database, else DURABLE_DATABASE_URL, else the embedded Postgres in
    .durable/ if `durably[embedded]` is installed.

    Exit codes: 0 done, 1 it failed, 2 wrong usage, 4 no such run, 8 the database cannot be
    used, 130 interrupted.
    """


def main(args: list[str] | None = None) -> Any:
    """The console script."""
    from .output import told

    sys.exit(told(lambda: cli.main(args=args, prog_name="durable", standalone_mode=False)))
