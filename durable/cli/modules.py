"""Modules that are named on the command line."""

from __future__ import annotations

import importlib
from types import ModuleType

import click


def imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
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
