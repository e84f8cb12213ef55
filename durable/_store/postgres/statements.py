"""SQL out of ``.sql`` files, with the configured schema in the place of ``durable``.

A noun's statements stand beside its class, each after a line ``-- name: ...``. Functions, part
of the schema, stand in ``sql/``. No SQL is put together from values anywhere.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from ...errors import ConfigurationError
from .line import Line

# The schema's name: before a dot, or where the schema itself is made.
_TOKEN = re.compile(r"\bdurable(?=\.[a-z])|(?<=\bschema )durable\b")
_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)

_PACKAGE = "durable._store.postgres"

# What Postgres keeps of an identifier.
_IDENTIFIER_BYTES_MAX = 63


def quoted(schema: str) -> str:
    """The schema's name as SQL wants it.

    Raises:
        ConfigurationError: it cannot be the name of a schema."""
    bad = {"'", '"', "\0", "\\"} & set(schema)
    if not schema or bad or len(schema.encode()) > _IDENTIFIER_BYTES_MAX:
        raise ConfigurationError(
            f"schema={schema!r} cannot be used: a schema's name has 1 to "
            f"{_IDENTIFIER_BYTES_MAX} bytes and no quotes or backslashes."
        )
    return f'"{schema}"'


def with_schema(sql: str, schema: str) -> str:
    """``sql`` with the configured name in the place of ``durable``."""
    name = quoted(schema)
    return _TOKEN.sub(lambda _: name, sql)


@functools.cache
def load(noun: str, schema: str) -> Mapping[str, str]:
    """The named statements of one noun."""
    text = (resources.files(_PACKAGE) / f"{noun}.sql").read_text(encoding="utf-8")
    parts = _NAME.split(text)[1:]
    return {
        name: f"/* durable: {name} */ {with_schema(_uncommented(body), schema)}"
        for name, body in zip(parts[::2], parts[1::2], strict=True)
    }


class Noun:
    """The verbs of one table, or a few: on a line, by the statements that stand beside."""

    def __init__(self, line: Line, schema: str) -> None:
        self._line = line
        self._sql = load(type(self).__name__.lower(), schema)


def functions(schema: str) -> str:
    """All functions, as one script."""
    folder = resources.files(_PACKAGE) / "sql"
    files = sorted(folder.iterdir(), key=lambda file: file.name)
    texts = [each.read_text(encoding="utf-8") for each in files if each.name.endswith(".sql")]
    return with_schema("\n".join(texts), schema)


def tables(schema: str) -> str:
    """``schema.sql``: in an installed package beside the code, in a checkout at its top."""
    packed = resources.files("durable") / "schema.sql"
    if packed.is_file():
        return with_schema(packed.read_text(encoding="utf-8"), schema)
    top = Path(__file__).resolve().parents[3]
    return with_schema((top / "schema.sql").read_text(encoding="utf-8"), schema)


def migrations(schema: str) -> list[str]:
    """The numbered steps, in order; the first one is number 1."""
    folder = resources.files(_PACKAGE) / "migrations"
    files = sorted(
        (each for each in folder.iterdir() if each.name.endswith(".sql")), key=lambda f: f.name
    )
    for number, file in enumerate(files, start=1):
        assert file.name.startswith(f"{number:04}_"), file.name
    return [with_schema(each.read_text(encoding="utf-8"), schema) for each in files]


def _uncommented(body: str) -> str:
    """Without comment lines: the server's logs show the statement, not its story."""
    return "\n".join(
        line for line in body.strip().splitlines() if not line.lstrip().startswith("--")
    )
