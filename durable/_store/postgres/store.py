"""The Postgres store: a plain record of its nouns, over a handful of connections.

- *calls*: short calls of client and worker; waits 80 ms for a lock at most
- *commits*: the committer's own
- *aside*: what must wait for a stranger's lock, half a second at a time
- *lists*: what may look at, or remove, much
- the heartbeat's, opened in its own thread, and those of ``ctx.transaction``

All but *calls* are opened when they are first used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Self

from .. import verbs
from ..protocol import Hint
from . import fitting, statements
from .connecting import Session, Sessions
from .inbox import Inbox
from .journal import Journal
from .line import Line
from .listing import Listing
from .outcomes import CONNECTIONS_MAX, Outcomes
from .runs import Runs
from .streams import Streams
from .workers import Heartbeat, Workers

# A stranger's lock is not waited for in a batch, nor in anybody's way (seconds).
LOCK_SECONDS = 0.08

# Below deadlock_timeout (1 s by default): when a user's transaction and ours wait for each
# other, ours gives way, and his is never the victim.
PATIENT_LOCK_SECONDS = 0.5


class Store:
    """Made by ``open``. Belongs to the event loop it was opened in."""

    def __init__(self, sessions: Sessions, schema: str, transactions_max: int, *, notify: bool):
        self._schema = schema
        self._notify = notify
        self._sessions = sessions
        aside = Line(sessions, lock_timeout=PATIENT_LOCK_SECONDS)
        calls, commits, lists = (
            Line(sessions, lock_timeout=LOCK_SECONDS, aside=aside) for _ in range(3)
        )
        self._lines = (calls, commits, aside, lists)
        self._calls = calls
        self._sql = statements.load("listening", schema)
        self._hints_begun = 0
        self._told: dict[Hint, int] = {}  # the latest that has been, by its number
        self._listening: dict[tuple[Hint, Callable[..., None]], Session | None] = {}
        self.runs: verbs.Runs = Runs(calls, schema)
        self.journal: verbs.Journal = Journal(commits, calls, schema)
        self.inbox: verbs.Inbox = Inbox(calls, schema)
        self.streams: verbs.Streams = Streams(calls, schema)
        self.workers: verbs.Workers = Workers(calls, schema)
        self.listing: verbs.Listing = Listing(lists, schema)
        self._outcomes = Outcomes(
            calls, schema, sessions=sessions, connections_max=transactions_max
        )
        self.outcomes: verbs.Outcomes = self._outcomes

    @classmethod
    async def open(
        cls,
        dsn: str,
        *,
        name: str,
        schema: str = "durable",
        transactions_max: int = CONNECTIONS_MAX,
        notify: bool = True,
    ) -> Self:
        """Connect, and see that the schema fits this code. Sessions are named after ``name``.
        ``transactions_max`` bounds the connections of ``ctx.transaction``. Without ``notify``
        nothing is listened to, and nobody is notified: all is found by polling.

        Raises:
            ConfigurationError, StoreUnavailable: what is wrong with the database, in words.
            SchemaMismatch: it has no schema yet, or one that does not fit.
        """
        store = cls(Sessions(dsn, name), schema, transactions_max, notify=notify)
        try:
            await store._calls.open()
            await store._calls.call(lambda connection: fitting.check(connection, schema))
        except BaseException:
            await store.close()
            raise
        return store

    async def close(self) -> None:
        """Bounded, whatever the database does."""
        await asyncio.gather(*(line.close() for line in self._lines), self._outcomes.close())

    async def open_heartbeat(self) -> Heartbeat:
        """A worker's heartbeat on a connection of its own; belongs to the loop (and thread)
        that calls this."""
        line = Line(self._sessions, lock_timeout=PATIENT_LOCK_SECONDS)
        await line.open()
        return Heartbeat(line, self._schema, self._sessions.backends, listens=self._notify)

    async def notify(self, hint: Hint) -> None:
        """Tell whoever listens elsewhere. Many who ask at once are told of by one statement: the
        first that begins after they have asked."""
        asked = self._hints_begun

        async def tell(connection: Any) -> None:
            if self._told.get(hint, 0) <= asked:
                self._hints_begun = number = self._hints_begun + 1
                await connection.fetch(self._sql["notify"], hint)
                self._told[hint] = number

        if self._notify:
            await self._calls.call(tell)

    async def listen(self, hint: Hint, hear: Callable[..., None]) -> None:
        """Call ``hear`` at such hints, for as long as the present connection lives. Behind a
        pooler none arrive."""
        session = self._calls.session
        if not self._notify or session is None or session.pooled:
            return
        if session is not self._listening.get((hint, hear)):
            await self._calls.call(lambda c: c.add_listener(hint, hear))
            self._listening[hint, hear] = self._calls.session
