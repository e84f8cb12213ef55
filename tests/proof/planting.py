"""Bugs are planted, and what the checkers say is compared."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import asyncpg
import pytest

from tests.proof import checkers, evidence

Patch = pytest.MonkeyPatch


async def said(dsn: str, tmp_path: Path) -> set[str]:
    found = checkers.check(await evidence.gather(dsn, tmp_path / "history"))
    print(found)
    return set(found)


async def execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def planted(file: str, *changes: tuple[str, str]) -> str:
    """The database's function with a bug."""
    sql = (resources.files("durable._store.postgres") / "sql" / f"{file}.sql").read_text()
    for right, wrong in changes:
        assert sql.count(right) == 1, right
        sql = sql.replace(right, wrong)
    return sql


each_way = pytest.mark.parametrize("bug", [False, True], ids=["sound", "bug"])


def verdict(
    found: set[str], bug: bool, checker: checkers.Checker, *, on_stage: bool = False
) -> None:
    """``on_stage``: who writes there has no name of a worker's, which other checkers see."""
    told = found & {checker.__name__} if on_stage else found
    assert (checker.__name__ in told) if bug else (told == set())
