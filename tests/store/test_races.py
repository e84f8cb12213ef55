"""Every pair of verbs that meet on a row or an id, as two sessions: the first is stopped before
each of its statements and each commit, and the second overtakes it there or waits for it."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import pytest
from msgspec.structs import replace

from durable._migrating import migrate
from durable._store.family import Heir, NewChild
from durable._store.postgres import journal, statements
from durable._store.postgres.journal import FENCED
from durable._store.protocol import Advance
from tests.conftest import _create, _drop, at_database

from .races import BROKEN, Race, Script, Statement, Told, World, history_of, prepare, race
from .stage import NOW, birth, completed, message, new_run, parked, turn

pytestmark = pytest.mark.points  # half a minute: by `make proof`

FIRST_KEY = bytes(16)  # of each journal's first row

SQL = {
    (noun, name): sql
    for noun in ("runs", "inbox", "journal", "workers", "outcomes", "listing")
    for name, sql in statements.load(noun, "durable").items()
}


def asks(noun: str, name: str, *arguments: Any) -> list[Statement]:
    return [Statement(SQL[noun, name], arguments)]


def commits(world: World, nth: int, *advances: Advance) -> Script:
    """``nth`` tells the two sessions apart: whose row is whose shows in its ``site``."""
    sent = [
        replace(
            each,
            after=FIRST_KEY if each.effects is None or each.effects.birth is None else None,
            rows=[replace(row, site=str(nth)) for row in each.rows],
        )
        for each in advances
    ]
    return [asks("journal", "commit", world.w, *journal._arguments(sent), False)]


def starts(world: World, name: str, if_exists: str) -> Script:
    new = new_run(world.id(name), if_exists)._replace(
        workflow="flow" + world.name, queue="queue" + world.name
    )
    return [asks("runs", "start", *new)]


def transacts(world: World, nth: int) -> Script:
    fence = asks("outcomes", "fence", world.w, world.a, 1)
    return [[*fence, *asks("outcomes", "record", world.a, nth, "book", b"", b"")]]


def is_born(world: World, nth: int) -> Advance:
    begun = birth(world.id("n"), workflow="flow" + world.name)
    return turn(world.born[nth], 0, birth=begun._replace(queue="queue" + world.name))


def hands_back(world: World, nth: int) -> Script:
    return [asks("runs", "hand_back", world.w, [world.a], [1], [NOW], [None], [None])]


def gives_up(world: World, nth: int) -> Script:
    return [asks("runs", "set_stuck", world.w, world.a, 1, "no code", "1")]


def delivers(world: World, nth: int) -> Script:
    return [asks("inbox", "deliver", world.id("a"), "signal", "s", str(nth), None, None, False)]


def says(world: World, nth: int) -> Script:
    return [asks("inbox", "deliver", world.id("h"), "signal", "s", str(nth), None, None, False)]


def ends(name: str) -> Callable[[World, int], Script]:
    return lambda world, nth: [asks("runs", "terminate", world.id(name), "enough", None)]


def holds(name: str, holds: bool) -> Callable[[World, int], Script]:
    return lambda world, nth: [asks("runs", "pause", world.id(name), holds, None)]


def goes_on(world: World, nth: int) -> Script:
    close = completed()._replace(status="continued", result=None)
    return commits(world, nth, turn(world.a, 1, close=close, heir=Heir(os.urandom(16), b"", ())))


def bears(world: World, nth: int) -> Script:
    """A child whose id somebody else may want."""
    child = NewChild(1, world.id("n"), True, "flow" + world.name, None, None, os.urandom(16), b"",
                     b"", None, None, "cancel")  # fmt: skip
    return commits(world, nth, turn(world.b, 1, children=(child,)))


def deletes(world: World, nth: int) -> Script:
    closed = (
        "select deleted from durable.delete_closed("
        "now() + interval '1 day', null, $1, null, null, 9, 999)"
    )
    return [[Statement(closed, ("flow" + world.name,))]]


def takes_over(world: World, nth: int = 0) -> Script:
    names = [("mark_dead", (world.w, None)), ("take_back", (world.w, 9)), ("bury", (world.w,))]
    return [asks("workers", name, *arguments) for name, arguments in names]


def restarts(world: World, nth: int) -> Script:
    return [asks("runs", "restart", world.id("a"), world.a, os.urandom(16))]


def pins(world: World, nth: int) -> Script:
    return [asks("runs", "pin", world.id("a"), "v7", None)]


def forks(world: World, nth: int) -> Script:
    return [asks("listing", "adopt", *history_of(world), world.born[nth])]


class Verb(NamedTuple):
    """``touches``: rows and ids. ``stands``: whether it has left what it was told to have done."""

    script: Callable[[World, int], Script]
    touches: str
    stands: str = "select true"


WRITTEN = "select count(*) = 1 from durable.journal where run = {0.%s} and site = '{1}'"
STARTED = "select count(*) = 1 from durable.run where run = {2}"
TERMINATED = "select status = 'terminated' from durable.run where run = durable.latest({0.%s})"
# Who goes on hands it to his heir.
PAUSED = """
select paused_at is not null or closed_at is not null from durable.run
where run = durable.latest({0.a})"""
VERBS = {
    "step": Verb(lambda w, n: commits(w, n, turn(w.a, 1)), "wa", WRITTEN % "a"),
    "send": Verb(
        lambda w, n: commits(w, n, turn(w.b, 1, deliveries=(message(w.a, f"k{n}"),))),
        "wab",
        "select count(*) = 2 from ("
        + (WRITTEN % "b").replace("count(*) = 1", "1")
        + " union all select 1 from durable.inbox"
        " where key = 'k{1}' and run = durable.latest({0.a})"
        " or key = 'refused/{0.a}/k{1}' and run = {0.b}) both_of_them",
    ),
    "park": Verb(lambda w, n: commits(w, n, turn(w.a, 1, park=parked())), "wa", WRITTEN % "a"),
    "go on": Verb(goes_on, "wa", WRITTEN % "a"),
    "close": Verb(lambda w, n: commits(w, n, turn(w.a, 1, close=completed())), "wa", WRITTEN % "a"),
    "birth": Verb(
        lambda w, n: commits(w, n, is_born(w, n)),
        "wn",
        "select count(*) = 1 from durable.run where run = {3}",
    ),
    "bear": Verb(
        bears,
        "wbn",
        "select count(*) = 2 from ("
        + (WRITTEN % "b").replace("count(*) = 1", "1")
        + " union all select 1 from durable.run where parent_run = {0.b} and current"
        " union all select 1 from durable.inbox where run = {0.b} and kind = 'refused') two",
    ),
    "transaction": Verb(
        transacts, "wa", "select count(*) = 1 from durable.outcome where run = {0.a} and op = {1}"
    ),
    "hand back": Verb(hands_back, "wa"),
    "give up": Verb(gives_up, "wa"),
    "deliver": Verb(
        delivers, "a", "select count(*) = 1 from durable.inbox where run = {2} and key = '{1}'"
    ),
    "claim": Verb(lambda w, n: [asks("runs", "claim", w.v, 9, "v1", 1)], "wabph"),
    "takeover": Verb(takes_over, "wabp"),
    "start": Verb(lambda w, n: starts(w, "n", "use"), "n", STARTED),
    "replace": Verb(lambda w, n: starts(w, "a", "replace"), "a", STARTED),
    "start again": Verb(lambda w, n: starts(w, "f", "after_failure"), "f", STARTED),
    "retry": Verb(
        lambda w, n: [asks("runs", "retry", w.id("f"), None)],
        "f",
        "select count(*) = 1 from durable.journal where run = {0.f} and kind = 'voided'",
    ),
    "delete": Verb(deletes, "f", "select count(*) = 0 from durable.run where run = {0.f}"),
    "terminate": Verb(ends("a"), "a", TERMINATED % "a"),
    "terminate held": Verb(ends("h"), "h", TERMINATED % "h"),
    "pause": Verb(holds("a", True), "a", PAUSED),
    "pause due": Verb(
        holds("p", True), "p", "select paused_at is not null from durable.run where run = {0.p}"
    ),
    "resume": Verb(
        holds("h", False), "h", "select paused_at is null from durable.run where run = {0.h}"
    ),
    "restart": Verb(restarts, "a", STARTED),
    "pin": Verb(
        pins,
        "a",
        "select count(*) > 0 from durable.run r join durable.run a using (id)"
        " where a.run = {0.a} and r.build = 'v7'",
    ),
    "fork": Verb(forks, "n", STARTED),
    "tell held": Verb(
        says, "h", "select count(*) = 1 from durable.inbox where run = {0.h} and key = '{1}'"
    ),
}
COMMITS = ("step", "send", "park", "close", "go on", "birth", "bear")
CLOSES = ("close", "go on", "replace", "restart", "terminate", "terminate held")
WAITED_FOR = (*COMMITS, "takeover")  # by a batch: its own earlier send, and who takes its runs
FENCED_VERBS = (*COMMITS, "transaction")  # they count only while w lives
PAIRS = [
    (one, two)
    for one, two in itertools.combinations_with_replacement(VERBS, 2)
    if set(VERBS[one].touches) & set(VERBS[two].touches)
]

# What a verb may be refused with: the fence. All else, a deadlock or a wait without end, is not
# what two sessions of ours may do to each other.
REFUSALS = {FENCED}

_worlds = itertools.count(1)


@pytest.fixture(scope="module")
def raced_dsn(server_url: str) -> Iterator[str]:
    """One database for all of them: each race has a world of its own."""
    name = f"durable_races_{os.getpid()}"
    asyncio.run(_create(server_url, name, None))
    dsn = at_database(server_url, name)
    try:
        asyncio.run(migrate(dsn))
        asyncio.run(prepare(dsn))
        yield dsn
    finally:
        asyncio.run(_drop(server_url, name))


async def new_world(connection: asyncpg.Connection[Any]) -> World:
    name, w, v = str(next(_worlds)), UUID(bytes=os.urandom(16)), UUID(bytes=os.urandom(16))
    row = await connection.fetchrow("select * from race.world($1, $2, $3)", name, w, v)
    assert row is not None
    return World(name, w, v, *row)


@pytest.mark.parametrize(("one", "two"), PAIRS, ids=lambda name: name.replace(" ", "-"))
async def test_whoever_overtakes_whom_no_fact_is_lost_or_doubled(
    raced_dsn: str, one: str, two: str
) -> None:
    async with race(raced_dsn, 1) as stage:
        for first, second in dict.fromkeys([(one, two), (two, one)]):
            assert await run_all(stage, first, second) > 0, "it was never stopped"


PLANTED = [
    ("step", "takeover", "worker", "where w.worker = dead for update;", "where w.worker = dead;"),
    ("park", "deliver", "commit", "and r.last_seq = p.seen and (all_go",
     "and (all_go"),
    ("deliver", "close", "inbox", "r.current for no key update;", "r.current;"),
    ("replace", "step", "start", "insert into durable.journal (", "insert into race.journal ("),
    ("terminate", "step", "outside", "r.current for update;", "r.current;"),
    ("tell held", "resume", "outside", "not null or exists (", "null and exists ("),
    ("restart", "restart", "outside", "(r.run = target or exists (", "(true or exists ("),
    ("start", "birth", "start", "perform pg_advisory_xact_lock(durable.id_key(new_id));", "null;"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("one", "two", "file", "right", "wrong"), PLANTED, ids=lambda text: text[:9]
)
async def test_a_lock_or_a_condition_that_is_missing_is_found(
    dsn: str, one: str, two: str, file: str, right: str, wrong: str
) -> None:
    await prepare(dsn, file, right, wrong)
    async with race(dsn, 1) as stage:
        await stage.observer.execute("create table race.journal (like durable.journal)")
        with pytest.raises((AssertionError, TimeoutError)):
            for first, second in [(one, two), (two, one)]:
                await run_all(stage, first, second)


async def run_all(stage: Race, one: str, two: str) -> int:
    """Stop the first wherever it can be; returns how often that was."""
    stops = 0
    for numbers in ((f"c{n}" for n in itertools.count(1)), map(str, itertools.count(1))):
        for at in numbers:
            if not await run(stage, one, at, two):
                break
            stops += 1
    return stops


async def run(stage: Race, one: str, at: str, two: str) -> bool:
    """Whether the first was stopped there."""
    world = await new_world(stage.observer)
    first, second, stood, overtook = await stage.run(
        VERBS[one].script(world, 0), at, VERBS[two].script(world, 1)
    )
    if stood:
        told = [(one, first), (two, second)]
        broken = [each async for each in judged(stage.observer, world, told)]
        broken += [each async for each in overtaken(stage, world, (one, first), (two, second))
                   if overtook]  # fmt: skip
        if two in COMMITS and not overtook and one not in WAITED_FOR:
            broken.append(f"{two}: a batch waited for {one}")
        if one == "takeover" and at in ("c2", "c3") and two in FENCED_VERBS:
            broken += [f"{two}: written for the dead"] * succeeded(two, second)
        how = f"{one} stopped at {at}, {two} {'overtook' if overtook else 'waited'}"
        assert not broken, f"{how}: {broken}; {first}; {second}"
    return stood


async def overtaken(
    stage: Race, world: World, one: tuple[str, Told], two: tuple[str, Told]
) -> AsyncIterator[str]:
    """What the first may not say any more, when the second came to its end before."""
    verb, told = one
    if two[0] == "takeover" and verb in FENCED_VERBS and succeeded(verb, told):
        yield f"{verb}: written after its worker was dead"
    if verb in ("deliver", "send", "tell held") and two[0] in CLOSES and succeeded(*two):
        key = "k0" if verb == "send" else "0"
        if await stage.observer.fetchval(TO_THE_CLOSED, "flow" + world.name, key):
            yield f"{verb}: accepted by a run that was closed before"


TO_THE_CLOSED = """
select count(*) > 0 from durable.inbox i join durable.run r using (run)
where r.workflow = $1 and i.key = $2 and r.closed_at is not null"""


def succeeded(verb: str, told: Told) -> bool:
    """Whether the session was told that it has happened."""
    if told.error is not None:
        return False
    if verb == "transaction":  # the caller rolls back what is fenced
        alive, owns = told.answers[0][0][0]
        return bool(alive and owns)
    answer = told.row
    if verb in COMMITS:
        verdicts = answer[0]
        return verdicts is None or verdicts[0] in ("go", "away", "done", "parked")
    if verb in ("deliver", "tell held"):
        return bool(answer[1] == "accepted")
    if verb in ("retry", "terminate", "terminate held", "pause", "pause due", "resume", "pin"):
        return answer[0] is None
    if verb in ("restart", "fork"):
        return answer[0] is not None
    if verb == "delete":
        return bool(answer[0])
    return True


async def judged(
    connection: asyncpg.Connection[Any], world: World, told: list[tuple[str, Told]]
) -> AsyncIterator[str]:
    """What is broken, in words."""
    is_dead = any(verb == "takeover" for verb, _ in told)
    if is_dead:  # what it could not lock is found by the next one
        for sql, arguments in itertools.chain(*takes_over(world)):
            await connection.fetch(sql, *arguments)
    if [verb for verb, each in told if succeeded(verb, each)] == ["restart", "restart"]:
        yield "it was begun anew twice"
    runs = [world.a, world.b, world.p, world.f, world.h]
    for row in await connection.fetch(BROKEN, "flow" + world.name, world.w, is_dead, runs):
        yield f"run {row['run']}: {row['what']}"
    for nth, (verb, each) in enumerate(told):
        if each.error is not None and each.error.sqlstate not in REFUSALS:
            yield f"{verb}: {each.error!r}"
        if verb == "claim" and each.error is None:
            for claimed in each.answers[0][0]:
                if not await connection.fetchval(CLAIMED, claimed[0], world.v, claimed[4]):
                    yield f"run {claimed[0]} was claimed, and is somebody else's"
            continue
        happened, stood = succeeded(verb, each), await stands(connection, world, verb, nth, each)
        if happened and not stood:
            yield f"{verb} was told that it has happened"
        elif stood and not happened and verb in COMMITS:
            yield f"{verb} was told that it has not happened"


# Nobody takes a run from v, but who ends it.
CLAIMED = """
select r.worker = $2 and r.claim = $3 or r.closed_at is not null
from durable.run r where r.run = $1"""


async def stands(
    connection: asyncpg.Connection[Any], world: World, verb: str, nth: int, told: Told
) -> bool:
    run = "null" if not told.row or told.row[0] is None else told.row[0]
    query = VERBS[verb].stands.format(world, nth, run, world.born[nth])
    return bool(await connection.fetchval(query))
