"""A proxy between a worker and Postgres that knows the protocol: it can part the two at each
round trip, before the server has seen the question or after it has acted on it.

A round trip is named by its statement and by how often that was sent: ``commit#2``; the first
one of a prepared statement on a connection is its preparation, ``prepare commit#1``.
"""

from __future__ import annotations

import asyncio
import re
import struct
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit, urlunsplit

from tests.proof.sessions import SWEEP, Kept, Sessions

LAST_WORDS_SECONDS = 0.5

END = b"X\0\0\0\4"  # of a session, said aloud; a client that is killed says nothing
ASKS = b"QSH"  # messages that make the server answer: query, sync, flush
_STATEMENT = re.compile(rb"/\* durable: (\w+) \*/")


class Parted(Exception):
    """This connection ends here."""


@dataclass(frozen=True)
class Point:
    """Where to strike: at the ``nth`` round trip of a name; ``after`` the server has acted, or
    before it has seen anything."""

    name: str
    nth: int
    after: bool = False

    def __str__(self) -> str:
        return f"{'after' if self.after else 'before'} {self.name}#{self.nth}"


@dataclass(eq=False)
class Link:
    """One connection through the proxy."""

    reader: asyncio.StreamReader  # of what the server says
    server: asyncio.StreamWriter
    client: asyncio.StreamWriter
    start: bytes  # the message that began it
    greeting: bytes = b""  # the answer to that
    statements: dict[bytes, str] = field(default_factory=dict)
    name: str = "sync"
    pid: int = 0  # of the server's session
    is_hole: bool = False
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    unanswered: int = 0
    is_idle: bool = False  # outside a transaction, as the server said last
    left: bool = False  # in order, so its session may be kept
    kept: bool = False  # and is
    held: bool = False  # answers are kept back until the strike is over
    task: asyncio.Task[None] | None = None  # ends it, if cancelled


class Messages:
    """Whole messages of the protocol, as many as have come."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader, self._rest = reader, b""

    async def next(self) -> list[bytes]:
        while not (whole := self._whole()):
            more = await self._reader.read(65536)
            if not more:
                raise EOFError
            self._rest += more
        return whole

    def _whole(self) -> list[bytes]:
        whole, at, data = [], 0, self._rest
        while at + 5 <= len(data):
            end = at + 1 + int.from_bytes(data[at + 1 : at + 5], "big")
            if end > len(data):
                break
            whole.append(data[at:end])
            at = end
        self._rest = data[at:]
        return whole


# What a strike does; it may wait, mark the link a hole, or raise Parted.
Strike = Callable[[Link], Coroutine[Any, Any, None]]


class Proxy:
    """``dsn`` leads through it. ``aim`` strikes once, at a point. Given ``sessions``, those of the
    server that are left in order are kept there, and taken from there."""

    def __init__(self, dsn: str, sessions: Sessions | None = None) -> None:
        self._direct = urlsplit(dsn)
        self._sessions = sessions
        self.seen: Counter[str] = Counter()
        self.order: list[tuple[str, int]] = []
        self.times: list[float] = []  # when each of them came, in seconds
        self._began = time.monotonic()
        self._point: Point | None = None
        self._strike: Strike | None = None
        self.struck = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.links: set[Link] = set()  # that stand now

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._last_words()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _last_words(self) -> None:
        """Who used the links is gone: what they have said last is on its way."""
        ending = [link.task for link in self.links if link.task and not link.is_hole]
        if self._sessions is not None and ending:
            await asyncio.wait(ending, timeout=LAST_WORDS_SECONDS)

    @property
    def dsn(self) -> str:
        host, port = self._server.sockets[0].getsockname()
        who = f"{self._direct.username or 'postgres'}:{self._direct.password or 'none'}"
        place = f"{who}@{host}:{port}"
        return urlunsplit(("postgresql", place, self._direct.path, "sslmode=disable", ""))

    def aim(self, point: Point, strike: Strike) -> None:
        self._point, self._strike = point, strike

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        query = parse_qs(self._direct.query)
        host = self._direct.hostname
        port = self._direct.port or int(query.get("port", ["5432"])[0])
        if host is None and query.get("host", [""])[0].startswith("/"):
            return await asyncio.open_unix_connection(f"{query['host'][0]}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host or query["host"][0], port)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            link = await self._link(reader, writer)
            link.task = task
            self.links.add(link)
            ways = [asyncio.ensure_future(self._up(reader, link)),
                    asyncio.ensure_future(self._down(link))]  # fmt: skip
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                if link.is_hole:  # the server hears nothing of its client's end
                    await asyncio.Event().wait()
                if link.left:
                    await asyncio.wait(ways)
            finally:
                self.links.discard(link)
                for each in ways:
                    each.cancel()
                await asyncio.gather(*ways, return_exceptions=True)  # each ends as its link did
                if not link.kept:
                    link.server.transport.abort()
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Link:
        size = await reader.readexactly(4)
        start = size + await reader.readexactly(struct.unpack("!i", size)[0] - 4)
        kept = self._sessions and await self._sessions.take(start)
        if kept:
            return Link(kept.reader, kept.writer, writer, start, kept.greeting, pid=kept.pid)
        return Link(*await self._open(), writer, start)

    async def _up(self, reader: asyncio.StreamReader, link: Link) -> None:
        if link.greeting:
            self._count("startup")
            link.client.write(link.greeting)
            link.is_idle = True
        else:
            await self._ask(link, "startup", link.start, b"Z")
        batch, messages = b"", Messages(reader)
        while True:
            try:
                some = await messages.next()
            except (EOFError, OSError):
                if not self._may_keep(link):
                    raise
                some = [END]  # to a server in peace both are the same
            for message in some:
                kind = message[:1]
                batch += message
                self._note(link, kind, message[5:])
                if kind in ASKS:
                    name = f"prepare {link.name}" if kind == b"H" else link.name
                    await self._ask(link, name, batch, b"TnE" if kind == b"H" else b"Z")
                    batch = b""
                elif kind == b"X" and self._may_keep(link):
                    link.left = True
                    link.server.write(_query(SWEEP))
                    return
                elif kind in b"pX":
                    link.server.write(batch)
                    batch = b""

    def _may_keep(self, link: Link) -> bool:
        calm = link.is_idle and not link.unanswered and not link.is_hole
        return self._sessions is not None and calm

    @staticmethod
    def _note(link: Link, kind: bytes, body: bytes) -> None:
        """Which statement the next question is about."""
        if kind == b"Q":
            link.name = _name(body)
        elif kind == b"P":
            statement, text = body.split(b"\0")[:2]
            link.name = link.statements[statement] = _name(text)
        elif kind == b"B":
            link.name = link.statements.get(body.split(b"\0")[1], "statement")

    def _count(self, name: str) -> int:
        self.seen[name] += 1
        nth = self.seen[name]
        self.order.append((name, nth))
        self.times.append(time.monotonic() - self._began)
        return nth

    async def _ask(self, link: Link, name: str, question: bytes, ends: bytes) -> None:
        nth = self._count(name)
        point, strike = self._point, self._strike
        link.unanswered += ends == b"Z"
        hit = point is not None and (name, nth) == (point.name, point.nth)
        if hit and strike is not None and point is not None:
            if point.after:
                link.held, link.answered = True, asyncio.Event()
                link.server.write(question)
                await link.answered.wait()
            self._point = None
            self.struck.set()
            # A task of its own: the connection may end meanwhile.
            striking = asyncio.ensure_future(strike(link))
            self._tasks.add(striking)
            try:
                await asyncio.shield(striking)
            finally:
                link.held = False
            if point.after:
                return
        if not link.is_hole:
            link.server.write(question)

    async def _down(self, link: Link) -> None:
        messages, greeted = Messages(link.reader), bool(link.greeting)
        while True:
            told = b""
            for message in await messages.next():
                kind = message[:1]
                if kind == b"K":
                    link.pid = struct.unpack("!i", message[5:9])[0]
                if link.held and kind in b"ZTnE":
                    _tell(link, told)
                    told = b""
                    link.answered.set()
                    while link.held:
                        await asyncio.sleep(0.002)
                if not greeted:
                    link.greeting += message
                    greeted = kind == b"Z"
                if kind == b"Z":
                    link.is_idle = message[5:] == b"I"
                    if link.left:
                        return self._keep(link)
                    link.unanswered -= 1
                told += message
            _tell(link, told)

    def _keep(self, link: Link) -> None:
        assert self._sessions is not None
        link.kept = True
        self._sessions.leave(Kept(link.start, link.greeting, link.pid, link.reader, link.server))


def _tell(link: Link, answers: bytes) -> None:
    if answers and not (link.is_hole or link.left or link.client.is_closing()):
        link.client.write(answers)


def _query(sql: str) -> bytes:
    text = sql.encode() + b"\0"
    return b"Q" + struct.pack("!i", len(text) + 4) + text


def _name(text: bytes) -> str:
    found = _STATEMENT.search(text)
    if found:
        return found[1].decode()
    return b" ".join(text.strip(b"\0 ;").split()[:2]).decode(errors="replace").lower()[:24]
