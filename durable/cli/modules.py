"""Modules that are named on the command line."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager, redirect_stdout
from types import ModuleType
from typing import Any

import click


def users_code() -> AbstractContextManager[Any]:
    """What modules and workflows print is no part of what a command answers on stdout."""
    return redirect_stdout(sys.stderr)


def imported(names: Iterable[str]) -> list[ModuleType]:
    """They are found as by ``python -c``: from the working directory on."""
    sys.path.insert(0, "")
    return [_imported(name) for name in names]


def _imported(name: str) -> ModuleType:
    try:
        with users_code():
            return importlib.import_module(name)
    except SystemExit as error:  # its exit code would be taken for an answer of ours
        raise click.ClickException(
            f"{name!r} cannot be imported: it ends the process (exit code {error.code!r}). Put "
            'what it does when it is run under `if __name__ == "__main__":`.'
        ) from error
    except ModuleNotFoundError as error:
        if not f"{name}.".startswith(f"{error.name}."):  # the module is there, what it needs is not
            raise click.ClickException(
                f"{name!r} cannot be imported: it, or what it imports, needs {error.name!r}, which "
                f"is not installed here. `python -c 'import {name}'` shows where."
            ) from error
        raise click.UsageError(
            f"cannot import {name!r}: {error}. Give modules by their dotted names, and run this "
            "where `python -c 'import ...'` finds them."
        ) from error
