"""The proof at the end of the demo: queries that are shown, and what they must answer."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from typing import NamedTuple

import asyncpg
import click

from ..output import table

# The provider's books, copied beside ours so that one query can look at both.
BOOKS = """
create schema provider;
create table provider.ledger (key text primary key, payment text, order_id text, cents bigint);
create table provider.call (
    n bigint primary key, key text, order_id text, began timestamptz, answer text);
"""


class Question(NamedTuple):
    asks: str
    sql: str
    right: int | None  # the one number that it must answer; None: it is only shown


QUESTIONS = (
    Question(
        "How many charges does the provider's ledger hold?",
        "select count(*) from provider.ledger",
        200,
    ),
    Question(
        "How many orders were charged more than once?",
        "select count(*) from (select order_id from provider.ledger\n"
        "  group by order_id having count(*) > 1) as twice",
        0,
    ),
    Question(
        "How many payments do our own books hold, all of them in the ledger?",
        "select count(*) from shop.payment join provider.ledger using (order_id, payment, cents)",
        200,
    ),
    Question(
        "How many orders are completed?",
        "select count(*) from durable.runs where status = 'completed'",
        200,
    ),
    Question(
        "How many calls of the provider began after the result of that charge was recorded?",
        "select count(*) from provider.call\n"
        "  join durable.history as h on h.id = call.order_id and h.name = 'charge'\n"
        "  where call.began > h.at + interval '0.25 s'  -- clocks of two processes",
        0,
    ),
    Question(
        "How often was the provider called, and how often again for the same charge?",
        "select count(*) as calls, count(*) - count(distinct key) as repeated from provider.call",
        None,
    ),
    Question(
        "Which were repeated most, and why?",
        "select order_id, count(*) as calls, string_agg(answer, ' then ' order by n) as answers\n"
        "  from provider.call group by order_id having count(*) > 1 order by 2 desc, 1 limit 5",
        None,
    ),
)


async def prove(dsn: str, ledger: str) -> bool:
    """Ask all questions aloud; True if every answer is right."""
    connection = await asyncpg.connect(dsn)
    try:
        await _copy_books(connection, ledger)
        answers = [await _ask(connection, each) for each in QUESTIONS]
        calls = await connection.fetchval("select count(*) from provider.call")
    finally:
        await connection.close()
    return all(answers) and calls >= 200


async def _copy_books(connection: asyncpg.Connection, ledger: str) -> None:
    books = sqlite3.connect(ledger)
    await connection.execute(BOOKS)
    charges = books.execute("select key, payment, order_id, cents from ledger").fetchall()
    await connection.copy_records_to_table("ledger", schema_name="provider", records=charges)
    calls = [
        (n, key, order, datetime.fromtimestamp(began, UTC), answer)
        for n, key, order, began, answer in books.execute(
            "select n, key, order_id, began, answer from call"
        )
    ]
    await connection.copy_records_to_table("call", schema_name="provider", records=calls)
    books.close()


async def _ask(connection: asyncpg.Connection, question: Question) -> bool:
    click.echo(f"\n{question.asks}\n")
    click.echo("  " + question.sql.replace("\n", "\n  ") + ";")
    rows = await connection.fetch(question.sql)
    if question.right is None:
        if rows:
            text = table(list(rows[0].keys()), [list(row.values()) for row in rows], width=90)
            click.echo("    " + text.replace("\n", "\n    "))
        return True
    answer = rows[0][0]
    is_right = bool(answer == question.right)
    verdict = "right" if is_right else f"WRONG: it must be {question.right}"
    click.echo(f"    {answer}  ({verdict})")
    return is_right
