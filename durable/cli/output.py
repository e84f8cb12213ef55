"""How the command line speaks: tables or JSON on stdout, one line of trouble on stderr.

Text from the database is shown without control characters: an id could otherwise write to
the terminal.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import click

from ..errors import ConfigurationError, DurableError, RunNotFound, StoreError

EXIT_FAILED, EXIT_USAGE, EXIT_NOT_FOUND, EXIT_DATABASE, EXIT_INTERRUPTED = 1, 2, 4, 8, 130

output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="how to print",
)


def told(call: Callable[[], Any]) -> int:
    """Run a command; turn what it raises into one line and an exit code."""
    try:
        code = call()
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return EXIT_INTERRUPTED
    except RunNotFound as error:
        return trouble(error, EXIT_NOT_FOUND)
    except (StoreError, ConfigurationError) as error:
        return trouble(error, EXIT_DATABASE)
    except DurableError as error:
        return trouble(error, EXIT_FAILED)
    except Exception as error:
        asyncpg = sys.modules.get("asyncpg")
        if asyncpg is None or not isinstance(error, asyncpg.PostgresError):
            raise
        return trouble(StoreError(f"The database refuses: {error}"), EXIT_DATABASE)
    return code if isinstance(code, int) else 0


def trouble(error: Exception, code: int) -> int:
    click.echo(clean_lines(f"durable: {error}"), err=True)
    return code


def clean(text: str) -> str:
    """Without control, format and bidirectional characters."""
    return "".join(c if unicodedata.category(c)[0] != "C" else "\N{REPLACEMENT CHARACTER}"
                   for c in text)  # fmt: skip


def clean_lines(text: str, indent: str = "") -> str:
    """The same of a text of several lines."""
    return "\n".join(indent + clean(line) for line in text.splitlines())


def as_json(value: object) -> str:
    return json.dumps(value, default=_plain, ensure_ascii=False)


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def cell(value: object, width: int | None = None) -> str:
    """One value on one line."""
    if value is None:
        text = ""
    elif isinstance(value, datetime):
        text = f"{value:%Y-%m-%d %H:%M:%S}"
    elif isinstance(value, str):
        text = clean(value)
    else:
        text = clean(as_json(value))
    return text if width is None or len(text) <= width else text[: width - 1] + "…"


def table(head: Sequence[str], rows: Sequence[Sequence[object]], width: int = 60) -> str:
    """Columns as wide as their contents, cut at ``width``."""
    cells = [list(head), *([cell(each, width) for each in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return "\n".join(
        "  ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )
