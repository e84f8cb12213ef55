"""One run in this process's memory: its replayer, and what is on its way to the journal.

News arrives as *arrivals* (a result, a due timer, a message). ``advance`` feeds them to the
code and gathers the rows that record them; what the code asked for meanwhile is held back
in ``requests`` until the committer says that those rows are written. No I/O here.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from .._authoring.context import Context, run_workflow
from .._authoring.definitions import Definition
from .._authoring.origins import read
from .._core import commands, divergence, events
from .._core.replayer import Replayer
from .._store.protocol import Advance, Birth, Close, Effects, JournalRow, Message, Note, Park
from ..errors import CodecError, Divergence, InternalError
from . import births, rows
from .arrivals import Arrival, Begin, Due, Redo, Result, to_row
from .closing import closing
from .keys import next_key
from .noted import Noted
from .streaming import gathered

# A run that waits only for things further off than this is put away: its memory is worth
# more than the claim that brings it back. Shorter waits stay where they are.
PARK_AFTER = timedelta(seconds=5)

# All of a journal is read again when its run is taken up after a restart: from this length on a
# warning is logged, and again each time that it has doubled.
LONG_FROM = 10_000

_WRITTEN = (commands.Send, commands.Publish, commands.Reply, commands.Spawn, commands.Patched)
_CLOSES = (commands.Complete, commands.Fail, commands.Stop, commands.Continue)

log = logging.getLogger("durable.worker")


class Instance:
    """A run, live. ``in_flight`` is True while a commit of it is under way."""

    __slots__ = (
        "arrivals", "birth", "claim", "close", "definition", "effects", "fed", "holding", "id",
        "in_flight", "input", "is_queued", "left_out", "loaded", "lost", "noted", "origins",
        "outcome", "parent", "position", "published", "replayer", "report", "requests", "rows",
        "run", "seed", "seen", "sent", "size", "tail",
    )  # fmt: skip

    def __init__(
        self,
        run: int,
        *,
        id: str,
        claim: int,
        seed: bytes,
        definition: Definition,
        input: bytes,
        args: tuple[Any, ...] | None = None,
        parent: int | None = None,
        origins: str | None = None,
    ) -> None:
        """``args`` are what ``input`` holds, if that is known.

        Raises:
            DecodeError: the arguments do not fit the workflow's annotations any more.
        """
        self.run = run
        self.id = id
        self.claim = claim
        self.seed = seed
        self.definition = definition
        self.input, self.origins = input, origins
        self.position = 0  # of the next event
        self.tail: bytes | None = None  # key of the journal's last row, as far as it was sent
        self._begin_code(args)
        self.seen = 0  # messages read from the inbox
        self.fed = 0  # those among them that its code had been fed when it was last to be written
        self.arrivals: list[Arrival] = []
        self.rows: list[JournalRow] = []
        self.requests: list[commands.Request] = []  # of the world, held until it is written
        self.effects: list[commands.Effect] = []  # of these rows' turns
        self.size = 0  # bytes of payloads that are to be written, about
        self.sent = False  # by the commit under way: receivers are to look
        self.published = False  # by the commit under way: readers are to be told
        self.noted: Noted | None = None
        self.parent = parent
        self.birth: Birth | None = None
        self.close: Close | None = None
        self.outcome: commands.Close | None = None
        self.report: str | None = None  # why no code here can continue it
        self.in_flight = False
        self.is_queued, self.left_out = False, 0  # how often, in a row
        self.loaded = False  # rebuilt from its journal, so attempts may have run elsewhere
        self.lost = False
        self.holding = False  # as somebody asked: it goes back when nothing is under way

    def _begin_code(self, args: tuple[Any, ...] | None = None) -> None:
        definition = self.definition
        kwargs: dict[str, Any] = {}
        if args is None:
            args, kwargs = definition.signature.decode_call(self.input)
        self.replayer = Replayer(lambda: run_workflow(ctx, definition, args, kwargs), self.seed)
        name, signature = definition.name, definition.signature
        facts: dict[str, Any] = {"id": self.id, "run": self.run, "origins": read(self.origins)}
        ctx = Context(self.replayer, workflow=name, signature=signature, **facts)

    @property
    def is_idle(self) -> bool:
        """Whether all that it knows is written."""
        return not (self.in_flight or self.is_queued or self.arrivals or self.rows)

    @property
    def has_news(self) -> bool:
        """Whether there is something to be fed or written."""
        return bool(self.arrivals) or (self.noted is not None and self.noted.has_news)

    def noting(self) -> Noted:
        """What its attempts tell: made for the few runs that have something of it."""
        if self.noted is None:
            self.noted = Noted()
        return self.noted

    @property
    def facts(self) -> dict[str, Any]:
        """What log lines about it carry."""
        return {"run": self.run, "id": self.id, "workflow": self.definition.name}

    def rewind(self) -> None:
        """Throw the code away and stand before the first event again. What is under way for
        the run goes on: it is known by its op."""
        self.replayer.close()
        self.position = 0
        self.loaded = True
        self._begin_code()

    def replay(self, history: list[JournalRow]) -> None:
        """Feed recorded rows; what the code asked for in those turns is already done, or
        still stands in ``replayer.open``.

        Raises:
            Divergence, DecodeError: this code cannot continue the run.
        """
        for row in history:
            self.again(row)

    def again(self, row: JournalRow) -> list[commands.Command]:
        """The turn of a recorded row: what the code asks for in it."""
        if row.position < self.position:
            raise InternalError("history out of order", run=self.run, position=row.position)
        replayer, patches = self.replayer, self.replayer.patches
        patches.recorded = row.patches or ()
        try:
            asked = replayer.feed(rows.to_event(row, replayer.open))
            divergence.check_effects(row.position, row.effects, asked)
            if row.patches:
                patches.check(row.position, row.patches)
        except Divergence as error:
            raise self._seen(error, row) from error.__cause__
        finally:
            patches.recorded = None
        self.position = row.position + 1
        if row.seq is not None:
            self.seen = max(self.seen, row.seq)
        return asked

    def _seen(self, error: Divergence, row: JournalRow | None = None) -> Divergence:
        """The same, with what only the run knows: lines, the argument, and how to fork it."""
        module = self.definition.fn.__module__.replace("__main__", "MODULE")
        facts, site = {"whose": f"{shlex.quote(self.id)} {module}"}, None
        if row is not None:
            site = row.site
            facts["event"] = f"{row.kind} {row.name!r}" if row.name else row.kind
            if error.kind == "arguments" and row.input is not None:
                asked: Any = self.replayer._waiting[row.op or 0].asked
                facts["otherwise"] = rows.difference(row.input, asked.call) or ""
        return error.seen(site, *self.waiting(), **facts)

    def advance(self, now: datetime) -> Advance | None:
        """Feed all arrivals and return what is to be written; None if nothing is."""
        fed, arrivals, replayer = 0, self.arrivals, self.replayer
        for arrival in arrivals:
            if replayer.closed or self.report is not None:
                break
            self._feed(arrival, now)
            fed += 1
        del arrivals[:fed]
        written, after, self.fed = self.rows, self.tail, self.seen
        effects = self._take_effects(written, now)
        if written:
            self.rows, self.tail = [], written[-1].key
            if self.position >= LONG_FROM and self.close is None:
                self._tell_length(self.position - len(written))
        elif effects is None or not (
            effects.park or effects.notes or effects.publishes or effects.children
        ):
            return None
        size, self.size = self.size, 0
        return Advance(self.run, self.claim, written, after, effects, size)

    def _take_effects(self, written: list[JournalRow], now: datetime) -> Effects | None:
        """What is to be written beside the rows, if anything."""
        requests, noted = self.requests, self.noted
        goes_on = requests and isinstance(requests[-1], commands.Run)  # as most do
        park = None if goes_on else self._park(now)
        if noted is not None and noted.is_over:
            self.noted = noted = None
        if not (park or noted or self.birth or self.close or self.effects):
            return None
        taken = Effects(self.birth, self.close, park)
        streaming = noted.streaming if noted else {}
        if self.effects:
            taken.deliveries, taken.replies = rows.to_effects(self.run, self.id, self.effects)
            taken.children = births.to_children(self.effects)
        if self.effects or streaming:
            key = written[0].key if written else next_key()
            taken.publishes = gathered(self.effects, streaming, key)
            self.published = bool(taken.publishes or taken.replies)
            self.sent = bool(taken.deliveries or taken.children)
            self.size += rows.bytes_of_effects(taken)
            self.effects = []
            streaming.clear()
        if self.outcome is not None:
            taken.heir = births.to_heir(self.outcome)
        if noted:
            taken.notes, taken.ended = noted.take(self.replayer.open)
        return taken

    def spawn_again(self, begun: Collection[int]) -> None:
        """Children that the code waits for, by op, of which the database knows only some: of a run
        that is retried, those that were refused or have been removed since."""
        spawns = (each for each in self.replayer.open.values() if isinstance(each, commands.Spawn))
        self.effects += [each for each in spawns if each.op not in begun]

    def _tell_length(self, before: int) -> None:
        """If it has just grown so long, whoever had the run before."""
        if (before // LONG_FROM).bit_length() == (self.position // LONG_FROM).bit_length():
            return
        log.warning(
            "the journal of run %r has %d events, at %s: all of it is read again after each "
            "restart. End it and begin anew by ctx.continue_as_new()",
            self.id, self.position, self.waiting()[1] or "its start", extra=self.facts,
        )  # fmt: skip

    def _feed(self, arrival: Arrival, now: datetime) -> None:
        replayer, row = self.replayer, None
        at = max(replayer.now, now)
        try:
            if isinstance(arrival, Result):
                recorded = self._answered(arrival, at)
            else:
                recorded = self._recorded(arrival, at)
            if recorded is None:
                return  # the code has stopped waiting for it
            row, event = recorded
            self.rows.append(row)
            self.position += 1
            self.size += len(row.input or b"") + len(row.result or b"")
            asked = replayer.feed(event)
        except (Divergence, CodecError) as error:
            self.report = str(error)
            if row is not None:  # a fact, and written; its turn is for other code to begin anew
                self.rows.append(rows.taken_back(row, next_key()))
                self.position += 1
        else:
            self._take(asked)

    def _answered(self, result: Result, at: datetime) -> tuple[JournalRow, events.Event] | None:
        """The usual arrival. The digest of its input is not written: the input is."""
        asked = self.replayer.open.get(result.op)
        if not isinstance(asked, commands.Run):
            return None
        p, op, kind, name = self.position, asked.op, asked.kind, asked.name
        row = JournalRow(self.run, p, kind, at, next_key(), op, name, asked.call.input,
                         result.result, result.failure, asked.site)  # fmt: skip
        if result.error is not None:
            return row, events.Failed(p, at, op, kind, name, asked.digest, result.error)
        return row, events.Answered(p, at, op, kind, name, asked.digest, result.value)

    def _recorded(
        self, arrival: Begin | Due | Message | Redo, at: datetime
    ) -> tuple[JournalRow, events.Event] | None:
        """An arrival as its journal row and its event, with the next position."""
        waits = self.replayer.open
        row = to_row(arrival, (self.run, self.position, next_key()), at, waits)
        if row is None:
            return None
        event = rows.to_event(row, waits)
        if isinstance(event, events.Asked) and isinstance(arrival, Message):
            event = event._replace(accepted=None)  # its check is yet to be asked
        return row, event

    def _take(self, asked: list[commands.Command]) -> None:
        written: list[commands.Effect | commands.Patched] = []
        for command in asked:
            if isinstance(command, commands.Run):  # the usual one
                self.requests.append(command)
            elif isinstance(command, _CLOSES):
                self.outcome = command
                self.close = closing(command, self.definition, self.replayer.next_op)
                if self.parent is not None or self.replayer.has_children:
                    self.close = self.close._replace(
                        parent=self.parent, has_children=self.replayer.has_children
                    )
            elif isinstance(command, _WRITTEN):
                written.append(command)
            else:
                self.requests.append(command)
        if written:
            self._take_written(written)

    def _take_written(self, written: list[commands.Effect | commands.Patched]) -> None:
        """What goes with this turn; its row tells which, and whether it is an update refused."""
        row = self.rows[-1]
        patches = [each.id for each in written if isinstance(each, commands.Patched)]
        effects = [each for each in written if not isinstance(each, commands.Patched)]
        facts: dict[str, Any] = {"effects": divergence.digest_of(effects)}
        facts["patches"] = patches or None
        for each in effects:
            if isinstance(each, commands.Reply) and (each.kind, each.seq) == ("rejected", row.seq):
                facts["failure"] = each.payload or row.failure
        self.rows[-1] = msgspec.structs.replace(row, **facts)
        self.effects += effects

    def put_away(self) -> None:
        """It has no owner any more. What came while that was being written stays in its inbox, and
        on its row, for the next one; what attempts tell that it has given up is for nobody."""
        self.arrivals.clear()
        self.seen = self.fed
        if self.noted is not None:
            self.noted.drop()

    # What is under way for it

    def take_over(self, found: Iterable[Note]) -> None:
        """What an earlier owner has begun must be what this code asks for.

        Raises:
            Divergence: it is not.
        """
        notes = {note.op: note for note in found}
        if notes or self.noted is not None:
            self.noting().find(notes)
        for op, name, digest, attempt, *_ in notes.values():
            asked = self.replayer.open.get(op)
            if not isinstance(asked, commands.Run) or (asked.name, asked.digest) != (name, digest):
                then = f"no end of attempt {attempt} of {name!r} (op {op}), which has begun"
                now = divergence.describe(asked) + ", or other arguments" if asked else "nothing"
                site = asked.site if asked else None
                raise self._seen(Divergence(
                    position=self.position, recorded=then, asked=now, kind="begun", site=site
                ))  # fmt: skip

    # What it waits for

    def _park(self, now: datetime) -> Park | None:
        """Whether this run can be put away until something comes."""
        if self.close is not None or self.report is not None or self.arrivals:
            return None
        first: commands.Wait | None = None
        for each in self.replayer.open.values():
            if isinstance(each, commands.Run):
                return None
            if isinstance(each, commands.Wait) and (first is None or each.due < first.due):
                first = each
        if first is not None and first.due - now < PARK_AFTER:
            return None
        waits_for, waits_at = self.waiting()
        return Park(first.due if first else None, self.seen, waits_for, waits_at)

    def waiting(self) -> tuple[str | None, str | None]:
        """What the run waits for, in words, and the line that asked for it."""
        open_ = list(self.replayer.open.values())
        if not open_ and self.close is not None:
            return None, None
        return divergence.waiting(open_)
