"""What the README says is true: its code runs, its SQL answers, its commands exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from durable import Context, Durable, activity, workflow
from durable.cli import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_first_program_runs(dsn: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(blocks("python")[0])
    done = subprocess.run(
        [sys.executable, str(program)],
        env={"DURABLE_DATABASE_URL": dsn, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "parcel with socks, payment of 4200\n", done.stderr


# What the shorter blocks take for granted.
SHOP = """
import asyncio
from dataclasses import dataclass
from datetime import timedelta

import pytest

from durable import Compensation, Context, Retry, RunFailed, Signal, State, activity, workflow
from durable.testing import Environment


class CardDeclined(Exception): ...

@dataclass
class Order:
    card: str
    cents: int
    sku: str
    email: str

@dataclass
class Receipt:
    payment: str

@activity
async def refund(payment: str) -> None: ...

@activity
async def notify(email: str) -> None: ...

@activity
async def book(sku: str) -> None: ...

@activity
async def bill(card: str, cents: int) -> str: ...

@activity
async def ask(email: str, token: str) -> None: ...

async def reserve(conn, sku: str) -> None: ...
"""

CHECKOUT = """
async def test_checkout(durable: Environment) -> None:
    durable.stand_in(charge, returns="payment-1")
    durable.stand_in(reserve, returns=None)
    before = durable.now()
    assert await durable.run(checkout, Order("visa", 100, "socks", "a@b")) == Receipt("payment-1")
    assert durable.now() - before >= timedelta(days=1)
    assert not durable.calls(refund)
    durable.stand_in(reserve, raises=ValueError("sold out"))
    with pytest.raises(RunFailed, match="sold out"):
        await durable.run(checkout, Order("visa", 100, "socks", "a@b"))
    assert [call.args for call in durable.calls(refund)] == [("payment-1",)]
"""


DELIVERY = """
async def test_delivery(durable: Environment) -> None:
    handle = await durable.start(delivery, "a@b")
    await durable.advance()
    await durable.resolve(durable.calls(ask)[0].args[1], True)
    await durable.advance(hours=1)
    assert await handle.state(stage) == "on its way"
    await handle.signal(shipped, "JJD1")
    assert await handle.result() == "JJD1"
"""

OPTIONS = ("-q", "-p", "no:anyio", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto")


@pytest.mark.parametrize(
    ("block", "test"),
    [(1, CHECKOUT), (2, DELIVERY), (3, "")],
    ids=["checkout", "delivery", "test"],
)
def test_the_other_blocks_run(tmp_path: Path, block: int, test: str) -> None:
    (tmp_path / "test_block.py").write_text(SHOP + blocks("python")[block] + test)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *OPTIONS, "test_block.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "1 passed" in done.stdout, done.stdout


@activity
async def greet(name: str) -> str:
    return f"hello {name}"


@workflow
async def greeting(ctx: Context, name: str) -> str:
    text = await ctx.activity(greet, name)
    await ctx.sleep(3600)
    return text


async def test_three_lines_of_psql_answer_where_what_and_why(dsn: str) -> None:
    statements = [line for line in blocks("sql")[0].splitlines() if line]
    assert len(statements) == 3
    async with Durable(dsn, serve=[greeting]) as app:
        handle = await app.start(greeting, "Ada", id="order-42")
        connection = await asyncpg.connect(dsn)
        try:
            while not (await connection.fetchval("select waits_at from durable.waiting")):
                pass
            where, what, why = [await connection.fetch(each) for each in statements]
        finally:
            await connection.close()
        await handle.cancel()
    assert where[0]["status"] == "waiting"
    assert where[0]["waits_for"].startswith("sleep until")
    assert where[0]["waits_at"].startswith("test_readme.py:")
    assert [(row["kind"], row["name"], row["result"]) for row in what] == [
        ("started", None, None),
        ("activity", "greet", '"hello Ada"'),
    ]
    assert what[1]["input"] == '["Ada"]'
    assert why[0]["status"] == "waiting"


def test_the_commands_exist() -> None:
    named = set(re.findall(r"^durable (\w+)", "\n".join(blocks("sh")), flags=re.MULTILINE))
    assert named <= set(COMMANDS)
    assert set(COMMANDS) - named == {"demo"}


def test_the_links_lead_somewhere() -> None:
    prose = re.sub(r"```.*?```|`[^`]*`", "", README, flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)#]+)\)", prose):
        assert link.startswith("http") or (ROOT / link).exists(), link
