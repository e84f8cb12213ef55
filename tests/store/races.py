"""Two sessions, and every place where one of them can be overtaken by the other.

A verb is the very statements that the store sends, run by a session of its own. It is stopped:
before each statement of the database's functions (they are given a ``race.stop()`` there), and
before each commit. Then the other session runs its verb, to its end or until it waits for the
first; then the first goes on. What they were told, and what stands in the tables, is judged.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

# What waits longer than this waits for ever, as far as two sessions go. Deadlocks show at once.
WAIT_SECONDS = 5.0
RESENDS_MAX = 10

# The files of the database's functions that can be stopped.
FUNCTIONS = (
    "start", "inbox", "claim", "commit", "retry", "delete", "worker", "outside", "children",
    "adopt",
)  # fmt: skip

_KEYWORDS = ("perform", "select", "insert", "update", "delete", "with", "return query", "for")

_RACE = """
create schema race;

create function race.stop() returns void language plpgsql as $$
declare
    n text := coalesce(nullif(current_setting('race.count', true), ''), '0')::int + 1;
    gate int := current_setting('race.gate', true)::int;
begin
    perform set_config('race.count', n, false);
    if n = current_setting('race.at', true) then
        perform pg_advisory_lock_shared(77, gate);
        perform pg_advisory_unlock_shared(77, gate);
    end if;
end
$$;

-- A small world of its own: worker w owns a and b, v owns nothing, p is due, f has failed, h is
-- held, n is an id that nobody has.
create function race.world(n text, w uuid, v uuid, out a bigint, out b bigint, out p bigint,
    out f bigint, out h bigint, out born bigint[])
language plpgsql as $$
declare
    each bigint;
begin
    insert into durable.worker (worker, name, state, host, pid, pid_started, workflows, queues,
        build, lease_seconds, locks, started_at, beat_at)
    select u, 'host:1', 'live', '', 1, 1, array['flow' || n], array['queue' || n], '1', 15, false,
        now(), now()
    from unnest(array[w, v]) u;
    select nextval('durable.run_key'), nextval('durable.run_key'), nextval('durable.run_key'),
        nextval('durable.run_key'), nextval('durable.run_key'),
        array[nextval('durable.run_key'), nextval('durable.run_key')] into a, b, p, f, h, born;
    insert into durable.run (run, id, workflow, queue, status, due_at, worker, claim, seed,
        created_at, started_at, closed_at, paused_at)
    select u.run, u.id || n, 'flow' || n, 'queue' || n, u.status,
        case when u.id = 'p' then now() end, case when u.status = 'running' then w end,
        1, uuid_send(gen_random_uuid()), now(), now(), case when u.id = 'f' then now() end,
        case when u.id = 'h' then now() end
    from (values (a, 'a', 'running'), (b, 'b', 'running'), (p, 'p', 'pending'), (f, 'f', 'failed'),
        (h, 'h', 'paused')) u(run, id, status);
    insert into durable.input (run, args, digest)
    select u, '', '' from unnest(array[a, b, p, f, h]) u;
    insert into durable.journal (run, position, kind, at, key)
    select u, 0, 'started', now(), decode(repeat('00', 16), 'hex')
    from unnest(array[a, b, p, f, h]) u;
    insert into durable.result (run, failure, next_op) values (f, '', 9);
end
$$;
"""


# What must hold of all runs of a world, whoever came first.
BROKEN = """
with mine as (
    select r.run, r.id, r.current, r.status, r.worker, r.last_seq, r.due_at, r.closed_at,
        r.paused_at,
        (select count(*) from durable.journal j where j.run = r.run) as events,
        (select max(j.position) from durable.journal j where j.run = r.run) as last_position,
        (select max(j.seq) from durable.journal j where j.run = r.run) as read_seq,
        (select count(*) from durable.inbox i where i.run = r.run) as messages,
        (select max(i.seq) from durable.inbox i where i.run = r.run) as last_message,
        (select count(*) from durable.result e where e.run = r.run) as results
    from durable.run r where r.workflow = $1
)
select run, 'its journal has a gap' as what from mine where events <> coalesce(last_position + 1, 0)
union all
select run, 'its inbox has a gap' from mine
where messages <> last_seq or coalesce(last_message, 0) <> last_seq
union all
select run, 'it is ' || status || ' with ' || results || ' results' from mine
where results <> (closed_at is not null)::int
union all
select run, 'events follow its end' from mine join durable.journal j using (run)
where j.kind = 'terminated' and j.position < last_position
union all
select run, 'its end is no event' from mine
where status = 'terminated' and not exists (
    select from durable.journal j
    where j.run = mine.run and j.position = last_position and j.kind = 'terminated')
union all
select run, 'a ghost owns it' from mine
where worker is not null and not exists (
    select from durable.worker w where w.worker = mine.worker)
union all
select run, 'the dead own it' from mine where worker = $2 and $3
union all
select run, 'it has unread mail, and nobody will look' from mine
where status in ('pending', 'running', 'waiting') and last_seq > coalesce(read_seq, 0)
    and (due_at is null or due_at > clock_timestamp())
union all
select run, 'it is ' || status || ', and asked to hold: ' || (paused_at is not null) from mine
where paused_at is not null and status in ('pending', 'waiting', 'unserved')
    or paused_at is null and status = 'paused'
union all
select min(run), id || ' names none, or several' from mine
group by id having count(*) filter (where current) <> 1
union all
select j.run, 'it is gone, and its events stand' from durable.journal j
where j.run = any($4) and not exists (select from durable.run r where r.run = j.run)
"""


class Statement(NamedTuple):
    sql: str
    arguments: tuple[Any, ...]


# What a verb does: transactions, each of statements.
Script = list[list[Statement]]


@dataclass(frozen=True)
class World:
    name: str
    w: UUID
    v: UUID
    a: int
    b: int
    p: int
    f: int
    h: int
    born: tuple[int, int]  # for births: a key for each session

    def id(self, name: str) -> str:
        return name + self.name


def history_of(world: World) -> list[Any]:
    """A run that has begun, under an id that somebody else may want: as `adopt` takes it."""
    told = {"id": world.id("n"), "workflow": "flow" + world.name, "queue": "queue" + world.name,
            "priority": 0, "status": "pending", "seed": b64encode(os.urandom(16)).decode(),
            "depth": 0, "input": "", "input_digest": ""}  # fmt: skip
    begun = {"position": 0, "kind": "started", "at": "2026-01-01T00:00:00Z", "key": "A" * 22 + "=="}
    return [json.dumps(told), json.dumps([begun]), [], [], "[]", "[]", None]


@dataclass
class Told:
    """What a session was told: the answers of its transactions; or the error that ended it."""

    answers: list[list[list[Any]]] = field(default_factory=list)
    error: asyncpg.PostgresError | None = None

    @property
    def row(self) -> Any:
        """The only row of the last statement; none if it was refused, or found nothing."""
        rows = self.answers[-1][-1] if self.answers and self.error is None else []
        return rows[0] if rows else ()


class Player:
    """One session, which may be stopped once."""

    def __init__(self, connection: asyncpg.Connection[Any]) -> None:
        self.connection = connection
        self.pid = connection.get_server_pid()
        self.told = Told()
        self.stands = asyncio.Event()  # before a commit
        self.goes_on = asyncio.Event()

    async def play(self, script: Script, at: str = "") -> Told:
        """``at``: the number of the stop within functions; or c and the number of the commit."""
        self.told, self._commits, self._at = Told(), 0, at
        await self._set(at if not at.startswith("c") else "")
        for transaction in script:
            for _ in range(RESENDS_MAX):
                try:
                    self.told.answers.append(await self._one(transaction))
                except asyncpg.UniqueViolationError:
                    continue  # as the store does: what it met is seen now
                except asyncpg.PostgresError as error:
                    self.told.error = error
                    return self.told
                break
        return self.told

    async def _set(self, at: str) -> None:
        await self.connection.execute(
            f"set race.count = '0'; set race.at = '{at}'; set lock_timeout = '{WAIT_SECONDS}s'; "
            "set deadlock_timeout = '100ms'"
        )

    async def _one(self, transaction: list[Statement]) -> list[list[Any]]:
        async with self.connection.transaction():
            answers = [
                [tuple(row) for row in await self.connection.fetch(each.sql, *each.arguments)]
                for each in transaction
            ]
            self._commits += 1
            if self._at == f"c{self._commits}":
                self.stands.set()
                await self.goes_on.wait()
        return answers


class Race:
    """Two players, one who holds the gate, and one who looks on."""

    def __init__(self, sessions: list[asyncpg.Connection[Any]], number: int) -> None:
        self._first, self._second = Player(sessions[0]), Player(sessions[1])
        self._gate, self.observer = sessions[2], sessions[3]
        self._number = number

    async def run(self, first: Script, at: str, second: Script) -> tuple[Told, Told, bool, bool]:
        """What both were told; whether the first has stood at its stop; whether the second came
        to its end meanwhile."""
        await self._gate.execute(f"select pg_advisory_lock(77, {self._number})")
        self._first.stands.clear()
        self._first.goes_on.clear()
        try:
            one = asyncio.create_task(self._first.play(first, at))
            stood = await self._until_it_stands(one)
            if not stood:
                return await one, Told(), False, False
            two = asyncio.create_task(self._second.play(second))
            overtook = await self._until_it_waits(two)
        finally:
            await self._gate.execute("select pg_advisory_unlock_all()")
            self._first.goes_on.set()
        async with asyncio.timeout(2 * WAIT_SECONDS):
            return await one, await two, True, overtook

    async def _until_it_stands(self, task: asyncio.Task[Told]) -> bool:
        query = (
            "select exists (select from pg_locks where pid = $1 and not granted"
            " and locktype = 'advisory' and classid = 77 and objid = $2)"
        )
        while not task.done():
            if self._first.stands.is_set():
                return True
            if await self.observer.fetchval(query, self._first.pid, self._number):
                return True
        return False

    async def _until_it_waits(self, task: asyncio.Task[Told]) -> bool:
        """True if it came to its end without."""
        while not task.done():
            blockers = await self.observer.fetchval("select pg_blocking_pids($1)", self._second.pid)
            if blockers and not task.done():
                assert blockers == [self._first.pid], "it waits for somebody else"
                return False
        return True


def with_stops(sql: str) -> str:
    """Functions that can be stopped before each of their statements, but for those that ask
    whether the one before has found anything: a stop would answer that."""
    lines, inside, may_begin = [], False, False
    for line in sql.splitlines():
        text = line.strip()
        if text.startswith("$$"):
            inside = False
        asks = re.search(r"\bfound\b", text) is not None
        if inside and may_begin and text.startswith(_KEYWORDS) and not asks:
            lines.append("perform race.stop();")
        lines.append(line)
        code = text.split("--")[0].strip()
        if code == "begin":
            inside = True
        if code:
            opens = code.startswith(("if ", "elsif ", "else")) and code.endswith(("then", "else"))
            may_begin = code.endswith(";") or code in ("begin", "loop") or opens
    return "\n".join(lines)


async def prepare(dsn: str, file: str = "", right: str = "", wrong: str = "") -> None:
    """A database for races. A bug may be planted in a file: there ``wrong`` stands for
    ``right``."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(_RACE)
        for each in FUNCTIONS:
            path = resources.files("durable._store.postgres") / "sql" / f"{each}.sql"
            sql = path.read_text(encoding="utf-8")
            if each == file:
                assert sql.count(right) == 1
                sql = sql.replace(right, wrong)
            await connection.execute(with_stops(sql))
    finally:
        await connection.close()


@asynccontextmanager
async def race(dsn: str, number: int) -> AsyncIterator[Race]:
    sessions = [await asyncpg.connect(dsn) for _ in range(4)]
    try:
        await sessions[0].execute(f"set race.gate = '{number}'")
        await sessions[1].execute(f"set race.gate = '{number}'")
        yield Race(sessions, number)
    finally:
        for each in sessions:
            each.terminate()
