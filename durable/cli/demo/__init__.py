"""``durable demo``: 200 orders, a worker killed in the middle, and the proof that nothing was
lost and nothing was done twice."""

from __future__ import annotations

import asyncio
import csv
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import click

from ..output import EXIT_FAILED

SHOP = """
create schema shop;
create table shop.stock (sku text primary key, pieces bigint not null check (pieces >= 0));
create table shop.payment (order_id text primary key, payment text not null, cents bigint);
create table shop.reservation (order_id text primary key, sku text, pieces bigint);
"""

KILL_AT = 80  # charges in the ledger when the first worker dies
PATIENCE_SECONDS = 50.0


@click.command()
@click.option(
    "--database",
    "dsn",
    metavar="URL",
    default=None,
    help="an empty Postgres of yours; default: a throw-away one",
)
def demo_command(dsn: str | None) -> int:
    """200 orders, a worker killed with SIGKILL in the middle, and the proof by queries that no
    order was lost and no card was charged twice."""
    began = time.monotonic()
    with ExitStack() as stack:
        ledger = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "ledger.sqlite"
        if dsn is None:
            from ...embedded import EmbeddedPostgres

            say("Starting a throw-away Postgres ...")
            dsn = stack.enter_context(EmbeddedPostgres(settings={"jit": "off"})).url()
        port = stack.enter_context(provider(ledger))
        os.environ["PROVIDER_PORT"] = str(port)
        holds = asyncio.run(Demo(dsn, ledger, stack).play())
    took = time.monotonic() - began
    click.echo(f"\n{'The proof holds' if holds else 'THE PROOF DOES NOT HOLD'} ({took:.0f} s).")
    return 0 if holds else EXIT_FAILED


def say(text: str) -> None:
    click.secho(text, bold=True)


class Demo:
    def __init__(self, dsn: str, ledger: Path, stack: ExitStack) -> None:
        self.dsn = dsn
        self.ledger = ledger
        self.stack = stack

    async def play(self) -> bool:
        from durable import Client
        from durable._migrating import prepare

        from .proof import prove

        await prepare(self.dsn, schema="durable", upgrade=True)
        orders = read_orders()
        await self._stock_the_shop(orders)
        say("Starting worker 1, and 200 orders: charge, record_payment, reserve, sleep, notify.")
        first = self._worker()
        async with Client(self.dsn) as client:
            for order in orders:
                await client.start("place", order, id=order.id)
            await self._watch(client, lambda _, charged: charged >= KILL_AT)
            say(f"\nKilling worker 1 (pid {first.pid}) with SIGKILL, and starting worker 2.")
            first.send_signal(signal.SIGKILL)
            first.wait()
            self._worker()
            await self._watch(client, lambda done, _: done >= len(orders))
            await self._mend(client)
        return await prove(self.dsn, str(self.ledger))

    async def _stock_the_shop(self, orders: list[Any]) -> None:
        import asyncpg

        connection = await asyncpg.connect(self.dsn)
        await connection.execute(SHOP)
        pieces = {order.sku: 1_000 for order in orders} | {"grand-piano": 0}
        await connection.executemany("insert into shop.stock values ($1, $2)", list(pieces.items()))
        await connection.close()

    def _worker(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "durable", "worker", "durable.cli.demo.shop"]
        process = subprocess.Popen(
            [*command, "--database", self.dsn], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        self.stack.callback(stop, process)
        return process

    async def _watch(self, client: Any, enough: Any) -> None:
        """Show how far all orders are until it is enough."""
        import sqlite3

        end = time.monotonic() + PATIENCE_SECONDS
        told = ""
        while True:
            counts = await client.count_by_status()
            charged = (
                sqlite3.connect(self.ledger).execute("select count(*) from ledger").fetchone()[0]
            )
            done = counts.get("completed", 0) + counts.get("failed", 0)
            told = progress(charged, counts, told)
            if enough(done, charged):
                return
            if time.monotonic() > end:
                raise click.ClickException(f"nothing more happens; runs by status: {counts}")
            await asyncio.sleep(0.25)

    async def _mend(self, client: Any) -> None:
        failed = await client.list(status="failed")
        for run in failed:
            say(f"\n{run.id} has failed: {run.failure['message']}")
            click.echo("Its card was charged. The shelf is filled, and then:")
            import asyncpg

            connection = await asyncpg.connect(self.dsn)
            await connection.execute(
                "update shop.stock set pieces = 5 where sku = $1", run.input[0]["sku"]
            )
            await connection.close()
            click.echo(f"$ durable retry {run.id}")
            await asyncio.to_thread(durable, "retry", run.id, "--database", self.dsn)
            payment = await client.handle(run.id).result()
            click.echo(f"{run.id} is completed, paid by {payment}, without a second charge.")


def durable(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "durable", *arguments], check=True)


def progress(charged: int, counts: dict[str, int], told: str) -> str:
    """One line that is written over on a terminal, whatever its width; elsewhere a line for each
    change. ``told`` is the line before."""
    bar = "#" * (counts.get("completed", 0) // 8)
    states = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    line = f"  [{bar:<25}] {charged} charged; {states}"
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns - 1
        click.echo(f"\r{line[:width]:<{width}}", nl=False)
    elif line != told:
        click.echo(line)
    return line


def read_orders() -> list[Any]:
    from .shop import Order

    text = resources.files("durable.cli.demo").joinpath("orders.csv").read_text()
    return [
        Order(row["id"], row["email"], row["sku"], int(row["pieces"]), int(row["cents"]))
        for row in csv.DictReader(text.splitlines())
    ]


@contextmanager
def provider(ledger: Path) -> Generator[int, None, None]:
    """The provider's process; yields its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "durable.cli.demo.provider", str(ledger)], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
