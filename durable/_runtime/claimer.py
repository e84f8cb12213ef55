"""The claimer: takes due runs as long as there is room, and brings them to where they stood.

A claim takes the run's row; the history is read in a statement that starts after it, since
inside it the history could be stale. The run is then replayed, in slices, so that a
recovery of thousands never holds the host's loop. Every few seconds the rows that are
marked as this worker's are compared with its memory: a claim whose answer was lost leaves
a row that nobody else would ever take.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from .._core import divergence
from .._store import verbs
from .._store.protocol import Claimed, JournalRow, Message, Note
from ..errors import CodecError, Divergence, InternalError, LeaseLost, StoreUnavailable
from . import rows
from .arrivals import Begin, Redo, merged
from .clock import Alarm
from .committer import SLICE_SECONDS
from .doubtful import CRASHES_MAX, Doubtful, report
from .ghosts import drop_strays, reconcile
from .instance import Instance
from .versions import differing, versions

if TYPE_CHECKING:
    from .worker import LiveWorker

log = logging.getLogger("durable.worker")

# Runs claimed in one statement: enough to fill a batch, few enough to load in one go.
CLAIM_MAX = 200

# None are claimed beside runs whose arguments are larger than this: both are in memory.
AHEAD_BYTES_MAX = 4 * 1024 * 1024

RECONCILE_SECONDS = 5.0


class Claimer:
    def __init__(self, worker: LiveWorker) -> None:
        self._worker = worker
        self._poked = asyncio.Event()
        self._mail = False
        self.backlog = False  # the last claim was full: more is due
        self._looking = False
        self._rest: set[int] = set()  # runs of which one read was not enough
        self.loading: set[int] = set()  # runs that are claimed, and not in memory yet
        self._asks = False  # whether what is busy for long is ours still
        self._doubtful = Doubtful()
        self._wake: Alarm | None = None
        self._reconciled_at = time.monotonic()

    def poke(self) -> None:
        """Runs are due, or may be."""
        self._poked.set()

    def poke_at(self, when: datetime) -> None:
        """Runs are due then, none before."""
        self.clear()
        self._wake = self._worker.clock.call_at(when, self.poke)

    def clear(self) -> None:
        if self._wake is not None:
            self._wake.cancel()

    def mail_came(self) -> None:
        """A run of ours has a message that is not read yet."""
        self._mail = True
        self._poked.set()

    def compare(self) -> None:
        """Runs are ours, in memory or there: now and then the two are compared. Those that are
        busy for long are asked for at each beat: somebody may have terminated them."""
        self._asks = bool(self._worker.attempts.runs(noted=True))
        if self._asks or time.monotonic() - self._reconciled_at > RECONCILE_SECONDS:
            self._poked.set()

    def busy(self) -> bool:
        return self._looking or self._poked.is_set() or bool(self.loading)

    def made_room(self) -> None:
        if self.backlog:
            self._poked.set()

    async def once(self) -> None:
        """Look when somebody pokes; each beat does when runs are due."""
        await self._poked.wait()
        self._poked.clear()
        self._looking = True
        me, asked_at = self._worker.registration.worker, time.monotonic()
        try:
            await self._look(me)
        except LeaseLost:
            self._worker.lost(me, asked_at)
        except StoreUnavailable as error:
            log.warning("the database did not answer a claim: %s", error)
            await asyncio.sleep(0.2)
            if not self._worker.draining:
                self._poked.set()
        except Exception:
            self._poked.set()  # what was to be done is to be done still
            raise
        finally:
            self._looking = False

    async def _look(self, me: UUID) -> None:
        worker = self._worker
        if self._mail or self._rest:
            self._mail = False
            await self._read_mail()
        await self._take_due(me)
        if time.monotonic() - self._reconciled_at > RECONCILE_SECONDS:
            self._reconciled_at = time.monotonic()
            await reconcile(worker)
        elif self._asks:
            await drop_strays(worker)
        self._asks = False

    async def _take_due(self, me: UUID) -> None:
        """As much as fits. While some are brought up, the next are claimed."""
        worker = self._worker
        claimed: list[Claimed] = []
        found, self.backlog = 0, True
        while claimed or (self.backlog and worker.room):
            both = self._claim(me, claimed), self.load(me, claimed)
            ahead, loaded = await asyncio.gather(*both, return_exceptions=True)
            if isinstance(loaded, BaseException):
                raise loaded
            if isinstance(ahead, BaseException):
                raise ahead
            claimed = ahead
            found += len(claimed)
        if found and not self.backlog:  # when are the next?
            worker.look_again()

    async def _claim(self, me: UUID, beside: Sequence[Claimed]) -> list[Claimed]:
        """Runs that fit beside those that are about to be loaded. A doubtful one is tried alone."""
        worker, doubtful = self._worker, self._doubtful
        limit = min(worker.room - len(beside), CLAIM_MAX)
        size = sum(len(each.input) for each in beside)
        is_full = size > AHEAD_BYTES_MAX or any(each.is_doubtful for each in beside)
        if limit < 1 or not self.backlog or is_full:
            return []
        if acquitted := doubtful.review():
            await worker.store.runs.acquit(me, acquitted)
        claimed = await worker.store.runs.claim(
            me, limit=limit, versions=versions(), doubtful_max=doubtful.room
        )
        self.backlog = len(claimed) == limit
        return claimed

    # Loading

    async def load(self, me: UUID, claimed: Sequence[Claimed]) -> None:
        """Runs come into memory, and go on. ``me``: whose claims they are."""
        if not claimed:
            return
        told = {each.run: each for each in claimed}
        self.loading |= told.keys()
        self._worker.meter.count("durable_claims_total", len(claimed))
        try:
            await self._load(me, told)
        finally:
            self.loading -= told.keys()

    async def _load(self, me: UUID, told: dict[int, Claimed]) -> None:
        """What the claims have not told is read, and each run goes on."""
        instances: list[Instance] = []
        slice_end = time.monotonic() + SLICE_SECONDS
        for each in told.values():
            instance = self._instance_of(each)
            if instance is not None:
                instances.append(instance)
            if time.monotonic() > slice_end:  # decoding arguments runs the user's classes
                await asyncio.sleep(0)
                slice_end = time.monotonic() + SLICE_SECONDS
        came = {each.run: told[each.run].unread(each.seen) for each in instances}
        late = await self._read_messages([each for each in instances if came[each.run] is None])
        noted = [each.run for each in instances if told[each.run].noted]
        notes = await self._worker.store.journal.notes(noted)
        slice_end = time.monotonic() + SLICE_SECONDS
        async for instance, history in self._histories(instances, told):
            if history and history[-1].kind == "terminated":  # since it was claimed
                self._worker.forget(instance)
                continue
            claim = told[instance.run]
            news = came[instance.run] or late[instance.run], notes[instance.run]
            try:
                slice_end = await self._bring_up(me, instance, history, *news, slice_end)
                if claim.is_doubtful:
                    self._doubtful.hold(instance)
            except Divergence as error:
                self._give_up(instance, f"{error}{differing(claim.versions)}")
            except CodecError as error:
                self._give_up(instance, str(error))
            except Exception as error:  # noqa: BLE001 - told with its traceback, if it counts
                self._give_up(instance, f"it could not be loaded: {error!r}", error)

    def _instance_of(self, claimed: Claimed) -> Instance | None:
        """The run's instance, kept from before or new; None if it is not to be taken up."""
        worker = self._worker
        facts = {"run": claimed.run, "id": claimed.id, "workflow": claimed.workflow}
        if claimed.crashes >= CRASHES_MAX:
            worker.own(worker.chores.set_stuck(facts, claimed.claim, report(claimed.crashes)))
            return None
        kept = worker.cache.take(claimed.run)
        definition = worker.definitions.get(claimed.workflow)
        if kept is not None and kept.definition is definition:
            kept.claim, kept.holding = claimed.claim, False
            return kept
        if definition is None:
            raise InternalError("claimed a workflow that is not served", workflow=claimed.workflow)
        try:
            instance = Instance(
                claimed.run,
                id=claimed.id,
                claim=claimed.claim,
                seed=claimed.seed,
                definition=definition,
                input=claimed.input,
                parent=claimed.parent,
                origins=claimed.origins,
            )
        except CodecError as error:
            worker.own(worker.chores.set_stuck(facts, claimed.claim, str(error)))
            return None
        instance.loaded = True
        return instance

    def _give_up(self, instance: Instance, report: str, cause: Exception | None = None) -> None:
        self._worker.forget(instance)
        chores = self._worker.chores
        self._worker.own(chores.set_stuck(instance.facts, instance.claim, report, cause))

    async def _histories(
        self, instances: list[Instance], told: dict[int, Claimed]
    ) -> AsyncIterator[tuple[Instance, list[JournalRow]]]:
        """Each run with what it lacks of its history, first those that lack nothing; one page of
        it in memory, however much there is."""
        lacking = {each.run for each in instances if each.position != told[each.run].length}
        waiting = deque(sorted(instances, key=lambda each: (each.run in lacking, each.run)))
        history: list[JournalRow] = []
        starts = [(each.run, each.position) for each in waiting if each.run in lacking]
        async for page in self._worker.store.journal.pages(starts):
            for row in page:
                while waiting[0].run != row.run:
                    yield waiting.popleft(), history
                    history = []
                history.append(row)
        while waiting:
            yield waiting.popleft(), history
            history = []

    async def _read_messages(self, instances: list[Instance]) -> dict[int, list[Message]]:
        # What was read before, the journal knows, until a new instance has read that.
        wanted = [(each.run, each.seen if each.position else -1) for each in instances]
        messages: dict[int, list[Message]] = defaultdict(list)
        for message in await self._worker.store.inbox.read(wanted):
            messages[message.run].append(message)
        self._rest -= {each.run for each in instances}
        self._rest |= {run for run in messages if len(messages[run]) == verbs.MESSAGES_MAX}
        if self._rest:
            self._poked.set()
        return messages

    async def _bring_up(
        self,
        me: UUID,
        instance: Instance,
        history: list[JournalRow],
        messages: list[Message],
        notes: list[Note],
        slice_end: float,
    ) -> float:
        """Replay, then let the run go on. Returns the end of the current slice."""
        if instance.position > 0 and any(row.kind == "voided" for row in history):
            # A retry took back what the kept instance has seen: begin from the start.
            instance.rewind()
            history = await self._worker.store.journal.read([(instance.run, 0)])
        began = time.monotonic()
        read = rows.read(history)
        for row in read.rows:
            instance.replay([row])
            if time.monotonic() > slice_end:
                await asyncio.sleep(0)
                slice_end = time.monotonic() + SLICE_SECONDS
        if history:
            instance.tail = history[-1].key
            self._worker.meter.replayed(len(read.rows), began)
        if len(read.rows) < len(history):  # what a retry took back was read all the same
            instance.seen = max(instance.seen, *(row.seq or 0 for row in history))
            if instance.replayer.has_children:
                begun = await self._worker.store.runs.children(instance.run)
                instance.spawn_again([*begun, read.redo.op or 0] if read.redo else begun)
        instance.take_over(notes)
        self._go_on(me, instance, read.redo, messages)
        return slice_end

    def _go_on(
        self, me: UUID, instance: Instance, redo: JournalRow | None, messages: list[Message]
    ) -> None:
        worker = self._worker
        if me != worker.registration.worker:
            worker.forget(instance)  # this worker died meanwhile: it is somebody else's
            return
        if redo is not None:
            instance.arrivals.append(Redo(redo))
            instance.seen = max(instance.seen, redo.seq or 0)  # it brings its message along
        elif instance.position == 0:
            instance.arrivals.append(Begin())
        messages = [each for each in messages if each.seq > instance.seen]
        instance.arrivals.extend(merged(messages, instance.replayer.open, worker.clock.now()))
        for message in messages:
            instance.seen = max(instance.seen, message.seq)
        if instance.replayer.closed:
            raise divergence.ended(instance.position, instance.replayer._outcome)
        worker.adopt(instance)
        if instance.loaded and instance.position > 1:
            waits_for, waits_at = instance.waiting()
            steps = instance.position - 1
            log.info(
                "resumed %s at %s (%s); %s not run again",
                instance.id,
                waits_at or "its line",
                waits_for,
                "1 recorded step is" if steps == 1 else f"{steps} recorded steps are",
                extra=instance.facts,
            )
        worker.take_up(instance)

    # Mail for runs that are live here

    async def _read_mail(self) -> None:
        worker = self._worker
        mail = await worker.store.inbox.mail(worker.registration.worker)
        mail = dict.fromkeys(self._rest, False) | mail
        instances = [worker.active[run] for run in mail if run in worker.active]
        await self._hold([each for each in instances if mail[each.run] or each.holding])
        instances = [each for each in instances if not each.holding]
        self._rest &= {each.run for each in instances}
        messages = await self._read_messages(instances)
        read: list[tuple[int, int]] = []
        for instance in instances:
            if worker.active.get(instance.run) is not instance:
                continue  # put away meanwhile: whoever claims it reads them
            new = [each for each in messages[instance.run] if each.seq > instance.seen]
            for message in new:
                instance.seen = message.seq
                instance.arrivals.append(message)
            read.append((instance.run, instance.seen))
            worker.committer.submit(instance)
        if read:
            await worker.store.inbox.clear_due(worker.registration.worker, read)

    async def _hold(self, instances: list[Instance]) -> None:
        """Somebody has asked these to: they go back as soon as nothing of them is under way, with
        their mail unread. Until then they are found at each beat."""
        attempts = self._worker.attempts
        for instance in instances:
            instance.holding = True
            attempts.drop_waiting(instance.run)
        busy = attempts.runs()
        await self._worker.chores.hand_back(
            [each for each in instances if each.is_idle and each.run not in busy]
        )
